import {
  digestOf,
  keepMeasured,
  type MeasuredOp,
  type MeasuredTable,
  measuredOps,
  tablesOf,
} from '../kernels/measured.ts';
import { type OpSpec, Random } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { decisionOf, runnable, verifyCase } from '../kernels/verify.ts';
import { loadConfig, type ModelConfig, shapeFolder } from '../model/index.ts';
import {
  CapabilityError,
  type Device,
  OutOfMemoryError,
  UsageError,
  type Variant,
  WgslError,
} from '../runtime/index.ts';
import { type ModelOptions, withActivations } from './load.ts';
import { timed } from './measure.ts';
import { progressBar } from './progress.ts';
import { digits } from './report.ts';
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

/** Everything that a model of the published shapes can meet. */
const EVERYTHING = { formats: ['int4', 'bf16'], dtypes: ['f32', 'f16'], int8: true, seconds: 300 } as const;
/** What `ask` and the benches take for the problems of their model, so that it stays under a minute. */
const ONCE_SECONDS = 50;
/** The share of a problem's time in which variants take turns: the rest is for compiling. */
const RACING = 1 / 4;

/** All formats and dtypes of the 15B model. */
export function everything(): TuneOptions {
  return { ...EVERYTHING, config: loadConfig(shapeFolder('15b')) };
}

/** The problems that a device meets with a model. UsageError for an adapter that computes nothing. */
function problemsOf(device: Device, { config, dtypes, ...storage }: Storage & { config: ModelConfig }): Problem[] {
  if (!device.matrices) throw new UsageError(`tune: expected an adapter that computes, got '${device.name}'`);
  const able = dtypes.filter((dtype) => dtype === 'f32' || device.features.has('shader-f16'));
  return listProblems(config, device.onCpu, { ...storage, dtypes: able });
}

/** Checks and times variants on the problems of a model. UsageError for an adapter that computes nothing. */
export async function tune(
  device: Device,
  options: TuneOptions,
  onProblem: (tuned: TunedProblem) => void = () => {},
): Promise<Tuned> {
  return tuneProblems(device, problemsOf(device, options), options.seconds, onProblem);
}

/**
 * Checks variants against float64 with the pipelines with which they would compute a problem, before they may be timed on it. One that is
 * wrong is used for nothing more; every variant that can run in one of the problems is checked at least once, however long it takes.
 */
async function tuneProblems(
  device: Device,
  waiting: readonly Problem[],
  seconds: number,
  onProblem: (tuned: TunedProblem) => void = () => {},
): Promise<Tuned> {
  const wrong = new Map<Variant, string>();
  const checked = new Set<Variant>();
  const problems: TunedProblem[] = [];
  const bar = progressBar(`tuning for ${device.name}`);
  const start = performance.now();
  const end = start + 1000 * seconds;
  let checkMillis = 0;
  try {
    for (const [done, problem] of waiting.entries()) {
      bar.update(done, waiting.length);
      const { op, cases } = problem;
      const spec = specOf(op);
      const able = spec.variants.filter(
        (each) => !wrong.has(each) && cases.every((c) => runnable(device, spec, c).includes(each)),
      );
      const isLate = performance.now() > end;
      const { millis } = await timed(async () => {
        for (const variant of able.filter((each) => !isLate || !checked.has(each))) {
          const fault = await findFault(device, spec, problem, variant);
          checked.add(variant);
          if (fault) wrong.set(variant, fault);
        }
      });
      checkMillis += millis;
      const right = able.filter((each) => !wrong.has(each));
      if (right.length === 0 || isLate) continue;
      const share = Math.max(0, end - performance.now()) / (waiting.length - done);
      const outcome = await race(device, spec, cases, right, share * RACING).catch(unlessTooLarge);
      if (!outcome) continue;
      for (const [variant, fault] of outcome.wrong) wrong.set(variant, fault);
      problems.push({ op, ...outcome });
      bar.above(() => onProblem(problems.at(-1)!));
    }
  } finally {
    bar.stop();
  }
  const ops = [...new Set(waiting.map(({ op }) => op))].map(specOf);
  const table = Object.fromEntries(ops.map((spec) => [spec.name, measuredOp(spec, problems, wrong)]));
  const took = { all: (performance.now() - start) / 1000, checks: checkMillis / 1000 };
  return { ops: table, problems, left: waiting.length - problems.length, seconds: took };
}

