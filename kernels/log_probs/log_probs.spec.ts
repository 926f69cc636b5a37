import type { OpSpec, Random } from '../spec.ts';
import { logProbs, variants } from './log_probs.ts';

/** Normal values; few different ones; all the same; far apart. */
const VALUES = {
  normal: (random: Random) => 3 * random.normal(),
  ties: (random: Random) => random.below(3) - 5,
  equal: () => 7,
  wide: (random: Random) => 1e4 * random.normal(),
};

type LogProbsCase = {
  n: number;
  top: number;
  values: keyof typeof VALUES;
  show: 'ids' | 'values';
  quick?: boolean;
};

const both = (c: Omit<LogProbsCase, 'show'>): LogProbsCase[] => [
  { ...c, show: 'ids' },
  { ...c, show: 'values' },
];

/** Log probabilities of the likeliest against a sort in float64. */
export const spec: OpSpec<LogProbsCase> = {
  name: 'log_probs',
  formula: 'values_j = x[ids_j] - log sum_i exp(x_i), ids = the chosen, then the likeliest',
  variants,
  cases: [
    ...both({ n: 1, top: 1, values: 'normal', quick: true }),
    ...both({ n: 300, top: 5, values: 'ties', quick: true }),
    ...both({ n: 1031, top: 20, values: 'normal', quick: true }),
    ...[1, 2, 255, 256, 257].flatMap((n) => both({ n, top: Math.min(n, 7), values: 'equal' })),
    ...both({ n: 600, top: 0, values: 'normal' }),
    ...both({ n: 600, top: 20, values: 'wide' }),
    ...both({ n: 100352, top: 20, values: 'normal' }),
  ],
  bench: [
    { n: 100352, top: 1, values: 'normal', show: 'ids' },
    { n: 100352, top: 20, values: 'normal', show: 'ids' },
  ],
  inputs: ({ n, values }, random) => ({
    x: { shape: [n], dtype: 'f32', data: Float32Array.from({ length: n }, () => VALUES[values](random)) },
    choice: { shape: [2], dtype: 'u32', data: Uint32Array.of(random.below(n), 0) },
  }),
  record: (g, { x, choice }, { top, show }) => logProbs(g, x!, choice!, top)[show],
  reference({ x, choice }, { top, show }) {
    const xs = Float64Array.from(x!.data);
    const order = [...xs.keys()].sort((a, b) => xs[b]! - xs[a]! || a - b);
    const largest = xs[order[0]!]!;
    const shift = largest + Math.log(xs.reduce((sum, v) => sum + Math.exp(v - largest), 0));
    const ids = [choice!.data[0]!, ...order.slice(0, top)];
    return Float64Array.from(show === 'ids' ? ids : ids.map((id) => xs[id]! - shift));
  },
  tolerance: ({ show }) => (show === 'ids' ? { atol: 0, rtol: 0 } : { atol: 2e-5, rtol: 1e-6 }),
};
