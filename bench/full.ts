import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import {
  Checkpoint,
  type DecodedToken,
  decode,
  expandImages,
  loadConfig,
  type ModelConfig,
  type Patches,
  Phi4Vision,
  planMemory,
  processImage,
  type SyntheticFormat,
  synthesizeCheckpoint,
} from '../model/index.ts';
import { cacheFolder } from '../runtime/cache_folder.ts';
import type { Device } from '../runtime/index.ts';
import { reportCeilings } from './ceilings.ts';
import { TINY } from './e2e/prompts.ts';
import { HostWeights } from './full/host_weights.ts';
import { LayerChecks } from './full/verify_layers.ts';
import { modelName, showActivations } from './load.ts';
import { median, timed } from './measure.ts';
import { openAdapter } from './open.ts';
import { progressBar } from './progress.ts';
import { rainbow } from './rainbow.ts';
import { digits, environment, JsonLines, mebibytes, Table } from './report.ts';
import { showMemoryPlan } from './show_memory.ts';
import { traced } from './trace.ts';
import { tuneOnce } from './tune.ts';
import { BOUNDS, type StageError } from './verify.ts';

/** Options of `bench full`. */
export interface FullOptions {
  /** A model folder; without it a synthetic checkpoint is written once to the user's cache folder. */
  model?: string;
  /** Shape, format and seed of that. */
  synthetic: string;
  format: SyntheticFormat;
  seed: number;
  int8Activations?: boolean;
  tune: boolean;
  adapter?: string;
  json?: string;
  trace?: string;
}

/** The error allowed of a layer that quantises its activations, over its largest value. */
const INT8_BOUND = 2e-2;
const TEXT_TOKENS = 20;
const NEW_TOKENS = 4;
/** 20 x 15 patches. */
const PICTURE = { width: 320, height: 240 };
/** Resident bytes allowed, over those of the checkpoint; what the process takes without one is always allowed. */
const RESIDENT_SHARE = 1.25;
const RESIDENT_FLOOR = 2 ** 30;
const READ_BYTES = 16 * 2 ** 20;

/**
 * Loads a checkpoint of any size, answers a picture and 20 tokens with 5, and evaluates some of its layers again in float64
 * on the host. Returns the exit code: 0, or 1 where a layer differs or the process took more than 1.25 times the
 * checkpoint's bytes.
 */
export async function full(options: FullOptions): Promise<number> {
  const device = await openAdapter(options.adapter);
  const how: How = { dtype: 'f32', int8Activations: options.int8Activations ?? false };
  await tuneOnce(device, {
    ...options,
    ...how,
    model: options.model ?? '',
    synthetic: options.model ? undefined : options.synthetic,
  });
  const json = new JsonLines(options.json);
  await reportCeilings(device, json);
  const dir = options.model ?? (await synthesized(options));
  const config = loadConfig(dir);
  const patches = processImage(rainbow(PICTURE), { ...config.image, patch: config.vision.patch });
  await printPlan(device, dir, config, patches, how);
  const disk = readAll(dir);
  const checks = new LayerChecks(config, how.int8Activations ? INT8_BOUND : BOUNDS.f32.stage);
  const { loading, logits, ...figures } = await traced(device, options.trace, async () => {
    const loading = await load(device, dir, patches, how);
    return { loading, ...(await answer(loading.model, patches, checks)) };
  });
  const memory = { resident: process.resourceUsage().maxRSS * 1024, device: device.memory.peak };
  const stages = verify(dir, config, checks, logits);
  const row = { ...figures, disk, load: loading.rate, memory, stages };
  const model = modelName(options.model ? { model: options.model } : { ...options, model: dir });
  json.write({ bench: 'full', ...environment(device), model, activations: showActivations(loading.model), ...row });
  printResult(row);
  const fits = memory.resident <= residentLimit(disk.bytes);
  return fits && stages.every(({ ok }) => ok) ? 0 : 1;
}

function residentLimit(checkpointBytes: number): number {
  return Math.max(RESIDENT_SHARE * checkpointBytes, RESIDENT_FLOOR);
}

/** The folder of a synthetic checkpoint in the user's cache, written if it is missing. */
async function synthesized({ synthetic, format, seed }: FullOptions): Promise<string> {
  const dir = join(cacheFolder(), `${basename(synthetic)}-${format}-${seed}`);
  if (existsSync(dir)) return dir;
  console.log(`Writing a synthetic checkpoint to ${dir}; it stays there for the next time.`);
  const partial = `${dir}.partial`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(cacheFolder(), { recursive: true });
  const bar = progressBar('writing', { bytes: true });
  const options = { shape: synthetic, format, seed, textSide: TINY, progress: bar.update };
  await synthesizeCheckpoint(partial, options).finally(bar.stop);
  renameSync(partial, dir);
  return dir;
}

/** Bytes that went somewhere, and how long it took. */
interface Rate {
  bytes: number;
  millis: number;
}

/** How activations are stored, whatever is usual on the device. */
type How = { dtype: 'f32'; int8Activations: boolean };

async function printPlan(device: Device, dir: string, config: ModelConfig, { grid }: Patches, how: How): Promise<void> {
  const checkpoint = Checkpoint.open(dir);
  try {
    const load = { ...how, context: contextOf(grid), reuse: false };
    console.log(showMemoryPlan(await planMemory(device, config, checkpoint, { load, grids: [grid] })));
  } finally {
    checkpoint.close();
  }
}