/** A problem that the device has no room for is left out. */
function unlessTooLarge(error: unknown): undefined {
  if (!(error instanceof OutOfMemoryError || error instanceof CapabilityError)) throw error;
}

/** Which model is to run, and how. */
interface TunedModel
  extends Pick<ModelOptions, 'model' | 'synthetic' | 'format' | 'dtype' | 'int8Activations' | 'tune'> {
  /** How its weights are quantised as they load, if they are. */
  quantize?: object | string;
}

/** Tunes for the problems of a model that were never measured, and keeps the result; says so, and which files it could not use, on stderr. */
export async function tuneOnce(device: Device, { tune = true, ...model }: TunedModel): Promise<void> {
  const files = tablesOf(device);
  for (const { file, problem } of files) if (problem) console.error(`note: ${file}: ${problem}; ignored`);
  const unknown = tune ? unmeasured(device, model) : [];
  if (unknown.length === 0) return;
  console.error(
    `note: measuring once what is fastest on ${device.name} for this model, about a minute at most; --no-tune leaves it out`,
  );
  const { ops, seconds } = await tuneProblems(device, unknown, ONCE_SECONDS);
  for (const line of showWrong(ops)) console.error(`note: ${line}`);
  console.error(`note: measured in ${digits(seconds.all)} s`);
  keepMeasured(device, joined(device, ops, unknown));
}

/** The problems of a model that were never measured on a device; those of an op that a table of this project has as it is now all were. */
export function unmeasured(device: Device, model: TunedModel): Problem[] {
  const committed = tablesOf(device).find((file) => file.committed)?.table?.ops;
  const isCommitted = (op: string) => committed?.[op]?.kernels === digestOf(specOf(op).variants);
  const problems = problemsOf(device, storageOf(withActivations(device, model)));
  return problems.filter((problem) => !isCommitted(problem.op) && !isKnown(device, problem));
}

/** What of a model decides about its problems. */
function storageOf({ model, synthetic, format = 'int4', quantize, dtype = 'f32', int8Activations }: TunedModel) {
  const config = loadConfig(synthetic ? shapeFolder(synthetic) : model);
  const stored = quantize || config.formats ? 'int4' : 'bf16';
  return { config, formats: [synthetic ? format : stored], dtypes: [dtype], int8: int8Activations };
}

/** Whether what was measured here of the kernels as they are has a problem. */
function isKnown(device: Device, problem: Problem): boolean {
  const name = nameOf(device, problem);
  const measured = measuredOps(device, problem.op, specOf(problem.op).variants);
  return !name || measured.some(({ best }) => Object.hasOwn(best, name));
}

/** What the op calls a problem, behind its own name; undefined where the device can run no variant in it. */
function nameOf(device: Device, problem: Problem): string | undefined {
  const spec = specOf(problem.op);
  const small = checkOf(problem);
  const [any] = runnable(device, spec, small);
  const decision = any && decisionOf(device, spec, small, any.name, spec.inputs(small, new Random(1)));
  return decision && `${spec.name} ${decision.problem}`;
}

/** What was found with all that was asked for, be it without a result, and with the variants that were wrong in other problems. */
function joined(device: Device, ops: MeasuredTable['ops'], asked: readonly Problem[]): MeasuredTable['ops'] {
  const merged = Object.entries(ops).map(([op, found]) => {
    const [earlier] = measuredOps(device, op, specOf(op).variants);
    const none = asked.filter((problem) => problem.op === op).map((problem) => [nameOf(device, problem), []]);
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

/** What is wrong with a variant in small cases of a problem; undefined where nothing is, or where the device has no room. */
async function findFault(
  device: Device,
  spec: OpSpec,
  problem: Problem,
  variant: Variant,
): Promise<string | undefined> {
  try {
    for (const c of problem.cases) {
      const verdict = await verifyCase(device, spec, checkOf(problem, c), variant.name);
      if (!verdict.ok) return `${verdict.case}: ${verdict.problem}`;
    }
    return undefined;
  } catch (error) {
    if (error instanceof WgslError) return error.message;
    return unlessTooLarge(error);
  }
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
