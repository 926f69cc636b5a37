import { decode, type ImageFeatures, type Phi4Vision, type Session } from '../../model/index.ts';
import { Owned, type ProfileRow, Timeline } from '../../runtime/index.ts';
import type { ExpectedPrompt, ExpectedRun } from '../expected.ts';
import { median, timed } from '../measure.ts';
import { type Bounds, compareRun, type RunVerdict, type StageError } from '../verify.ts';
import { checkStages } from './check.ts';
import { findLayer } from './find_layer.ts';
import { capacityOf, encodeAll, feed, type PromptInputs, preparePrompt } from './inputs.ts';
import type { PromptSet } from './prompts.ts';

const DECODE_RUNS = 5;

/** Wall milliseconds of one run of a prompt. */
export interface PromptTimes {
  /** Reading, resizing and patching the pictures. */
  imageMillis: number;
  visionMillis: number;
  /** Making the KV cache and planning a step. */
  sessionMillis: number;
  prefillMillis: number;
  /** From the prepared prompt to the first token, as generate() has it: encoder, session, prefill and first token. */
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

/** The dispatches of one run of a phase, and what this same run takes on the wall clock. */
export interface PhaseProfile {
  rows: ProfileRow[];
  wallMicros: number;
}

/** What one run of a prompt came to. */
export interface PromptRun {
  positions: number;
  /** What the model answered, step by step. */
  tokens: readonly number[];
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

/** Runs and times a prompt, teacher-forced where it says the tokens, then compares its stages and profiles it in sessions of their own. */
export async function runPrompt(
  model: Phi4Vision,
  prompt: ExpectedPrompt,
  picture: PromptSet['picture'],
  { check, profile }: RunOptions,
): Promise<PromptRun> {
  const memory = new MemoryLog(model);
  const { result: inputs, millis: imageMillis } = await timed(() => preparePrompt(model, prompt, picture));
  const capacity = capacityOf(inputs, prompt);
  memory.note();
  const start = performance.now();
  const { result: images, millis: visionMillis } = await timed(() => encodeAll(model, inputs.patches));
  memory.note();
  const owned = new Owned(model.device);
  for (const image of images) owned.keep(image);
  try {
    const { result: session, millis: sessionMillis } = await timed(() => model.session({ capacity }));
    owned.keep(session);
    memory.note();
    const prefill = await timed(() => session.prefill(inputs.ids, { images }));
    const runs = [];
    for (const run of prompt.runs) runs.push(await decodeRun(session, run, check?.bounds, memory));
    session.dispose();
    const arrivals = runs.map((run) => run.arrivals);
    const times = {
      ...{ imageMillis, visionMillis, sessionMillis, prefillMillis: prefill.millis },
      ttftMillis: arrivals[0]![0]! - start,
      stepMillis: arrivals.flatMap((at) => at.slice(1).map((millis, i) => millis - at[i]!)),
    };
    const verdicts = Object.fromEntries(
      runs.flatMap(({ verdict }, i) => (verdict ? [[prompt.runs[i]!.name, verdict]] : [])),
    );
    const samples = memory.samples;
    const stages = check ? await checkStages(model, prompt, inputs, images, check) : [];
    if (check && stages.every(({ ok }) => ok) && Object.values(verdicts).some(({ ok }) => !ok))
      stages.push(...(await findLayer(model, inputs, images, check)));
    const timestamps = model.device.features.has('timestamp-query');
    const phases = profile && timestamps ? await profilePhases(model, inputs, images) : {};
    return { positions: inputs.ids.length, tokens: runs[0]!.tokens, times, memory: samples, verdicts, stages, phases };
  } finally {
    owned.free();
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

/** Feeds a continuation token by token; with bounds, all logits are kept and compared. */
async function decodeRun(session: Session, run: ExpectedRun, bounds: Bounds | undefined, memory: MemoryLog) {
  const { decoded, logits } = await feed(session, run, bounds !== undefined, () => memory.note());
  const tokens = decoded.map(({ token }) => token);
  const verdict = logits && bounds && compareRun(run, logits, tokens, bounds);
  return { tokens, verdict, arrivals: decoded.map(({ at }) => at) };
}

/** Each phase with every dispatch timed, run once; a step of decoding several times: medians. */
async function profilePhases(
  model: Phi4Vision,
  { patches, ids }: PromptInputs,
  images: readonly ImageFeatures[],
): Promise<PromptRun['phases']> {
  const { device } = model;
  const session = await model.session({ capacity: ids.length + DECODE_RUNS + 1 });
  const record = async (body: () => Promise<unknown>) => {
    const { rows, result } = await Timeline.record(device, () => timed(body));
    return { rows, wallMicros: result.millis * 1000 };
  };
  const encode = async () => {
    for (const image of await encodeAll(model, patches)) image.dispose();
  };
  try {
    const vision = patches.length > 0 && { vision: await record(encode) };
    const prefill = await record(() => session.prefill(ids, { images }));
    const answer = decode(session, { steps: DECODE_RUNS + 1, ahead: 1 });
    await answer.next();
    const steps: PhaseProfile[] = [];
    for (let i = 0; i < DECODE_RUNS; i++) steps.push(await record(() => answer.next()));
    return { ...vision, prefill, decode: middle(steps) };
  } finally {
    session.dispose();
  }
}

/** The medians of recordings of the same dispatches. */
function middle(recorded: readonly PhaseProfile[]): PhaseProfile {
  const over = (value: (profile: PhaseProfile) => number) => median(recorded.map(value));
  const rows = recorded[0]!.rows.map((row, i) => ({ ...row, micros: over(({ rows }) => rows[i]!.micros) }));
  return { rows, wallMicros: over(({ wallMicros }) => wallMicros) };
}
