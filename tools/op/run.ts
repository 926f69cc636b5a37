import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { knownCeilings } from '../../bench/ceilings/cache.ts';
import { showCeilings } from '../../bench/ceilings.ts';
import { openAdapter } from '../../bench/open.ts';
import { benchShapes, explainShapes } from '../../bench/shapes.ts';
import { type Clock, type Repeats, type Timing, timeCase } from '../../bench/time_case.ts';
import { type Case, type OpSpec, showCase } from '../../kernels/spec.ts';
import {
  chosenVariant,
  lacksF16,
  recordCase,
  runnable,
  type Verdict,
  verifyCase,
  verifyQuick,
} from '../../kernels/verify.ts';
import { CapabilityError, type Device, type HostTensor, type Variant, WgslError } from '../../runtime/index.ts';
import { OpReport, printSource } from './report.ts';
import { constantsOf, makeInputs, type OpOptions, type Subject, shortName, showSubject, type Task } from './task.ts';

const REPEATS: Repeats = { least: 5, most: 50, millis: 500 };

type Inputs = Record<string, HostTensor>;

/** Everything that stays the same during a run. */
interface Run {
  device: Device;
  task: Task;
  options: OpOptions;
  clock: Clock;
  /** How the quick cases of a variant came out. */
  checked: Map<Variant, Verdict[]>;
  /** Sources that have been printed. */
  printed: Set<string>;
}

/** Checks and times what the command line asks for. Returns the exit code: 0 all right, 1 something wrong. */
export async function runOp(task: Task, options: OpOptions): Promise<number> {
  const { spec, explicit } = task;
  const device = await openAdapter(options.adapter);
  const clock: Clock = device.features.has('timestamp-query') ? 'gpu' : 'wall';
  if (options.profile && clock === 'wall') {
    throw new CapabilityError(`--profile: expected feature timestamp-query, got '${device.name}' without it`);
  }
  const run: Run = { device, task, options, clock, checked: new Map(), printed: new Set() };
  const ceilings = await knownCeilings(device);
  console.log(showCeilings(ceilings));
  const report = new OpReport(device, task, clock, REPEATS, ceilings.best, options.json);
  if (!explicit) explainShapes(device, [spec], options.all ?? false);
  const shapes = benchShapes(device, spec, options.all ?? false);
  for (const subject of explicit ? task.subjects : task.subjects.filter(({ c }) => shapes.includes(c))) {
    const inputs = makeInputs(spec, subject.c, options.seed);
    const variants = await compiled(spec, async () => chooseVariants(run, subject, inputs));
    if (typeof variants === 'string') {
      report.broken(spec.name, subject, variants);
      if (!explicit) break;
      continue;
    }
    for (const variant of variants.filter(({ name }) => explicit || !report.failed.has(name))) {
      const outcome = await compiled(spec, () => checkAndTime(run, subject, variant, inputs));
      if (typeof outcome === 'string') report.broken(variant.name, subject, outcome);
      else report.outcome(variant.name, subject, outcome);
    }
  }
  if (options.profile) report.printProfiles();
  if (report.rows === 0) {
    const wanted = task.variant ?? 'this device';
    throw new CapabilityError(`${spec.name}: expected a bench shape for ${wanted}, got none; choose a --case`);
  }
  return report.failed.size > 0 ? 1 : 0;
}

/** The variants to run in a case. */
function chooseVariants(run: Run, subject: Subject, inputs: Inputs): Variant[] {
  const { device, task } = run;
  const { spec, variant, explicit } = task;
  const constants = Object.keys(subject.constants);
  const able = runnable(device, spec, subject.c).filter((each) => constants.every((k) => constantsOf(each).has(k)));
  const chosen = variant
    ? able.filter(({ name }) => variant === 'all' || name === variant)
    : able.filter((each) => each === chosenVariant(device, spec, subject.c, inputs));
  if (explicit && lacksF16(device, spec, subject.c)) {
    throw new CapabilityError(`${showSubject(subject)}: expected feature shader-f16, got '${device.name}' without it`);
  }
  if (explicit && chosen.length === 0) {
    const names = able.map(shortName).join(', ') || 'no variant';
    const wanted = variant ?? 'what the device would choose';
    throw new CapabilityError(`${showSubject(subject)}: expected ${names} on '${device.name}', got ${wanted}`);
  }
  return chosen;
}

/** How a variant compares with float64 and, only if it is right, how long it takes. */
async function checkAndTime(
  run: Run,
  { c, constants }: Subject,
  variant: Variant,
  inputs: Inputs,
): Promise<{ verdicts: Verdict[]; timing?: Timing }> {
  const { device, task, options, clock, checked } = run;
  const { spec, explicit } = task;
  if (options.printWgsl) {
    const dispatches = recordCase(device, spec, c, variant.name, inputs, constants);
    for (const dispatch of dispatches) printSource(dispatch, run.printed);
  }
  const verdicts =
    checked.get(variant) ??
    (explicit
      ? [await verifyCase(device, spec, c, variant.name, options.seed, constants)]
      : await verifyQuick(device, spec, variant, options.seed));
  if (!explicit) checked.set(variant, verdicts);
  if (verdicts.length === 0 || verdicts.some(({ ok }) => !ok)) return { verdicts };
  const timing = await timeCase(device, spec, c, variant.name, inputs, REPEATS, clock, constants);
  return timing.problem
    ? { verdicts: [...verdicts, unwritten(spec, variant, c, timing.problem)] }
    : { verdicts, timing };
}

function unwritten({ name }: OpSpec, variant: Variant, c: Case, problem: string): Verdict {
  const errors = { maxError: Number.NaN, relativeError: Number.NaN };
  return { op: name, variant: variant.name, case: showCase(c), ok: false, ...errors, problem };
}

/** The result of a function, or what the WGSL compiler says against a kernel. */
async function compiled<T>(spec: OpSpec, body: () => Promise<T>): Promise<T | string> {
  try {
    return await body();
  } catch (error) {
    if (!(error instanceof WgslError)) throw error;
    return error.message.replace(/(\w+\/\w+)\.wgsl:(\d+)/g, (_, name: string, line: string) =>
      place(spec, name, Number(line)),
    );
  }
}

/** Where a line of a kernel's text stands: in its own file, or in that of a library behind it. */
function place(spec: OpSpec, name: string, line: number): string {
  const own = new URL(`../../kernels/${name}.wgsl`, import.meta.url);
  const { source, lib = [] } = spec.variants.find(({ kernel }) => kernel.name === name)?.kernel ?? { source: own };
  let [file, at] = [source, line];
  for (const next of lib) {
    const lines = readFileSync(file, 'utf8').split('\n').length;
    if (at <= lines) break;
    [file, at] = [next, at - lines];
  }
  return `${relative('', fileURLToPath(file))}:${at}`;
}
