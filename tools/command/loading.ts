import { showActivations } from '../../bench/load.ts';
import { progressBar } from '../../bench/progress.ts';
import { deviceLine } from '../../bench/report.ts';
import { showMemoryPlan } from '../../bench/show_memory.ts';
import { tuneOnce } from '../../bench/tune.ts';
import { addVariant } from '../../bench/variant_option.ts';
import {
  assertFits,
  Checkpoint,
  checkSampling,
  type LoadOptions,
  type Mode,
  type ModelConfig,
  Phi4Vision,
  planMemory,
  type Workload,
} from '../../model/index.ts';
import { type Device, UsageError } from '../../runtime/index.ts';
import { say } from './terminal.ts';

/** What `ask` and `chat` are told about the model and how it answers. */
export interface AnswerCommand {
  model: string;
  upright?: boolean;
  mode: 'auto' | 'think' | 'nothink';
  context?: number;
  maxTokens?: number;
  temperature: number;
  topK?: number;
  topP?: number;
  seed: number;
  adapter?: string;
  dtype?: 'f32' | 'f16';
  quantize?: 'int4';
  group?: string;
  verify: boolean;
  int8Activations?: boolean;
  variant?: string[];
  tune: boolean;
  /** Whether only JSON is to be shown. */
  json?: boolean;
  verbose?: boolean;
}

/** The share of the free memory from which a plan is shown. */
const TIGHT = 0.8;

/** The library's name of a mode. */
export function modeOf(word: AnswerCommand['mode']): Mode {
  return word === 'auto' ? 'hybrid' : word;
}

/** How tokens are drawn; throws for what is out of range. */
export function samplingOf({ sampling }: ModelConfig, { temperature, topK, topP, seed }: AnswerCommand) {
  const { topK: usualK, topP: usualP } = sampling;
  const given = { temperature, topK: topK ?? usualK, topP: topP ?? usualP, seed };
  checkSampling(given);
  return given;
}

/** How the model is to be loaded; throws UsageError. */
export function loadOptions({ dtype, quantize, group, verify, int8Activations, variant }: AnswerCommand): LoadOptions {
  if (group && !quantize) throw new UsageError('--group: expected --quantize with it, got none; leave it out');
  return {
    dtype,
    verify,
    int8Activations,
    variants: forced(variant),
    quantize: quantize && (group ? { group: Number(group) } : {}),
  };
}

function forced(texts: readonly string[] = []): LoadOptions['variants'] {
  try {
    return texts.reduce<LoadOptions['variants']>((all, text) => addVariant(text, all), undefined);
  } catch (error) {
    throw new UsageError(`--variant ${texts.join(' ')}: ${(error as Error).message}`);
  }
}

/** Says which adapter runs and, where nothing is known of it, measures it once. */
export async function introduce(device: Device, options: AnswerCommand): Promise<void> {
  if (!options.json) say(deviceLine(device));
  await tuneOnce(device, { ...options, quantize: options.quantize && {} });
}

/** Loads the model once it is sure that the work fits; shows what memory it takes where that is tight. Throws OutOfMemoryError. */
export async function loadPlanned(
  device: Device,
  config: ModelConfig,
  { model, json, verbose }: AnswerCommand,
  workload: Workload & { load: LoadOptions },
): Promise<Phi4Vision> {
  const checkpoint = Checkpoint.open(model);
  try {
    for (const note of checkpoint.notes) say(`note: ${note}`);
    const plan = await planMemory(device, config, checkpoint, workload);
    const tight = plan.available !== undefined && plan.peak > TIGHT * plan.available;
    if (tight || verbose) say(showMemoryPlan(plan));
    assertFits(device, plan);
  } finally {
    checkpoint.close();
  }
  const bar = progressBar('loading', { bytes: true });
  const loaded = await Phi4Vision.load(device, model, { ...workload.load, progress: bar.update }).finally(bar.stop);
  if (!json) say(`model: ${showActivations(loaded)}`);
  for (const note of loaded.notes) say(`note: ${note}`);
  return loaded;
}
