import { type Device, openDevice } from '../../runtime/index.ts';
import { type LoadOptions as ModelOptions, Phi4Vision, Processor } from '../index.ts';
import { Model } from './model.ts';

/** How to load a model; every field is optional. */
export interface LoadOptions extends Omit<ModelOptions, 'progress'> {
  /** A device to load it on, which outlives it; without one, load() opens the best adapter, or the one that `adapter` names. */
  readonly device?: Device;
  /** Part of the name of the adapter to open; see openDevice(). */
  readonly adapter?: string;
  /** Told the bytes of the weights that are loaded, then the kernels' plans that are compiled, of how many. */
  readonly onProgress?: (phase: 'weights' | 'kernels', done: number, total: number) => void;
}

/**
 * Loads a model folder (config, tokenizer, safetensors), with all memory that answers need, and compiles its kernels. Throws
 * CheckpointError, NoDeviceError, CapabilityError, OutOfMemoryError, or the signal's reason; what was loaded is freed then.
 */
export async function load(dir: string, options: LoadOptions = {}): Promise<Model> {
  const { device: given, adapter, onProgress, ...modelOptions } = options;
  const processor = Processor.load(dir);
  const device = given ?? (await openDevice({ adapter }));
  const progress = (loaded: number, total: number) => onProgress?.('weights', loaded, total);
  let vision: Phi4Vision | undefined;
  try {
    vision = await Phi4Vision.load(device, dir, { ...modelOptions, progress });
    await vision.compile((done, total) => {
      options.signal?.throwIfAborted();
      onProgress?.('kernels', done, total);
    });
    return new Model(processor, vision, given === undefined);
  } catch (error) {
    vision?.dispose();
    if (!given) device.dispose();
    throw error;
  }
}
