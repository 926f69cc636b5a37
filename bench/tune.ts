import {
  digestOf,
  keepMeasured,
  type MeasuredOp,
  type MeasuredTable,
  measuredOps,
  tablesOf,
} from '../kernels/measured.ts';
import { type OpSpec, Zeros } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { decisionOf, runnable } from '../kernels/verify.ts';
import { DEFAULT_FORMATS, loadConfig, type ModelConfig, type StoredFormats, shapeFolder } from '../model/index.ts';
import { CapabilityError, type Device, UsageError, type Variant } from '../runtime/index.ts';
import { type ModelOptions, withActivations } from './load.ts';
import { timed } from './measure.ts';
import { progressBar } from './progress.ts';
import { digits } from './report.ts';
import { findFault, madeOnce, unlessTooLarge } from './tune/fault.ts';
import { checkOf, listProblems, type Problem, type Storage } from './tune/problems.ts';
import { type Outcome, race } from './tune/race.ts';

/** What to tune for, and for how many seconds: no further problem is begun after that, though variants that none had are checked. */
export interface TuneOptions extends Storage {
  config: ModelConfig;
  seconds: number;
}

/** How the variants of an op came out in one problem. */
export interface TunedProblem extends Outcome {
  op: string;
}

/** What was found: a table, the problems behind it, how many there was no time or room for, and what it took. */
export interface Tuned {
  ops: MeasuredTable['ops'];
  problems: readonly TunedProblem[];
  left: number;
  seconds: { all: number; checks: number };
}

/** After so long `ask` and the benches begin no further problem of their model. */
const ONCE_SECONDS = 50;
/** The share of a problem's time in which variants take turns: the rest is for compiling. */
const RACING = 1 / 4;

/** All formats and dtypes of the 15B model. */
export function everything(): TuneOptions {
  const config = loadConfig(shapeFolder('15b'));
  return { config, formats: ['int4', 'bf16'], dtypes: ['f32', 'f16'], int8: [true, false], seconds: 300 };
}

/** The problems that a device meets with a model. UsageError for an adapter that computes nothing. */
function problemsOf(device: Device, { config, dtypes, ...storage }: Storage & { config: ModelConfig }): Problem[] {
  if (!device.matrices) throw new UsageError(`tune: expected an adapter that computes, got '${device.name}'`);
  const able = dtypes.filter((dtype) => dtype === 'f32' || device.features.has('shader-f16'));
  return listProblems(config, device.onCpu, { ...storage, dtypes: able });
}

/** Checks and times variants on the problems of a model. UsageError for an adapter that computes nothing. */
export async function tune(device: Device, options: TuneOptions, onProblem: OnProblem): Promise<Tuned> {
  return tuneProblems(device, problemsOf(device, options), options.seconds, onProblem);
}

/** Told after each problem all that is known by then, with what was known before, and how the problem came out if it was timed. */
type OnProblem = (ops: MeasuredTable['ops'], tuned: TunedProblem | undefined) => void;

/**
 * Checks variants against float64 with the pipelines with which they would compute a problem, before they may be timed on it. One that is
 * wrong is used for nothing more; every variant that can run in one of the problems is checked at least once, however long it takes.
 */
export async function tuneProblems(
  device: Device,
  waiting: readonly Problem[],
  seconds: number,
  onProblem: OnProblem,
): Promise<Tuned> {
  const wrong = new Map<Variant, string>();
  const checked = new Set<Variant>();
  const problems: TunedProblem[] = [];
  const ops = [...new Set(waiting.map(({ op }) => op))].map(specOf);
  const table = () => Object.fromEntries(ops.map((spec) => [spec.name, measuredOp(spec, problems, wrong)]));
  const bar = progressBar(`tuning for ${device.name}`);
  const start = performance.now();
  const end = start + 1000 * seconds;
  let checkMillis = 0;
  try {
    for (const [done, problem] of waiting.entries()) {
      bar.update(done, waiting.length);
      const { op, cases } = problem;
      const spec = specOf(op);
      const checks = madeOnce(spec);
      const able = spec.variants.filter(
        (each) => !wrong.has(each) && cases.every((c) => runnable(device, spec, c).includes(each)),
      );
      const isLate = performance.now() > end;
      const right: Variant[] = [];
      const { millis } = await timed(async () => {
        for (const variant of able.filter((each) => !isLate || !checked.has(each))) {
          const fault = await findFault(device, checks, problem, variant);
          if (fault === undefined) continue; // no room: unchecked, and not timed here
          checked.add(variant);
          if (fault === '') right.push(variant);
          else wrong.set(variant, fault);
        }
      });
      checkMillis += millis;
      const share = Math.max(0, end - performance.now()) / (waiting.length - done);
      const outcome =
        right.length === 0 || isLate
          ? undefined
          : await race(device, spec, cases, right, share * RACING).catch(unlessTooLarge);
      for (const [variant, fault] of outcome?.wrong ?? []) wrong.set(variant, fault);
      const tuned = outcome && { op, ...outcome };
      if (tuned) problems.push(tuned);
      bar.above(() => onProblem(withEarlier(device, table()), tuned));
    }
  } finally {
    bar.stop();
  }
  const took = { all: (performance.now() - start) / 1000, checks: checkMillis / 1000 };
  return { ops: table(), problems, left: waiting.length - problems.length, seconds: took };
}

