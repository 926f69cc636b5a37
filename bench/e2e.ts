import { join } from 'node:path';
import {
  decode,
  expandImages,
  type ImageFeatures,
  joinFeatures,
  type Patches,
  Phi4Vision,
  processImage,
  readImage,
  type Session,
} from '../model/index.ts';
import { type Device, openDevice, type Tensor, UsageError } from '../runtime/index.ts';
import { Expected, type ExpectedPrompt, type ExpectedRun } from './expected.ts';
import { waitGently } from './gentle.ts';
import { quantile, timed } from './measure.ts';
import { digits, environment, JsonLines, printDevice, progressBar, Table } from './report.ts';
import {
  BOUNDS,
  type Bounds,
  compareRun,
  compareStage,
  HALF_REFERENCE_BOUNDS,
  type RunVerdict,
  type StageError,
} from './verify.ts';

/** Options of `bench e2e`. */
export interface E2eOptions {
  model: string;
  reference?: string;
  prompts?: string;
  adapter?: string;
  dtype: 'f32' | 'f16';
  json?: string;
}

interface PromptResult {
  prompt: string;
  ok: boolean;
  tokens: { matched: number; ties: number; total: number };
  /** Errors of logits over their standard deviation. */
  maxErrorStd: number;
  meanErrorStd: number;
  stages: StageError[];
  runs: Record<string, RunVerdict>;
  /** The first stage whose values leave the bounds. */
  divergedAt: string | undefined;
  imageMillis: number;
  visionMillis: number;
  ttftMillis: number;
  stepMillis: number[];
  peakBytes: number;
}

/**
 * Runs the prompts of a reference file end to end, teacher-forced, and prints per prompt how tokens, logits and stages
 * compare and how long each part took. Returns the exit code: 0 all match, 1 a mismatch.
 */
export async function e2e(options: E2eOptions): Promise<number> {
  const device = await openDevice({ adapter: options.adapter });
  printDevice(device);
  waitGently(device);
  const expected = Expected.open(options.reference ?? join(options.model, 'expected.safetensors'));
  if (HALF_REFERENCE_BOUNDS.has(expected.dtype))
    console.log(
      `The reference was computed in ${expected.dtype} and tells large errors only; one in float32 tells all.`,
    );
  const names = choosePrompts(expected, options.prompts);
  const model = await load(device, options);
  await warmUp(model);
  const json = new JsonLines(options.json);
  const env = { bench: 'e2e', model: options.model, dtype: options.dtype, ...environment(device) };
  console.log(
    'Times are wall milliseconds. TTFT = reading pictures + encoder + prefill + first token; loading, compiling and making the KV cache come before.',
  );
  const table = new Table({
    prompt: 10,
    positions: 9,
    tokens: 9,
    'max err/std': 11,
    'mean err/std': 12,
    image: 7,
    vision: 8,
    TTFT: 8,
    'ms/token p50': 12,
    p90: 7,
    'peak MiB': 8,
  });
  let failed = 0;
  for (const name of names) {
    const prompt = expected.prompt(name);
    const result = await runPrompt(model, options.model, prompt, expected);
    json.write({ ...env, positions: prompt.length, ...result });
    printResult(table, prompt, result);
    if (!result.ok) failed++;
  }
  expected.close();
  console.log(failed === 0 ? `all ${names.length} prompts match` : `${failed} of ${names.length} prompts do not match`);
  return failed === 0 ? 0 : 1;
}

function choosePrompts(expected: Expected, wanted: string | undefined): string[] {
  const names = expected.promptNames();
  if (!wanted) return names;
  return wanted.split(',').map((name) => {
    if (names.includes(name)) return name;
    throw new UsageError(`--prompts: expected some of ${names.join(', ')}, got '${name}'`);
  });
}

async function load(device: Device, { model: dir, dtype }: E2eOptions): Promise<Phi4Vision> {
  const bar = progressBar('loading');
  try {
    const { result, millis } = await timed(() => Phi4Vision.load(device, dir, { dtype, progress: bar.update }));
    for (const key of result.config.unknownKeys)
      console.log(`warning: ${join(dir, 'config.json')}: unknown key ${key}`);
    for (const name of result.unknownTensors) console.log(`warning: ${dir}: unknown tensor ${name}`);
    console.log(
      `model: ${dir}, ${dtype}, ${mebibytes(device.memory.current)} MiB on the device, loaded in ${digits(millis / 1000)} s`,
    );
    return result;
  } finally {
    bar.stop();
  }
}

