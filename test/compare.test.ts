// tier: host
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Measured, measureInRounds } from '../bench/compare/interleave.ts';
import { ALPHA, alphaOfLook, estimate, judge, lookRounds, type Pair, signedRank } from '../bench/compare/statistics.ts';
import { compareStored } from '../bench/compare/stored.ts';
import { isRegression, markdown, printTable, type Row } from '../bench/compare/table.ts';
import { Random } from '../kernels/spec.ts';
import { UsageError } from '../runtime/index.ts';
import { fails, runBench } from './bench.ts';

const folder = mkdtempSync(join(tmpdir(), 'daybreak-compare-test-'));
test.after(() => rmSync(folder, { recursive: true }));

/** Student's t with two degrees of freedom: tails so heavy that it has no variance. */
function heavy(random: Random): number {
  return random.normal() / Math.sqrt(-Math.log(1 - random.uniform()));
}

/** Pairs of a round: both sides share drift and bursts, each has its luck for the round and its own heavy-tailed noise. */
function noisyPairs(random: Random, round: number, shift: number): Pair[] {
  const luck = [0.02 * heavy(random), 0.02 * heavy(random)];
  return Array.from({ length: 12 }, (_, i) => {
    const shared = Math.sin(round + i / 9) + (random.uniform() < 0.2 ? random.uniform() : 0);
    const sample = (side: 0 | 1) => {
      const struck = random.uniform() < 0.05 ? 2 * random.uniform() : 0;
      return Math.exp(shared + luck[side]! + 0.05 * heavy(random) + struck + side * shift);
    };
    return [sample(0), sample(1)];
  });
}

/** The verdicts of a simulated run; unit i is slower by the ratio shifts[i]. */
async function simulate(seed: number, shifts: readonly number[]): Promise<Measured[]> {
  const random = new Random(seed);
  const units = shifts.map((_, i): Measured => {
    return { name: `op${i}`, shape: '', clock: 'gpu', rounds: [], verdict: 'undecided' };
  });
  await measureInRounds(units, {
    async round(open, round) {
      for (const unit of open) unit.rounds.push(noisyPairs(random, round, Math.log(shifts[units.indexOf(unit)]!)));
    },
    expired: () => false,
  });
  return units;
}

const changed = ({ verdict }: Measured) => verdict === 'slower' || verdict === 'faster';

test('the bound of signed ranks is that of all signs counted one by one', () => {
  for (const n of [1, 5, 8, 11]) {
    const sums = Array.from({ length: 2 ** n }, (_, signs) => {
      let sum = 0;
      for (let i = 0; i < n; i++) if (signs & (1 << i)) sum += i + 1;
      return sum;
    });
    const chance = (k: number) => (2 * sums.filter((sum) => sum <= k).length) / 2 ** n;
    for (const alpha of [0.2, 0.05, 0.01, 2 ** (1 - n)]) {
      const k = signedRank(n, alpha);
      assert.ok(k < 0 || chance(k) <= alpha, `n ${n}, alpha ${alpha}`);
      assert.ok(chance(k + 1) > alpha, `n ${n}, alpha ${alpha}`);
    }
  }
});

test('an interval holds as often as it says, whatever the tails', () => {
  const random = new Random(7);
  const alpha = 0.1;
  const runs = 2000;
  let missed = 0;
  let width = 0;
  for (let run = 0; run < runs; run++) {
    const rounds = Array.from({ length: 14 }, (): Pair[] => [[1, 1.2 * Math.exp(0.03 * heavy(random))]]);
    const { low, high, ratio } = estimate(rounds, alpha);
    assert.ok(low <= ratio && ratio <= high);
    if (low > 1.2 || high < 1.2) missed++;
    width += (high - low) / runs;
  }
  assert.ok(Math.abs(missed / runs - alpha) < 0.025, `missed ${missed} of ${runs}`);
  assert.ok(width < 0.1, `mean width ${width}`);
});

