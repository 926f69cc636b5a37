import {
  digestOf,
  keepMeasured,
  type MeasuredOp,
  type MeasuredTable,
  measuredOps,
  tablesOf,
} from '../kernels/measured.ts';
import type { OpSpec } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { VARIANTS } from '../kernels/variants.ts';
import { runnable, verifyQuick } from '../kernels/verify.ts';
import { loadConfig, type ModelConfig, shapeFolder } from '../model/index.ts';
import {
  CapabilityError,
  canRun,
  type Device,
  OutOfMemoryError,
  UsageError,
  type Variant,
  WgslError,
} from '../runtime/index.ts';
import { progressBar } from './progress.ts';
import { listProblems, type Storage } from './tune/problems.ts';
import { type Outcome, race } from './tune/race.ts';

/** What to tune for, and for how many seconds once all is checked: no further problem is begun after that. */
export interface TuneOptions extends Storage {
  config: ModelConfig;
  seconds: number;
}

/** How the variants of an op came out in one problem. */
export interface TunedProblem extends Outcome {
  op: string;
}

/** What was found: a table, the problems behind it, and how many there was no time or room for. */
export interface Tuned {
  ops: MeasuredTable['ops'];
  problems: readonly TunedProblem[];
  left: number;
}

/** Everything that a model of the published shapes can meet, as far as it fits into 45 seconds. */
const EVERYTHING = { formats: ['int4', 'bf16'], dtypes: ['f32', 'f16'], seconds: 45 } as const;

/** All formats and dtypes of the 15B model. */
export function everything(): TuneOptions {
  return { ...EVERYTHING, config: loadConfig(shapeFolder('15b')) };
}

/**
 * Checks every variant that a device can run against float64, and times those that are right on the problems of a model.
 * UsageError for an adapter that computes nothing.
 */
export async function tune(
  device: Device,
  { config, formats, dtypes, seconds }: TuneOptions,
  onProblem: (tuned: TunedProblem) => void = () => {},
): Promise<Tuned> {
  if (!device.matrices) throw new UsageError(`tune: expected an adapter that computes, got '${device.name}'`);
  const able = dtypes.filter((dtype) => dtype === 'f32' || device.features.has('shader-f16'));
  const waiting = listProblems(config, device.onCpu, { formats, dtypes: able });
  const ops = [...new Set(waiting.map(({ op }) => op))].map(specOf);
  const checks = ops.flatMap((spec) =>
    spec.variants.filter(({ kernel }) => canRun(device, kernel)).map((variant) => ({ spec, variant })),
  );
  const wrong = new Map<Variant, string>();
  const problems: TunedProblem[] = [];
  const bar = progressBar(`tuning for ${device.name}`);
  const steps = checks.length + waiting.length;
  try {
    for (const [done, { spec, variant }] of checks.entries()) {
      bar.update(done, steps);
      const fault = await findFault(device, spec, variant);
      if (fault) wrong.set(variant, fault);
    }
    const end = performance.now() + 1000 * seconds;
    for (const [done, { op, cases }] of waiting.entries()) {
      bar.update(checks.length + done, steps);
      const spec = specOf(op);
      const right = spec.variants.filter(
        (each) => !wrong.has(each) && cases.every((c) => runnable(device, spec, c).includes(each)),
      );
      if (right.length === 0 || performance.now() > end) continue;
      const share = (end - performance.now()) / (waiting.length - done); // half of it goes to compiling
      const outcome = await race(device, spec, cases, right, share / 2).catch(unlessTooLarge);
      if (!outcome) continue;
      for (const [variant, fault] of outcome.wrong) wrong.set(variant, fault);
      problems.push({ op, ...outcome });
      bar.above(() => onProblem(problems.at(-1)!));
    }
  } finally {
    bar.stop();
  }
  const table = Object.fromEntries(ops.map((spec) => [spec.name, measuredOp(spec, problems, wrong)]));
  return { ops: table, problems, left: waiting.length - problems.length };
}

/** A problem that the device has no room for is left out. */
function unlessTooLarge(error: unknown): undefined {
  if (!(error instanceof OutOfMemoryError || error instanceof CapabilityError)) throw error;
}

/** Tunes for an adapter of which nothing is known, and keeps the result; says so, and which files it could not use, on stderr. */
export async function tuneOnce(device: Device, wanted = true): Promise<void> {
  for (const { file, problem } of tablesOf(device)) if (problem) console.error(`note: ${file}: ${problem}; ignored`);
  if (!wanted || isKnown(device)) return;
  const { seconds } = EVERYTHING;
  console.error(
    `note: measuring once what is fastest on ${device.name}, ${seconds} s once all variants are checked; --no-tune leaves it out`,
  );
  const { ops } = await tune(device, everything());
  for (const line of showWrong(ops)) console.error(`note: ${line}`);
  keepMeasured(device, ops);
}

/** One line for each variant that was found wrong. */
export function showWrong(ops: MeasuredTable['ops']): string[] {
  return Object.entries(ops).flatMap(([op, { wrong }]) =>
    Object.entries(wrong).map(([name, fault]) => `${op}/${name} is WRONG here and not used: ${fault.split('\n')[0]}`),
  );
}

/** Whether a table came with this project, or was made here from the kernels as they are. */
function isKnown(device: Device): boolean {
  const measured = Object.entries(VARIANTS).every(([op, variants]) => measuredOps(device, op, variants).length > 0);
  return measured || tablesOf(device).some(({ committed }) => committed);
}

function specOf(op: string): OpSpec {
  return specs.find(({ name }) => name === op)!;
}

/** What is wrong with a variant in its quick cases; undefined where nothing is. */
async function findFault(device: Device, spec: OpSpec, variant: Variant): Promise<string | undefined> {
  try {
    const verdicts = await verifyQuick(device, spec, variant);
    if (verdicts.length === 0) return 'none of its cases can run here';
    const fault = verdicts.find(({ ok }) => !ok);
    return fault && `${fault.case}: ${fault.problem}`;
  } catch (error) {
    if (error instanceof WgslError) return error.message;
    throw error;
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
