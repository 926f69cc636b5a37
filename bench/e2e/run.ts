import {
  type DecodedToken,
  decode,
  expandImages,
  type ImageFeatures,
  joinFeatures,
  type Patches,
  type Phi4Vision,
  processImage,
  readImage,
  type Session,
} from '../../model/index.ts';
import { type ProfileRow, Timeline } from '../../runtime/index.ts';
import type { ExpectedPrompt, ExpectedRun } from '../expected.ts';
import { median, timed } from '../measure.ts';
import { type Bounds, compareRun, type RunVerdict, type StageError } from '../verify.ts';
import { checkStages, type PromptInputs } from './check.ts';
import type { PromptSet } from './prompts.ts';

const DECODE_RUNS = 5;
/** Steps where nobody says which tokens to feed. */
const FREE_STEPS = 16;

/** Wall milliseconds of one run of a prompt. */
export interface PromptTimes {
  /** Reading, resizing and patching the pictures. */
  imageMillis: number;
  visionMillis: number;
  prefillMillis: number;
  /** Pictures, encoder, prefill and the first token. */
  ttftMillis: number;
  stepMillis: number[];
}

/** Device bytes and resident bytes of the process at a moment, in milliseconds since the prompt began. */
export interface MemorySample {
  millis: number;
  device: number;
  resident: number;
}

export type Phase = 'vision' | 'prefill' | 'decode';

/** The dispatches of one run of a phase, and what the phase takes on the wall clock when nobody records. */
export interface PhaseProfile {
  rows: ProfileRow[];
  wallMicros: number;
}

/** What one run of a prompt came to. */
export interface PromptRun {
  positions: number;
  times: PromptTimes;
  memory: MemorySample[];
  verdicts: Record<string, RunVerdict>;
  stages: StageError[];
  phases: Partial<Record<Phase, PhaseProfile>>;
}

/** What to do beside timing. */
export interface RunOptions {
  /** What to compare stages and logits with; without it nothing is compared. */
  check?: PromptSet['check'];
  /** Whether to run once more with every dispatch timed. */
  profile: boolean;
}

/** Runs and times a prompt, teacher-forced where it says the tokens, then compares its stages and profiles it in runs of their own. */
export async function runPrompt(
  model: Phi4Vision,
  prompt: ExpectedPrompt,
  picture: PromptSet['picture'],
  { check, profile }: RunOptions,
): Promise<PromptRun> {
  const { device } = model;
  const memory = new MemoryLog(model);
  const read = await timed(() => Promise.all(prompt.images.map((index) => readPatches(model, picture(index)))));
  memory.note();
  const vision = await timed(() => encodeAll(model, read.result));
  memory.note();
  const images = vision.result;
  const patches = images.map(({ features }) => features.shape[0]!);
  const ids = expandImages(prompt.ids, patches, model.config.decoder.vocab);
  const session = await model.session({ capacity: ids.length + Math.max(...prompt.runs.map(stepsOf)) });
  try {
    memory.note();
    const inputs = { patches: read.result, images, ids };
    const start = performance.now();
    const prefill = await timed(() => session.prefill(ids, joinFeatures(images)));
    const runs = [];
    for (const run of prompt.runs) runs.push(await decodeRun(session, run, check?.bounds, memory));
    const arrivals = runs.map((run) => run.arrivals);
    const times = {
      imageMillis: read.millis,
      visionMillis: vision.millis,
      prefillMillis: prefill.millis,
      ttftMillis: read.millis + vision.millis + arrivals[0]![0]! - start,
      stepMillis: arrivals.flatMap((at) => at.slice(1).map((millis, i) => millis - at[i]!)),
    };
    const verdicts = Object.fromEntries(
      runs.flatMap(({ verdict }, i) => (verdict ? [[prompt.runs[i]!.name, verdict]] : [])),
    );
    const samples = memory.samples;
    const stages = check ? await checkStages(model, session, prompt, inputs, check) : [];
    const timestamps = device.features.has('timestamp-query');
    const phases = profile && timestamps ? await profilePhases(model, session, inputs, times) : {};
    return { positions: ids.length, times, memory: samples, verdicts, stages, phases };
  } finally {
    session.dispose();
    for (const image of images) image.dispose();
  }
}