test('the first look is the earliest that can bound a unit, and all looks together keep alpha', () => {
  for (const units of [1, 2, 4, 24, 200]) {
    const looks = lookRounds(units);
    assert.ok(signedRank(looks[0]!, alphaOfLook(units)) >= 0);
    assert.ok(signedRank(looks[0]! - 1, alphaOfLook(units)) < 0);
    assert.ok(alphaOfLook(units) * looks.length * units <= ALPHA * (1 + 1e-9));
    assert.equal(
      [...looks].sort((a, b) => a - b),
      looks,
    );
  }
});

test('too few rounds bound nothing', () => {
  const pairs: Pair[] = [[1, 2]];
  assert.equal(estimate([pairs, pairs, pairs], 0.01), { ratio: 2, low: 0, high: Number.POSITIVE_INFINITY });
  assert.is(judge(estimate([pairs, pairs, pairs], 0.01)), 'undecided');
});

test('verdicts follow from where the interval lies', () => {
  const verdict = (low: number, high: number) => judge({ ratio: 1, low, high });
  assert.is(verdict(1.06, 1.2), 'slower');
  assert.is(verdict(0.7, 0.94), 'faster');
  assert.is(verdict(0.96, 1.04), 'same');
  assert.is(verdict(1.04, 1.2), 'undecided');
  assert.is(verdict(0.9, 1.2), 'undecided');
});

test('equal sides are never told apart, through shared drift, bursts and heavy tails', async () => {
  let same = 0;
  for (let seed = 0; seed < 100; seed++) {
    const units = await simulate(seed, [1, 1, 1, 1]);
    assert.is(units.filter(changed).length, 0, `seed ${seed}`);
    same += units.filter(({ verdict }) => verdict === 'same').length;
  }
  assert.ok(same >= 380, `${same} of 400 are the same`);
});

test('a unit that is 10 % slower or faster is found, and no other', async () => {
  let found = 0;
  for (let seed = 0; seed < 50; seed++) {
    const [a, slower, b, faster] = await simulate(seed, [1, 1.1, 1, 1 / 1.1]);
    assert.not(changed(a!) || changed(b!), `seed ${seed}`);
    assert.not(slower!.verdict === 'faster' || faster!.verdict === 'slower', `seed ${seed}`);
    found += [slower!.verdict === 'slower', faster!.verdict === 'faster'].filter(Boolean).length;
  }
  assert.ok(found >= 95, `found ${found} of 100`);
});

test('a unit that is judged is measured no more, and the time can be over', async () => {
  const [slow, noisy] = await simulate(3, [4, 1]);
  assert.is(slow!.rounds.length, lookRounds(2)[0]);
  assert.ok(noisy!.rounds.length >= slow!.rounds.length);
  for (const [most, rounds, verdict] of [
    [99, lookRounds(1)[0], 'slower'],
    [3, 3, 'undecided'],
  ]) {
    const unit: Measured = { name: 'op', shape: '', clock: 'gpu', rounds: [], verdict: 'undecided' };
    let calls = 0;
    const round = async () => {
      calls = unit.rounds.push([[1, 2]]);
    };
    await measureInRounds([unit], { round, expired: () => calls === most });
    assert.equal([calls, unit.verdict, unit.estimate!.ratio], [rounds, verdict, 2]);
  }
});

/** What a body prints. */
function printed(body: () => void): string {
  const lines: string[] = [];
  const { log } = console;
  console.log = (line: string) => lines.push(line);
  try {
    body();
  } finally {
    console.log = log;
  }
  return lines.join('\n');
}

test('a wrong side shows no time, and is a regression only where it is the new one', () => {
  const wrong = (problems: [string, string]): Row => ({ kernel: 'a/b', shape: 'n=1', clock: 'gpu', problems });
  const heading = { sides: ['x', 'y'], adapter: 'z', method: 'm' } as const;
  for (const row of [wrong(['', 'n=1: [0]']), wrong(['n=1: [0]', ''])]) {
    const texts = [printed(() => printTable(heading, [row])), markdown(heading, [row])];
    for (const text of texts) {
      assert.match(text, /WRONG: (old|new) n=1: \[0\]/);
      assert.not.match(text, /\d\.\d|slower|faster|same/);
      assert.match(text, /1 wrong of 1/);
    }
  }
  assert.ok(isRegression(wrong(['', 'x'])));
  assert.not(isRegression(wrong(['x', ''])));
});