/** Runs a tiny picture and two tokens, so that no prompt's time contains the compilation of a kernel. */
async function warmUp(model: Phi4Vision): Promise<void> {
  const { patch, channels } = model.config.vision;
  const shape = [4, patch * patch * channels];
  const pixels = { shape, dtype: 'f32', data: new Float32Array(shape[0]! * shape[1]!) } as const;
  const image = await model.encodeImage({ grid: { rows: 2, cols: 2 }, pixels });
  const session = await model.session({ capacity: 16 });
  await session.prefill(expandImages(Int32Array.of(0, -200), [4], model.config.decoder.vocab), joinFeatures([image]));
  for await (const _ of decode(session, { steps: 2 }));
  session.dispose();
  image.dispose();
}

/** Runs and times a prompt, then compares its stages in passes of their own: taps cost time. */
async function runPrompt(
  model: Phi4Vision,
  dir: string,
  prompt: ExpectedPrompt,
  expected: Expected,
): Promise<PromptResult> {
  const { device } = model;
  const bounds = HALF_REFERENCE_BOUNDS.get(expected.dtype) ?? BOUNDS[model.dtype as 'f32' | 'f16'];
  device.memory.peak = device.memory.current;
  const images = await timed(() => Promise.all(prompt.images.map((index) => readPatches(model, dir, index, expected))));
  const vision = await timed(() => encodeAll(model, images.result));
  const features = joinFeatures(vision.result);
  const steps = Math.max(...prompt.runs.map(({ tokens }) => tokens.length));
  const session = await model.session({ capacity: prompt.length + steps });
  const patches = vision.result.map(({ features }) => features.shape[0]!);
  const ids = expandImages(prompt.ids, patches, model.config.decoder.vocab);
  const prefillStart = performance.now();
  await session.prefill(ids, features);
  const runs: ({ name: string } & Awaited<ReturnType<typeof decodeRun>>)[] = [];
  for (const run of prompt.runs) runs.push({ name: run.name, ...(await decodeRun(session, run, bounds)) });
  const peakBytes = device.memory.peak;
  const stages: StageError[] = [];
  for (const [i, index] of prompt.images.entries()) {
    stages.push(...(await verifyPicture(model, index, images.result[i]!, vision.result[i]!, expected, bounds)));
  }
  stages.push({ stage: 'positions', relative: Math.abs(ids.length - prompt.length), ok: ids.length === prompt.length });
  if (expected.stage(`${prompt.name}.layers.0`)) {
    const got = await session.prefill(ids, features, { taps: true });
    stages.push(...compareStages(prompt.name, got, expected, bounds));
  }
  session.dispose();
  for (const image of vision.result) image.dispose();
  const total = (key: 'matched' | 'ties' | 'steps') => runs.reduce((sum, { verdict }) => sum + verdict[key], 0);
  const ok = stages.every((stage) => stage.ok) && runs.every(({ verdict }) => verdict.ok);
  return {
    prompt: prompt.name,
    ok,
    tokens: { matched: total('matched'), ties: total('ties'), total: total('steps') },
    maxErrorStd: Math.max(...runs.map(({ verdict }) => verdict.maxErrorStd)),
    meanErrorStd: runs.reduce((sum, { verdict }) => sum + verdict.meanErrorStd / runs.length, 0),
    stages,
    runs: Object.fromEntries(runs.map(({ name, verdict }) => [name, verdict])),
    divergedAt: stages.find((stage) => !stage.ok)?.stage ?? runs.find(({ verdict }) => !verdict.ok)?.name,
    imageMillis: images.millis,
    visionMillis: vision.millis,
    ttftMillis: images.millis + vision.millis + runs[0]!.arrivals[0]! - prefillStart,
    stepMillis: runs.flatMap(({ arrivals }) => arrivals.slice(1).map((at, i) => at - arrivals[i]!)),
    peakBytes,
  };
}