/** Memory over a run. */
class MemoryLog {
  readonly samples: MemorySample[] = [];
  #model: Phi4Vision;
  #start = performance.now();

  constructor(model: Phi4Vision) {
    this.#model = model;
    model.device.memory.peak = model.device.memory.current;
    this.note();
  }

  /** Takes a sample; the device's is the highest since the one before. */
  note(): void {
    const { memory } = this.#model.device;
    const resident = process.memoryUsage.rss();
    this.samples.push({ millis: performance.now() - this.#start, device: memory.peak, resident });
    memory.peak = memory.current;
  }
}

/** A picture's patches as a model takes them. */
export async function readPatches({ config }: Phi4Vision, path: string): Promise<Patches> {
  return processImage(await readImage(path), { ...config.image, patch: config.vision.patch });
}

/** Steps of a continuation. */
export function stepsOf({ tokens }: ExpectedRun): number {
  return tokens.length || FREE_STEPS;
}

/** The features of pictures, encoded one after the other; the caller disposes them. */
export async function encodeAll(model: Phi4Vision, pictures: readonly Patches[]): Promise<ImageFeatures[]> {
  const encoded: ImageFeatures[] = [];
  for (const patches of pictures) encoded.push(await model.encodeImage(patches));
  return encoded;
}

/** Feeds a continuation token by token; with bounds, all logits are kept and compared. */
async function decodeRun(session: Session, run: ExpectedRun, bounds: Bounds | undefined, memory: MemoryLog) {
  const { decoded, logits } = await feed(session, run, bounds !== undefined, () => memory.note());
  const tokens = decoded.map(({ token }) => token);
  const verdict = logits && bounds && compareRun(run, logits, tokens, bounds);
  return { verdict, arrivals: decoded.map(({ at }) => at) };
}

/** Feeds a continuation token by token; where they are to be kept, with the logits of every step, f32 [steps, vocab]. */
export async function feed(session: Session, run: ExpectedRun, keep: boolean, onToken: () => void = () => {}) {
  const { device, vocab } = session;
  const steps = stepsOf(run);
  const logits = keep ? device.tensor('step_logits', [steps, vocab], 'f32') : undefined;
  const decoded: DecodedToken[] = [];
  for await (const token of decode(session, { steps, forced: run.tokens, ...(logits && { logits }) })) {
    decoded.push(token);
    onToken();
  }
  if (!logits) return { decoded };
  const { data } = await device.download(logits);
  device.free(logits.storage);
  return { decoded, logits: data as Float32Array };
}

/** Each phase with every dispatch timed, run once; a step of decoding, at one position, several times: medians. */
async function profilePhases(
  model: Phi4Vision,
  session: Session,
  { patches, images, ids }: PromptInputs,
  times: PromptTimes,
): Promise<PromptRun['phases']> {
  const { device } = model;
  const record = async (body: () => Promise<unknown>) => (await Timeline.record(device, body)).rows;
  const encode = async () => {
    for (const image of await encodeAll(model, patches)) image.dispose();
  };
  const step = async () => {
    device.submit(session.step(), 'decode');
    await device.idle();
  };
  const vision = patches.length > 0 && { vision: phase(times.visionMillis, [await record(encode)]) };
  session.reset();
  const prefill = await record(() => session.prefill(ids, joinFeatures(images)));
  const steps: ProfileRow[][] = [];
  for (let i = 0; i < DECODE_RUNS; i++) {
    for await (const _ of decode(session, { steps: 1 })); // back to the prompt's end
    steps.push(await record(step));
  }
  return { ...vision, prefill: phase(times.prefillMillis, [prefill]), decode: phase(median(times.stepMillis), steps) };
}

/** The medians of recordings of the same dispatches. */
function phase(wallMillis: number, recorded: readonly ProfileRow[][]): PhaseProfile {
  const rows = recorded[0]!.map((row, i) => ({ ...row, micros: median(recorded.map((rows) => rows[i]!.micros)) }));
  return { rows, wallMicros: wallMillis * 1000 };
}