const ENVIRONMENT = {
  adapter: 'llvmpipe',
  driver: 'Mesa 25',
  software: true,
  commit: 'abc1234',
  node: 'v20',
  webgpu: '0.6.2',
  cpu: '2 x CPU',
  date: '2026-01-01',
};
const PROMPT = { model: '/somewhere/tiny', dtype: 'f32', positions: 40, tokens: { matched: 1, ties: 0, total: 1 } };
const COMPARED = {
  maxErrorStd: 0,
  meanErrorStd: 0,
  stages: [],
  runs: {},
  memory: [],
  peakBytes: 0,
  kernels: [],
  profile: {},
};

const opsRow = (kernel: string, medians: readonly number[]) => ({
  ...ENVIRONMENT,
  ...{ bench: 'ops', kernel, shape: { rows: 1, as: 'f32' }, flops: 1, bytes: 1, dispatches: 1 },
  repeats: medians.map((micros) => [micros - 1, micros, micros + 90]),
});
const hostRow = (task: string, medians: readonly number[]) => ({
  ...ENVIRONMENT,
  ...{ bench: 'host', task, repeats: medians.map((micros) => [micros]) },
});
const e2eRow = (prompt: string, millis: readonly number[], ok = true) => ({
  ...{ ...ENVIRONMENT, ...PROMPT, ...COMPARED, bench: 'e2e', prompt, ok, ...(!ok && { divergedAt: 'greedy' }) },
  repeats: millis.map((t) => ({
    imageMillis: 0,
    visionMillis: 0.01,
    prefillMillis: t,
    ttftMillis: 2 * t,
    stepMillis: [t],
  })),
});

/** Writes rows, or lines as they are. */
function file(name: string, rows: readonly (object | string)[]): string {
  const path = join(folder, name);
  writeFileSync(path, `${rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n')}\n`);
  return path;
}

const FIVE = [100, 101, 102, 103, 104];
const times = (factor: number) => FIVE.map((value) => value * factor);

test('stored files differ only beyond the spread of their repeats', () => {
  const old = file('old.jsonl', [opsRow('a/x', FIVE), opsRow('a/y', [80, 90, 100, 110, 120]), hostRow('plan', FIVE)]);
  const now = file('new.jsonl', [opsRow('a/x', times(1.2)), opsRow('a/y', times(1.15)), hostRow('plan', times(0.5))]);
  const verdicts = (rows: readonly Row[]) => rows.map(({ kernel, timing }) => `${kernel} ${timing!.verdict}`);
  assert.equal(verdicts(compareStored(old, now).rows), ['a/x slower', 'a/y undecided', 'plan faster']);
  assert.equal(verdicts(compareStored(old, old).rows), ['a/x same', 'a/y undecided', 'plan same']);
  const [{ timing }] = compareStored(old, now).rows as [Row];
  assert.ok(Math.abs(timing!.ratio - 1.2) < 1e-9 && Math.abs(timing!.low - 120 / 104) < 1e-9, JSON.stringify(timing));
});

test('prompts are compared phase by phase, and a wrong one by no time', () => {
  const old = file('old.jsonl', [e2eRow('text', FIVE), e2eRow('one', FIVE)]);
  const now = file('new.jsonl', [e2eRow('text', times(1.2)), e2eRow('one', times(1.2), false)]);
  const { rows } = compareStored(old, now);
  const [text, one] = [
    rows.filter(({ shape }) => shape.includes('text')),
    rows.filter(({ shape }) => shape.includes('one')),
  ];
  assert.equal(
    text.map(({ kernel, timing }) => `${kernel} ${timing!.verdict}`),
    ['prefill slower', 'ttft slower', 'decode slower'],
  );
  assert.is(text[0]!.timing!.old, 102_000);
  assert.ok(one.length === 3 && one.every(({ problems, timing }) => problems[1] === 'diverges from greedy' && !timing));
});

test('what only one file has and other versions are told', () => {
  const old = file('old.jsonl', [opsRow('a/x', FIVE), opsRow('a/gone', FIVE)]);
  const now = file('new.jsonl', [{ ...opsRow('a/x', FIVE), node: 'v22' }]);
  const { notes } = compareStored(old, now);
  assert.equal(notes, ['node: v20 -> v22', `only in ${old}: a/gone rows=1,as=f32`]);
});

