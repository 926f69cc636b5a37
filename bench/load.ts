import { join } from 'node:path';
import { type LoadOptions, openSynthetic, Phi4Vision, type SyntheticFormat, usualActivations } from '../model/index.ts';
import type { Device } from '../runtime/index.ts';
import { timed } from './measure.ts';
import { progressBar } from './progress.ts';
import { digits, folderName, mebibytes } from './report.ts';

/** Which model a bench loads, and how. */
export interface ModelOptions extends Pick<LoadOptions, 'dtype' | 'verify' | 'int8Activations' | 'context'> {
  /** A model folder. */
  model: string;
  /** A shape to fill with random weights in place of the folder, their format and seed. */
  synthetic?: string;
  format?: SyntheticFormat;
  seed?: number;
  variant?: LoadOptions['variants'];
  /** Whether to measure what is fastest on an adapter that is not known yet. */
  tune?: boolean;
}

/** A model's name in reports: that of its folder, whose path is nobody's business, or the shape, format and seed of random weights. */
export function modelName({ model, synthetic, format, seed }: ModelOptions): string {
  return synthetic ? `synthetic ${folderName(synthetic)} ${format}, seed ${seed}` : folderName(model);
}

type Activations = Pick<LoadOptions, 'dtype' | 'int8Activations'>;

/** Options with what is usual on a device where it was not asked for. */
export function withActivations<O extends Activations>(device: Device, options: O): O & Required<Activations> {
  const { dtype, int8Activations } = usualActivations(device);
  return {
    ...options,
    dtype: options.dtype ?? dtype,
    int8Activations: options.int8Activations ?? int8Activations,
  };
}

/** Loads a model behind a progress bar. */
export async function loadModel(device: Device, options: ModelOptions): Promise<Phi4Vision> {
  const { model, synthetic, format = 'int4', seed = 1, ...settings } = options;
  const { dtype, verify, int8Activations, context, variant: variants } = settings;
  const bar = progressBar('loading');
  // Whatever is timed is computed: nothing that an earlier prompt left is found again.
  const how = { dtype, int8Activations, context, variants, reuse: false, progress: bar.update };
  try {
    if (!synthetic) return await Phi4Vision.load(device, model, { ...how, verify });
    const { config, source } = openSynthetic(synthetic, format, seed);
    return await Phi4Vision.fromSource(device, config, source, how);
  } finally {
    bar.stop();
  }
}

/** Loads a model and says what it is, what it takes, and what in its folder nobody knows. */
export async function loadAndExplain(device: Device, options: ModelOptions): Promise<Phi4Vision> {
  const { model: dir } = options;
  const { result: model, millis } = await timed(() => loadModel(device, options));
  for (const key of model.config.unknownKeys) console.log(`warning: ${join(dir, 'config.json')}: unknown key ${key}`);
  for (const name of model.unknownTensors) console.log(`warning: ${dir}: unknown tensor ${name}`);
  for (const note of model.notes) console.log(`warning: ${note}`);
  const bytes = `${mebibytes(device.memory.current)} MiB on the device`;
  const name = options.synthetic ? modelName(options) : dir;
  console.log(`model: ${name}, ${showActivations(model)}, ${bytes}, loaded in ${digits(millis / 1000)} s`);
  return model;
}

/** How a model stores activations, in words. */
export function showActivations({ dtype, int8Activations }: Phi4Vision): string {
  return int8Activations ? `${dtype}, int8 activations` : dtype;
}