/** Which model is to run, and how. */
interface TunedModel
  extends Pick<ModelOptions, 'model' | 'synthetic' | 'format' | 'dtype' | 'int8Activations' | 'tune'> {
  /** How its weights are quantised as they load, if they are. */
  quantize?: Partial<StoredFormats>;
}

/** Tunes for the problems of a model that were never measured, and keeps the result; says so, and which files it could not use, on stderr. */
export async function tuneOnce(device: Device, { tune = true, ...model }: TunedModel): Promise<void> {
  const files = tablesOf(device);
  for (const { file, problem } of files) if (problem) console.error(`note: ${file}: ${problem}; ignored`);
  const unknown = tune ? unmeasured(device, model) : [];
  if (unknown.length === 0) return;
  console.error(
    `note: measuring once what is fastest on ${device.name} for this model; nothing new is timed after ${ONCE_SECONDS} s, but every variant is checked once; --no-tune leaves it out`,
  );
  const problems = unknown.map(({ problem }) => problem);
  const { ops, seconds } = await tuneProblems(device, problems, ONCE_SECONDS, (known) => keepMeasured(device, known));
  for (const line of showWrong(ops)) console.error(`note: ${line}`);
  console.error(`note: measured in ${digits(seconds.all)} s`);
  keepMeasured(device, withEarlier(device, ops, unknown));
}

/** The problems of a model that were never measured on a device; those of an op that a table of this project has as it is now all were. */
export function unmeasured(device: Device, model: Omit<TunedModel, 'tune'>): Decided[] {
  const committed = tablesOf(device).find((file) => file.committed)?.table?.ops;
  const isCommitted = (op: string) => committed?.[op]?.kernels === digestOf(specOf(op).variants);
  const problems = problemsOf(device, storageOf(withActivations(device, model)));
  const open = problems.filter(({ op }) => !isCommitted(op));
  return decisionsOf(device, open).filter(({ problem: { op }, name }) => !isKnown(device, op, name));
}

/** What of a model decides about its problems. */
export function storageOf(given: TunedModel & Required<Pick<TunedModel, 'dtype'>>) {
  const { model, synthetic, format = 'int4', quantize, dtype, int8Activations = false } = given;
  const config = loadConfig(synthetic ? shapeFolder(synthetic) : model);
  const decoder = quantize ? (quantize.decoder ?? DEFAULT_FORMATS.decoder) : config.formats?.decoder;
  const stored = decoder ? ({ q4: 'int4', q8: 'int8' } as const)[decoder] : 'bf16';
  return { config, formats: [synthetic ? format : stored], dtypes: [dtype], int8: [int8Activations] };
}

/** Whether what was measured here of the kernels as they are has a problem. */
function isKnown(device: Device, op: string, name: string): boolean {
  return measuredOps(device, op, specOf(op).variants).some(({ best }) => Object.hasOwn(best, name));
}

/** What is decided about a problem: what its op calls it, and the variant that runs; none where all that can were found wrong. */
interface Decided {
  problem: Problem;
  name: string;
  variant?: Variant;
}

/** What ops decide in small cases of those problems in which the device can run a variant. */
export function decisionsOf(device: Device, problems: readonly Problem[]): Decided[] {
  return problems.flatMap((problem) => {
    const spec = specOf(problem.op);
    const small = checkOf(problem);
    const able = runnable(device, spec, small);
    if (able.length === 0) return [];
    const inputs = spec.inputs(small, new Zeros());
    const decide = (variant?: string) => decisionOf(device, spec, small, variant, inputs)!;
    const name = `${spec.name} ${decide(able[0]!.name).problem}`;
    try {
      return { problem, name, variant: decide().variant };
    } catch (error) {
      if (!(error instanceof CapabilityError)) throw error;
      return { problem, name };
    }
  });
}

/** What was found with what was known, variants that were wrong in other problems among it; all that was asked for has an entry. */
function withEarlier(device: Device, ops: MeasuredTable['ops'], asked: readonly Decided[] = []): MeasuredTable['ops'] {
  const merged = Object.entries(ops).map(([op, found]) => {
    const [earlier] = measuredOps(device, op, specOf(op).variants);
    const none = asked.filter(({ problem }) => problem.op === op).map(({ name }) => [name, []]);
    const best = { ...Object.fromEntries(none), ...found.best };
    return [op, { ...found, best, wrong: { ...earlier?.wrong, ...found.wrong } }] as const;
  });
  return Object.fromEntries(merged);
}

/** One line for each variant that was found wrong. */
export function showWrong(ops: MeasuredTable['ops']): string[] {
  return Object.entries(ops).flatMap(([op, { wrong }]) =>
    Object.entries(wrong).map(([name, fault]) => `${op}/${name} is WRONG here and not used: ${fault.split('\n')[0]}`),
  );
}

function specOf(op: string): OpSpec {
  return specs.find(({ name }) => name === op)!;
}

function measuredOp(
  { name, variants }: OpSpec,
  problems: readonly TunedProblem[],
  wrong: ReadonlyMap<Variant, string>,
): MeasuredOp {
  const short = (variant: Variant) => variant.name.slice(name.length + 1);
  const own = problems.filter(({ op }) => op === name);
  const faults = variants.flatMap((variant) =>
    wrong.has(variant) ? [[short(variant), wrong.get(variant)!] as const] : [],
  );
  return {
    kernels: digestOf(variants),
    best: Object.fromEntries(own.map(({ problem, order }) => [`${name} ${problem}`, order.map(short)])),
    wrong: Object.fromEntries(faults),
  };
}
