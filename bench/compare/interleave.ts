import { specs } from '../../kernels/specs.ts';
import { UsageError } from '../../runtime/index.ts';
import { median, sum } from '../measure.ts';
import { progressBar } from '../progress.ts';
import type { Answers, Request } from './protocol.ts';
import { checkOutSides, type Side, Worker } from './sides.ts';
import { alphaOfLook, type Estimate, estimate, judge, lookRounds, type Pair, type Verdict } from './statistics.ts';
import type { Row } from './table.ts';

/** At least so many pairs of a unit in a round, and more while they take less than this many milliseconds. */
const LEAST_PAIRS = 4;
const UNIT_MILLIS = 500;
/** A sample is the median of the runs that fit into so many milliseconds, at least one. */
const SAMPLE_MILLIS = 3;

/** What to compare with what, and for how long at most. */
export interface InterleaveOptions {
  ref: string;
  /** Ops, or variants as 'op/variant'; without it all ops, or none where there are prompts. */
  ops?: string[];
  /** Prompts of the tiny checkpoint, all where the list is empty; without it none. */
  prompts?: string[];
  adapter?: string;
  minutes: number;
}

/** What was compared, where, and how it came out. */
export interface Comparison {
  environment: Record<string, unknown>;
  sides: Sides;
  /** Units that one side alone has. */
  unmatched: string[];
  rows: Row[];
  /** Of each row, the pairs of every round. */
  samples: (readonly (readonly Pair[])[])[];
}

/** A unit that both sides have, with what has been measured of it. */
export interface Measured {
  name: string;
  shape: string;
  clock: Row['clock'];
  rounds: Pair[][];
  estimate?: Estimate;
  verdict: Verdict;
}

interface Unit extends Measured {
  /** Its number, what runs and what is wrong with it, on the old and on the new side. */
  places: readonly [number, number];
  kernels: readonly [string, string];
  problems: readonly [string, string];
}

type Sides = readonly [old: Side, now: Side];
type Workers = readonly [old: Worker, now: Worker];

/**
 * Compares a commit with the working tree in one run: sample by sample the sides take turns, and every round has fresh
 * processes. Units whose results are wrong on a side are not timed. Ends when every unit is judged, after the last look,
 * or when the time is over.
 */
export async function interleave(options: InterleaveOptions): Promise<Comparison> {
  const { ref, minutes, adapter, prompts, ops = prompts ? [] : specs.map(({ name }) => name) } = options;
  checkOps(ops);
  const sides = await checkOutSides(ref);
  const work = { adapter, ops, prompts };
  const deadline = performance.now() + minutes * 60_000;
  const expired = () => performance.now() > deadline;
  const { units, unmatched, environment } = await listUnits(work, sides);
  const right = units.filter(({ problems }) => problems.join('') === '');
  const bar = progressBar('comparing');
  try {
    await measureInRounds(right, {
      round: (open, round, done) =>
        inWorkers(work, sides, async (workers) => {
          for (const unit of open) {
            if (expired()) return;
            const { kernels, pairs } = await measureUnit(workers, unit.places, round);
            unit.kernels = kernels;
            unit.rounds.push(pairs);
            done();
          }
        }),
      expired,
      progress: bar.update,
    });
  } finally {
    bar.stop();
  }
  const samples = units.map(({ rounds }) => rounds);
  return { environment, sides, unmatched, rows: units.map(toRow), samples };
}

function checkOps(names: readonly string[]): void {
  const known = specs.flatMap((spec) => [spec.name, ...spec.variants.map((variant) => variant.name)]);
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    const expected = specs.map((spec) => spec.name).join(', ');
    throw new UsageError(`--ops: expected some of ${expected}, or an op/variant, got '${unknown}'`);
  }
}

type Work = Omit<Request & { ask: 'open' }, 'ask'>;

/** Starts a worker per side, hands them to `body` and ends them. Only one of them works while something is timed. */
export async function inWorkers<T>(
  work: Work,
  [old, now]: Sides,
  body: (workers: Workers, opened: readonly [Answers['open'], Answers['open']]) => Promise<T>,
): Promise<T> {
  const workers = [new Worker(old), new Worker(now)] as const;
  try {
    return await body(workers, await Promise.all([workers[0].open(work), workers[1].open(work)]));
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()));
  }
}

/** The units that both sides have, checked on both. */
async function listUnits(work: Work, sides: Sides) {
  return inWorkers(work, sides, async (workers, opened) => {
    const { units, unmatched } = match(opened, sides);
    if (units.length === 0) {
      const got = unmatched.length > 0 ? unmatched.join('; ') : 'none on either side';
      throw new UsageError(
        `--interleave: expected units that both sides have, got ${got}; choose other --ops or prompts`,
      );
    }
    await checkUnits(workers, units);
    return { units, unmatched, environment: opened[1].environment };
  });
}

