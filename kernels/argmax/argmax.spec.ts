import type { OpSpec, Random } from '../spec.ts';
import { argmax, variants } from './argmax.ts';

/** Normal values far below 0; three different values; all the same; normal values with the largest at the end. */
const VALUES = {
  negative: (random: Random) => random.normal() - 1e4,
  ties: (random: Random) => random.below(3) - 5,
  equal: () => -7,
  last: (random: Random, i: number, n: number) => (i === n - 1 ? 100 : random.normal()),
};

type ArgmaxCase = { n: number; values: keyof typeof VALUES; quick?: boolean };

/** Index of the largest element, the lowest on ties, against a loop. */
export const spec: OpSpec<ArgmaxCase> = {
  name: 'argmax',
  formula: 'y = min { i : x_i = max x }',
  variants,
  cases: [
    { n: 1, values: 'negative', quick: true },
    { n: 5, values: 'last', quick: true },
    { n: 1027, values: 'ties', quick: true },
    { n: 100352, values: 'last', quick: true },
    ...[2, 3, 4, 101, 1023, 1024, 1025].flatMap((n) => [
      { n, values: 'negative' as const },
      { n, values: 'last' as const },
      { n, values: 'equal' as const },
    ]),
    ...(['negative', 'ties', 'equal'] as const).map((values) => ({ n: 100352, values })),
    { n: 100351, values: 'last' },
  ],
  bench: [{ n: 100352, values: 'negative' }],
  inputs: ({ n, values }, random) => ({
    x: { shape: [1, n], dtype: 'f32', data: Float32Array.from({ length: n }, (_, i) => VALUES[values](random, i, n)) },
  }),
  record: (g, { x }) => argmax(g, x!),
  reference({ x }) {
    const xs = [...x!.data];
    return Float64Array.of(xs.reduce((best, v, i) => (v > xs[best]! ? i : best), 0));
  },
  tolerance: () => ({ atol: 0, rtol: 0 }),
};
