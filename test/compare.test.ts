// tier: host
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Measured, measureInRounds } from '../bench/compare/interleave.ts';
import { ALPHA, alphaOfLook, estimate, judge, lookRounds, type Pair, signedRank } from '../bench/compare/statistics.ts';
import { isRegression, markdown, printTable, type Row } from '../bench/compare/table.ts';
import { Random } from '../kernels/spec.ts';
import { fails, runBench } from './bench.ts';

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

test('a comparison needs its commit, and has no use for files', () => {
  fails(runBench('compare'), /required option '--interleave <ref>' not specified/);
  fails(runBench('compare', 'old.jsonl', 'new.jsonl', '--interleave', 'HEAD'), /too many arguments/);
});

test.run();
