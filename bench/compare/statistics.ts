import { median } from '../measure.ts';

/** A change counts from this ratio on, half way (in logarithms) to the 10 % that must be found. */
export const MIN_CHANGE = 1.05;
/** How likely any of the units of a comparison may get a wrong verdict at any look. */
export const ALPHA = 0.05;
/** How often a comparison looks at its results, each time after half as many rounds more. */
export const LOOKS = 6;

export type Verdict = 'faster' | 'slower' | 'same' | 'undecided';

/** Times of the old side over which those of the new side lie, and the interval in which that ratio is. */
export interface Estimate {
  ratio: number;
  low: number;
  high: number;
}

/** Times of the old and the new side, taken one right after the other. */
export type Pair = readonly [old: number, new: number];

/** The numbers of rounds after which `units` are judged; the first is the fewest that can bound any of them. */
export function lookRounds(units: number): number[] {
  const first = Math.ceil(1 + Math.log2(1 / alphaOfLook(units)));
  return Array.from({ length: LOOKS }, (_, look) => Math.ceil(first * 1.5 ** look));
}

/** The share of ALPHA that one of `units` has at one look, so that all of them together keep it (Bonferroni). */
export function alphaOfLook(units: number): number {
  return ALPHA / (Math.max(units, 1) * LOOKS);
}

/**
 * The ratio new / old of rounds of pairs. A round counts once, by the median of its log ratios: what layout, placement or
 * a neighbour does to a process lasts as long as the process. Over rounds: Hodges and Lehmann's estimate and the interval
 * of Wilcoxon's signed ranks, exact at level 1 - alpha for any symmetric distribution, however heavy its tails.
 */
export function estimate(rounds: readonly (readonly Pair[])[], alpha: number): Estimate {
  const logs = rounds.map((pairs) => median(pairs.map(([old, now]) => Math.log(now / old))));
  const averages = logs.flatMap((a, i) => logs.slice(0, i + 1).map((b) => (a + b) / 2)).sort((a, b) => a - b);
  const rank = signedRank(logs.length, alpha);
  const bound = (at: number, open: number) => (rank < 0 ? open : Math.exp(averages[at]!));
  return {
    ratio: Math.exp(median(averages)),
    low: bound(rank, 0),
    high: bound(averages.length - 1 - rank, Number.POSITIVE_INFINITY),
  };
}

/** The largest k with 2 P(W <= k) <= alpha for the sum W of the positive ones among n signed ranks; -1 where none is. */
export function signedRank(n: number, alpha: number): number {
  let ways = [1]; // in which ranks 1 to i can sum to each value
  for (let i = 1; i <= n; i++) {
    const shorter = ways;
    ways = Array.from({ length: shorter.length + i }, (_, s) => (shorter[s] ?? 0) + (shorter[s - i] ?? 0));
  }
  let k = -1;
  for (let below = ways[0]!; 2 * below <= alpha * 2 ** n; below += ways[k + 1]!) k++;
  return k;
}

/** What an interval says: wholly past MIN_CHANGE on one side, wholly within it, or neither. */
export function judge({ low, high }: Estimate): Verdict {
  if (low > MIN_CHANGE) return 'slower';
  if (high < 1 / MIN_CHANGE) return 'faster';
  return low > 1 / MIN_CHANGE && high < MIN_CHANGE ? 'same' : 'undecided';
}