test('files that cannot be compared are refused with what to do', () => {
  const good = file('good.jsonl', [opsRow('a/x', FIVE)]);
  const refused = (rows: readonly (object | string)[], pattern: RegExp) => {
    const bad = file('bad.jsonl', rows);
    assert.throws(
      () => compareStored(good, bad),
      (error: Error) => error instanceof UsageError && pattern.test(error.message),
    );
  };
  refused(
    [opsRow('a/x', FIVE.slice(1))],
    /bad\.jsonl:1: a\/x .*expected 5 repeats or more, got 4; .*bench -- ops --repeats 5 --json .*bad\.jsonl/,
  );
  refused([e2eRow('text', [1])], /bad\.jsonl:1: .*got 1; .*bench -- e2e --repeats 5 --json/);
  for (const field of ['adapter', 'driver', 'cpu']) {
    refused(
      [{ ...opsRow('a/x', FIVE), [field]: 'other' }],
      new RegExp(`bad\\.jsonl: ${field}: expected .* as in .*good\\.jsonl, got 'other'`),
    );
    refused(
      [opsRow('a/x', FIVE), { ...opsRow('a/y', FIVE), [field]: 'other' }],
      new RegExp(`bad\\.jsonl:2: ${field}: expected`),
    );
  }
  refused([opsRow('a/x', FIVE), '{"bench": "ops", "ker'], /bad\.jsonl:2: expected a line of JSON, got/);
  refused([{ ...opsRow('a/x', FIVE), repeats: [['soon']] }], /bad\.jsonl:1: ops\.repeats\[0\]\[0\]: expected a number/);
  refused([{ ...opsRow('a/x', FIVE), repeats: FIVE.map(() => [0]) }], /bad\.jsonl:1: .*expected times above 0, got 0/);
  refused([{ ...opsRow('a/x', FIVE), repeats: FIVE.map(() => []) }], /bad\.jsonl:1: .*expected times above 0, got NaN/);
  refused([opsRow('a/x', FIVE), opsRow('a/x', FIVE)], /bad\.jsonl:2: a\/x .*expected one row, got a second one/);
  refused([opsRow('b/z', FIVE)], /bad\.jsonl: expected a unit that .*good\.jsonl has too, got none/);
  refused([{ bench: 'unheard-of' }], /bad\.jsonl: expected rows of bench ops, e2e or host, got none/);
  assert.throws(() => compareStored(good, join(folder, 'none.jsonl')), /none\.jsonl: expected a file of JSON lines/);
});

test('exit codes, the table for a pull request and the rows', async () => {
  const old = file('old.jsonl', [opsRow('a/x', FIVE), opsRow('a/y', FIVE)]);
  const now = file('new.jsonl', [opsRow('a/x', times(1.2)), opsRow('a/y', FIVE)]);
  const [json, table] = [join(folder, 'rows.jsonl'), join(folder, 'table.md')];
  const { status, stdout, stderr } = runBench('compare', old, now, '--json', json, '--markdown', table);
  assert.is(status, 1, stderr);
  assert.match(stdout, /^a\/x +gpu +102 +122 +1\.200 +1\.154\.\.1\.248 +slower +rows=1,as=f32$/m);
  assert.match(stdout, /^1 slower, 1 same of 2$/m);
  assert.match(
    readFileSync(table, 'utf8'),
    /^\| a\/x \| rows=1,as=f32 \| gpu \| 102 \| 122 \| 1\.200 \| .* \| \*\*slower\*\* \|$/m,
  );
  const rows = readFileSync(json, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.equal(
    rows.map(({ kernel, timing }) => [kernel, timing.verdict]),
    [
      ['a/x', 'slower'],
      ['a/y', 'same'],
    ],
  );
  assert.is(runBench('compare', now, old).status, 0);
  fails(runBench('compare', old), /compare: expected OLD\.jsonl NEW\.jsonl or --interleave REF, got .*old\.jsonl;/);
});

test.run();
