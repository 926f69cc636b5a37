import { orderOf } from '../lib/order_case.ts';
import type { OpSpec, Random } from '../spec.ts';
import { argmax, variants } from './argmax.ts';

/**
 * Normal values far below 0; three different values; all the same; both zeros; normal values with the largest at the end, or with NaN
 * and infinities among them; nothing but NaN.
 */
const STRAYS = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
const VALUES = {
  negative: (random: Random) => random.normal() - 1e4,
  ties: (random: Random) => random.below(3) - 5,
  equal: () => -7,
  zeros: (random: Random, i: number) => (i === 0 ? -0 : [0, -0][random.below(2)]!),
  last: (random: Random, i: number, n: number) => (i === n - 1 ? 100 : random.normal()),
  stray: (random: Random, i: number) => (i % 3 === 1 ? random.normal() : STRAYS[random.below(3)]!),
  nan: () => Number.NaN,
};

const every = Object.keys(VALUES) as (keyof typeof VALUES)[];

type ArgmaxCase = { n: number; values: keyof typeof VALUES; most?: number; quick?: boolean };

/** Index of each part's largest finite element, the lowest on ties, the count of the others, and its place in order, against a loop. */
export const spec: OpSpec<ArgmaxCase> = {
  name: 'argmax',
  formula: 'y = (min { i : x_i = max finite x }, count of x that are not finite, order of max x)',
  variants,
  cases: [
    { n: 1, values: 'negative', quick: true },
    { n: 5, values: 'last', quick: true },
    { n: 1027, values: 'ties', quick: true },
    { n: 100352, values: 'last', quick: true },
    { n: 1027, values: 'stray', quick: true },
    ...[2, 3, 4, 101, 1023, 1024, 1025].flatMap((n) => [
      { n, values: 'negative' as const },
      { n, values: 'last' as const },
      { n, values: 'equal' as const },
    ]),
    ...(['negative', 'ties', 'equal'] as const).map((values) => ({ n: 100352, values })),
    { n: 100351, values: 'last' },
    ...[1, 5, 1024, 100352].map((n) => ({ n, values: 'nan' as const })),
    ...[2, 4, 1025, 100351].map((n) => ({ n, values: 'stray' as const })),
    { n: 1027, values: 'zeros', quick: true },
    { n: 1027, values: 'stray', most: 256, quick: true },
    { n: 100352, values: 'ties', most: 4096, quick: true },
    ...every.flatMap((values) => [4, 1020, 1024, 1028].map((most) => ({ n: 1025, values, most }))),
    { n: 100351, values: 'negative', most: 4096 },
    { n: 8, values: 'nan', most: 4 },
  ],
  bench: [{ n: 100352, values: 'negative' }],
  inputs: ({ n, values }, random) => ({
    x: { shape: [1, n], dtype: 'f32', data: Float32Array.from({ length: n }, (_, i) => VALUES[values](random, i, n)) },
  }),
  record: (g, { x }, { most }) => argmax(g, x!, most),
  reference({ x }, { n, most = n }) {
    const starts = Array.from({ length: Math.ceil(n / most) }, (_, part) => part * most);
    return Float64Array.from(starts.flatMap((start) => known([...x!.data.subarray(start, start + most)], start)));
  },
  tolerance: () => ({ atol: 0, rtol: 0 }),
};

/** What argmax says of the elements from an index on. */
function known(xs: number[], start: number): [index: number, strays: number, order: number] {
  const finite = xs.filter(Number.isFinite);
  const largest = finite.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  if (finite.length === 0) return [start, xs.length, 0];
  return [start + xs.indexOf(largest), xs.length - finite.length, orderOf(largest)];
}