/** Positions of the picture, the text and the answer. */
function contextOf({ rows, cols }: Patches['grid']): number {
  return rows * cols + TEXT_TOKENS + NEW_TOKENS;
}

/** Reads every shard from front to back. */
function readAll(dir: string): Rate {
  const bar = progressBar('reading');
  const chunk = new Uint8Array(READ_BYTES);
  const files = readdirSync(dir)
    .filter((name) => name.endsWith('.safetensors'))
    .map((name) => join(dir, name));
  const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0);
  const start = performance.now();
  let done = 0;
  for (const file of files) {
    const fd = openSync(file, 'r');
    let count = 0;
    do {
      count = readSync(fd, chunk);
      done += count;
      bar.update(done, bytes);
    } while (count > 0);
    closeSync(fd);
  }
  bar.stop();
  return { bytes, millis: performance.now() - start };
}

async function load(device: Device, dir: string, { grid }: Patches, how: How) {
  const bar = progressBar('loading');
  let bytes = 0;
  const progress = (done: number, total: number) => {
    bytes = total;
    bar.update(done, total);
  };
  const { result: model, millis } = await timed(() =>
    Phi4Vision.load(device, dir, {
      ...how,
      context: contextOf(grid),
      reuse: false,
      progress,
    }).finally(bar.stop),
  );
  return { model, rate: { bytes, millis } };
}

/** Answers the picture and the tokens 0, 1, ... */
async function answer(model: Phi4Vision, patches: Patches, checks: LayerChecks) {
  const { vocab } = model.config.decoder;
  const begin = performance.now();
  console.log(`Encoding ${patches.grid.rows * patches.grid.cols} patches.`);
  const { result: image, millis: visionMillis } = await timed(() => model.encodeImage(patches, checks));
  const text = Array.from({ length: TEXT_TOKENS }, (_, i) => i % vocab);
  const ids = expandImages(Int32Array.of(-200, ...text), [image.features.shape[0]!], vocab);
  const session = await model.session({ capacity: ids.length + NEW_TOKENS });
  console.log(`Prefill of ${ids.length} positions.`);
  const { millis: prefillMillis } = await timed(() => session.prefill(ids, { images: [image], taps: checks }));
  const steps = NEW_TOKENS + 1;
  const rows = model.device.tensor('step_logits', [steps, vocab], 'f32');
  const decoded: DecodedToken[] = [];
  for await (const token of decode(session, { steps, logits: rows })) decoded.push(token);
  const logits = (await model.device.download(rows)).data.subarray(0, vocab) as Float32Array;
  const stepMillis = decoded.slice(1).map(({ at }, i) => at - decoded[i]!.at);
  const tokens = decoded.map(({ token }) => token);
  return {
    positions: ids.length,
    visionMillis,
    prefillMillis,
    ttftMillis: decoded[0]!.at - begin,
    stepMillis,
    tokens,
    logits,
  };
}

function verify(dir: string, config: ModelConfig, checks: LayerChecks, logits: Float32Array): StageError[] {
  const checkpoint = Checkpoint.open(dir);
  const bar = progressBar('float64 on the host');
  const stages: StageError[] = [];
  try {
    for (const stage of checks.verify(new HostWeights(checkpoint, config), logits)) {
      stages.push(stage);
      bar.update(stages.length, checks.count);
    }
    return stages;
  } finally {
    bar.stop();
    checkpoint.close();
  }
}

interface FullRow {
  positions: number;
  visionMillis: number;
  prefillMillis: number;
  ttftMillis: number;
  stepMillis: readonly number[];
  disk: Rate;
  load: Rate;
  memory: { resident: number; device: number };
  stages: readonly StageError[];
}

/** A wrong answer shows what is wrong and no time. */
function printResult({ positions, disk, load, memory, stages, ...times }: FullRow): void {
  const table = new Table({ stage: 20, 'error / max|ref|': 16 });
  for (const { stage, relative, ok } of stages) table.row([stage, ok ? digits(relative) : `WRONG ${digits(relative)}`]);
  const share = memory.resident / disk.bytes;
  const limit = residentLimit(disk.bytes);
  const verdict = memory.resident <= limit ? '' : `: WRONG, expected at most ${mebibytes(limit)} MiB`;
  console.log(
    `resident at most ${mebibytes(memory.resident)} MiB, ${digits(share)} times the checkpoint's ${mebibytes(disk.bytes)} MiB${verdict}; on the device ${mebibytes(memory.device)} MiB`,
  );
  if (!stages.every(({ ok }) => ok)) return;
  const rate = ({ bytes, millis }: Rate) => `${digits(bytes / millis / 1e3)} MB/s`;
  console.log(`loaded at ${rate(load)}; the same files read without loading ${rate(disk)}`);
  const seconds = (millis: number) => `${digits(millis / 1e3)} s`;
  console.log(
    `${positions} positions: vision ${seconds(times.visionMillis)}, prefill ${seconds(times.prefillMillis)}, TTFT ${seconds(times.ttftMillis)}, ${digits(median(times.stepMillis))} ms/token`,
  );
}
