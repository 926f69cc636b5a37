import { widen } from '../../runtime/index.ts';
import { type OpSpec, roundoff } from '../spec.ts';
import { cast, variants } from './cast.ts';

type CastCase = { n: number; from: 'f32' | 'f16' | 'bf16'; as: 'f32' | 'f16'; scale: number; quick?: boolean };

const PAIRS = [
  { from: 'f32', as: 'f16' },
  { from: 'bf16', as: 'f16' },
  { from: 'f16', as: 'f32' },
  { from: 'bf16', as: 'f32' },
] as const;

/** Conversion of dtypes against the conversions of the host. */
export const spec: OpSpec<CastCase> = {
  name: 'cast',
  formula: 'y_i = x_i in another dtype',
  variants,
  needsF16: () => false,
  cases: [
    { n: 1, from: 'bf16', as: 'f32', scale: 1, quick: true },
    { n: 259, from: 'bf16', as: 'f32', scale: 1e20, quick: true },
    ...PAIRS.flatMap((pair) => [1, 2, 5, 7, 8, 509, 511, 512, 513, 5120].map((n) => ({ n, ...pair, scale: 1 }))),
    ...PAIRS.map((pair) => ({ n: 1001, ...pair, scale: 1e-3 })),
    ...PAIRS.map((pair) => ({ n: 1001, ...pair, scale: 1e4 })),
    { n: 101, from: 'f32', as: 'f32', scale: 1 },
  ],
  bench: [
    { n: 5120 * 1024, from: 'f32', as: 'f16', scale: 1 },
    { n: 5120 * 1024, from: 'bf16', as: 'f32', scale: 1 },
  ],
  inputs: ({ n, from, scale }, random) => ({ x: random.tensor([n], from, scale) }),
  record: (g, { x }, { as }) => cast(g, x!, as),
  reference: ({ x }) => Float64Array.from(widen(x!.dtype, x!.data)),
  /** The absolute part is half the distance between subnormal halves. */
  tolerance: ({ from, as }) => ({
    atol: as === 'f16' ? 2 ** -25 : 0,
    rtol: as === 'f16' && from !== 'f16' ? roundoff('f16') : 0,
  }),
};
