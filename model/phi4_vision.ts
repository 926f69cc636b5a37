import {
  CapabilityError,
  type Device,
  type DType,
  Graph,
  type Matrix,
  Owned,
  Plan,
  type Tensor,
} from '../runtime/index.ts';
import { expectedTensors, isUnused, loadConfig, type ModelConfig } from './config.ts';
import type { Patches } from './image.ts';
import { checkpointError } from './json.ts';
import { Phi3 } from './phi3.ts';
import { Projector } from './projector.ts';
import { Checkpoint } from './safetensors.ts';
import { Session, type SessionOptions } from './session.ts';
import { Siglip2 } from './siglip2.ts';
import { checkTensor, WeightStore } from './weights.ts';

/** How to load a model; every field is optional. */
export interface LoadOptions {
  /** What activations between norms and matmuls and the KV cache are stored as; sums are f32 either way. */
  dtype?: 'f32' | 'f16';
  /** Told the checkpoint bytes loaded so far and in all. */
  progress?: (loaded: number, total: number) => void;
}

/** One picture in the decoder's space, on the device. */
export interface ImageFeatures {
  grid: Patches['grid'];
  /** f32 [rows * cols, hidden]. */
  features: Tensor;
  /** What the encoder's and projector's taps hold, where they were asked for. */
  taps: Readonly<Record<string, Tensor>>;
  dispose(): void;
}

/** Phi-4-reasoning-vision on one device: encoder, projector and decoder of one model folder. */
export class Phi4Vision {
  readonly device: Device;
  readonly config: ModelConfig;
  readonly decoder: Phi3;
  readonly dtype: DType;
  /** Names in the checkpoint that this model neither uses nor knows as unused. */
  readonly unknownTensors: readonly string[];
  #vision: Siglip2;
  #projector: Projector;
  #owned: Owned;

  private constructor(device: Device, config: ModelConfig, dtype: DType, parts: Parts, store: WeightStore) {
    const official = expectedTensors(config);
    this.device = device;
    this.config = config;
    this.dtype = dtype;
    this.decoder = parts.decoder;
    this.#vision = parts.vision;
    this.#projector = parts.projector;
    this.#owned = store.owned;
    this.unknownTensors = store.unused().filter((name) => !official.has(name));
  }

  /** Loads a model folder; throws CheckpointError, CapabilityError or OutOfMemoryError. */
  static async load(device: Device, dir: string, { dtype = 'f32', progress }: LoadOptions = {}): Promise<Phi4Vision> {
    if (dtype === 'f16' && !device.features.has('shader-f16')) {
      const expected = `expected an adapter with shader-f16 for f16, got '${device.name}'`;
      throw new CapabilityError(`model: dtype: ${expected}; use f32`);
    }
    const config = loadConfig(dir);
    const checkpoint = Checkpoint.open(dir);
    const total = checkTensors(checkpoint, config);
    let loaded = 0;
    const store = new WeightStore(device, checkpoint, (bytes) => {
      loaded += bytes;
      progress?.(loaded, total);
    });
    const load = store.owned.orFree(async () => {
      device.assertRoom(total, 'weights');
      const parts = {
        vision: await Siglip2.load(store, config.vision, dtype),
        projector: await Projector.load(store, config.vision.hidden, config.decoder.hidden, dtype),
        decoder: await Phi3.load(store, config.decoder, dtype),
      };
      await device.idle();
      return new Phi4Vision(device, config, dtype, parts, store);
    });
    return load.finally(() => checkpoint.close());
  }

  /** Frees the weights. */
  dispose(): void {
    this.#owned.free();
  }

  /** Encodes and projects one picture; the features stay on the device until disposed of. */
  async encodeImage(patches: Patches, { taps = false } = {}): Promise<ImageFeatures> {
    const { grid } = patches;
    const owned = new Owned(this.device);
    return owned.orFree(async () => {
      const shape = [grid.rows * grid.cols, this.config.decoder.hidden];
      const features = owned.keep(this.device.tensor('features', shape, 'f32'));
      const graph = new Graph(this.device, { taps });
      const encoded = graph.tap('vis_sel', this.#vision.record(graph, grid));
      graph.output('features', this.#projector.record(graph, encoded), features.storage);
      const plan = owned.keep(await Plan.create(graph));
      plan.run(this.#vision.inputs(patches));
      await this.device.idle();
      if (!taps) plan.dispose();
      return { grid, features, taps: plan.taps, dispose: () => owned.free() };
    });
  }

  /** A sequence with a KV cache of its own. */
  session(options: SessionOptions): Promise<Session> {
    return Session.create(this.device, this.config, this.decoder, this.dtype, options);
  }
}

interface Parts {
  vision: Siglip2;
  projector: Projector;
  decoder: Phi3;
}

/**
 * Bytes of the tensors that inference reads, once all of them are there with their shapes: a CheckpointError names every
 * missing one, before anything is loaded.
 */
function checkTensors(checkpoint: Checkpoint, config: ModelConfig): number {
  const used = [...expectedTensors(config)].filter(([name]) => !isUnused(name, config));
  const missing = used.filter(([name]) => !checkpoint.tensors.has(name) && !checkpoint.unsupported.has(name));
  if (missing.length > 1) {
    const names = missing.map(([name]) => name);
    const listed = names.length > 8 ? [...names.slice(0, 8), `${names.length - 8} more`] : names;
    throw checkpointError(
      checkpoint.path,
      'tensors',
      `all of ${used.length}`,
      `no ${listed.join(', ')}`,
      'is a shard missing?',
    );
  }
  return used.reduce((sum, [name, shape]) => sum + checkTensor(checkpoint.info(name), shape).bytes, 0);
}

/** The pictures' features as one matrix, in order, without copying; undefined where there are none. */
export function joinFeatures(images: readonly ImageFeatures[]): Matrix | undefined {
  const first = images[0];
  if (!first) return undefined;
  let rows = 0;
  const blocks = images.map(({ features }) => {
    const block = { tensor: features, row: rows };
    rows += features.shape[0]!;
    return block;
  });
  return { name: 'image features', rows, cols: first.features.shape[1]!, dtype: 'f32', blocks };
}