async function checkUnits(workers: Workers, units: readonly Unit[]): Promise<void> {
  const bar = progressBar('checking');
  try {
    for (const [i, unit] of units.entries()) {
      const ask = (side: 0 | 1) => workers[side].ask({ ask: 'check', unit: unit.places[side] });
      const [before, after] = await Promise.all([ask(0), ask(1)]);
      unit.problems = [before.problem, after.problem];
      bar.update(i + 1, units.length);
    }
  } finally {
    bar.stop();
  }
}

/** Pairs the units of both sides that mean the same work, and says which have no counterpart. */
function match([a, b]: readonly [Answers['open'], Answers['open']], sides: Sides) {
  const key = ({ name, shape, clock }: Pick<Measured, 'name' | 'shape' | 'clock'>) => `${name} ${shape} (${clock})`;
  const places = new Map(a.units.map((unit, at) => [key(unit), at]));
  const units: Unit[] = [];
  for (const [at, unit] of b.units.entries()) {
    const place = places.get(key(unit));
    if (place === undefined) continue;
    const start = { rounds: [], verdict: 'undecided', kernels: [unit.name, unit.name], problems: ['', ''] } as const;
    units.push({ ...unit, ...start, rounds: [], places: [place, at] });
  }
  const matched = new Set(units.map(key));
  const unmatched = [a, b].flatMap((listed, side) =>
    listed.units.filter((unit) => !matched.has(key(unit))).map((unit) => `${key(unit)} in ${sides[side]!.name}`),
  );
  return { units, unmatched };
}

/** How to measure. */
export interface Measuring<U> {
  /** Adds a round of pairs to units that are not judged yet, and calls `done` after each. */
  round(open: readonly U[], round: number, done: () => void): Promise<void>;
  expired(): boolean;
  /** Told how many rounds of units are done, and how many there are up to the next look. */
  progress?(done: number, total: number): void;
}

/** Measures units in rounds and judges them at a few looks, the last when the time is over, until every one is judged. */
export async function measureInRounds<U extends Measured>(
  units: readonly U[],
  { round, expired, progress }: Measuring<U>,
): Promise<void> {
  const alpha = alphaOfLook(units.length);
  let rounds = 0;
  for (const look of lookRounds(units.length)) {
    const open = units.filter(({ verdict }) => verdict === 'undecided');
    if (open.length === 0 || expired()) return;
    const done = () => progress?.(sum(open.map((unit) => unit.rounds.length)), open.length * look);
    while (rounds < look && !expired()) await round(open, rounds++, done);
    for (const unit of open.filter(({ rounds }) => rounds.length > 0)) {
      unit.estimate = estimate(unit.rounds, alpha);
      unit.verdict = judge(unit.estimate);
    }
  }
}

/** One round of a unit, which has a number on each side: what ran, and the pairs. */
export async function measureUnit(workers: Workers, places: readonly [number, number], round: number) {
  const prepare = (side: 0 | 1) => workers[side].ask({ ask: 'prepare', unit: places[side] });
  const [before, after] = await Promise.all([prepare(0), prepare(1)]);
  const pairs = await takePairs(workers, round);
  for (const worker of workers) await worker.ask({ ask: 'dispose' });
  return { kernels: [before.kernel, after.kernel] as const, pairs };
}

/** Pairs in the order old, new, new, old, ...; odd rounds begin with the new side. */
async function takePairs(workers: Workers, round: number): Promise<Pair[]> {
  const pairs: Pair[] = [];
  const sample = async (side: 0 | 1) => (await workers[side].ask({ ask: 'sample', millis: SAMPLE_MILLIS })).micros;
  const start = performance.now();
  while (pairs.length < LEAST_PAIRS || pairs.length % 2 === 1 || performance.now() - start < UNIT_MILLIS) {
    const first = ((round + pairs.length) % 2) as 0 | 1;
    const before = await sample(first);
    const after = await sample(first === 0 ? 1 : 0);
    pairs.push(first === 0 ? [before, after] : [after, before]);
  }
  return pairs;
}

function toRow({ shape, clock, kernels, problems, rounds, estimate, verdict }: Unit): Row {
  const [before, after] = kernels;
  const kernel = before === after ? after : `${before} -> ${after}`;
  if (!estimate) return { kernel, shape, clock, problems };
  const middle = (side: 0 | 1) => median(rounds.map((pairs) => median(pairs.map((pair) => pair[side]))));
  return { kernel, shape, clock, problems, timing: { old: middle(0), now: middle(1), ...estimate, verdict } };
}