async function readPatches(model: Phi4Vision, dir: string, index: number, expected: Expected): Promise<Patches> {
  const { patch } = model.config.vision;
  return processImage(await readImage(expected.picture(index, dir)), { ...model.config.image, patch });
}

async function encodeAll(model: Phi4Vision, pictures: readonly Patches[]): Promise<ImageFeatures[]> {
  const encoded: ImageFeatures[] = [];
  for (const patches of pictures) encoded.push(await model.encodeImage(patches));
  return encoded;
}

/** Compares a picture's stages; pixel values must be equal bit for bit. The encoder's come from a second pass, with taps. */
async function verifyPicture(
  model: Phi4Vision,
  index: number,
  patches: Patches,
  image: ImageFeatures,
  expected: Expected,
  bounds: Bounds,
): Promise<StageError[]> {
  const prefix = `img${index}`;
  const tapped = await model.encodeImage(patches, { taps: true });
  const encoder = await downloadAll(model.device, tapped.taps);
  tapped.dispose();
  const projected = await downloadAll(model.device, { proj: image.features });
  return [
    ...compareStages(prefix, { pixel_values: patches.pixels.data as Float32Array }, expected, { stage: 0 }),
    ...compareStages(prefix, { ...encoder, ...projected }, expected, bounds),
  ];
}

/** Stages by name, `vision.` left out. */
async function downloadAll(device: Device, tensors: Record<string, Tensor>): Promise<Record<string, Float32Array>> {
  const stages: Record<string, Float32Array> = {};
  for (const [name, tensor] of Object.entries(tensors))
    stages[name.replace('vision.', '')] = (await device.download(tensor)).data as Float32Array;
  return stages;
}

/** Compares those of the stages that the reference has as `prefix.stage`, in their order. */
function compareStages(
  prefix: string,
  stages: Record<string, Float32Array>,
  expected: Expected,
  { stage: bound }: Pick<Bounds, 'stage'>,
): StageError[] {
  return Object.entries(stages).flatMap(([stage, got]) => {
    const ref = expected.stage(`${prefix}.${stage}`);
    return ref ? [compareStage(`${prefix}.${stage}`, got, ref, bound)] : [];
  });
}

async function decodeRun(
  session: Session,
  run: ExpectedRun,
  bounds: Bounds,
): Promise<{ verdict: RunVerdict; arrivals: number[] }> {
  const { device, vocab } = session;
  const steps = run.tokens.length;
  const logits = device.tensor('step_logits', [steps, vocab], 'f32');
  const decoded = [];
  for await (const token of decode(session, { steps, forced: run.tokens, logits })) decoded.push(token);
  const { data } = await device.download(logits);
  device.free(logits.storage);
  const tokens = decoded.map(({ token }) => token);
  return { verdict: compareRun(run, data as Float32Array, tokens, bounds), arrivals: decoded.map(({ at }) => at) };
}

/** A wrong row names the first stage that diverges and shows no time. */
function printResult(table: Table, prompt: ExpectedPrompt, result: PromptResult): void {
  const { matched, ties, total } = result.tokens;
  const tokens = `${matched}/${total}${ties > 0 ? ` ${ties} tie` : ''}`;
  const left = [prompt.name, prompt.length, tokens, digits(result.maxErrorStd), digits(result.meanErrorStd)];
  if (!result.ok) {
    table.row([...left, `WRONG from ${result.divergedAt}: ${explain(result)}`]);
    return;
  }
  const p = (at: number) => digits(quantile(result.stepMillis, at));
  const times = [result.imageMillis, result.visionMillis, result.ttftMillis].map((millis) => Math.round(millis));
  table.row([...left, ...times, p(0.5), p(0.9), mebibytes(result.peakBytes)]);
}

function explain({ stages, runs }: PromptResult): string {
  const stage = stages.find(({ ok }) => !ok);
  if (stage) return `relative error ${digits(stage.relative)}`;
  const run = Object.values(runs).find(({ ok }) => !ok)!;
  return `relative logit error ${digits(run.relative)}, wrong tokens at steps ${run.wrong.join(', ') || 'none'}`;
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
