import { f16ToF32, widen } from '../../runtime/index.ts';
import { type Quantization, quantizeWeightsHost } from '../lib/quantized.ts';
import type { OpSpec } from '../spec.ts';
import { quantizeWeights, variants } from './quantize_weights.ts';

type QuantizeWeightsCase = {
  rows: number;
  inner: number;
  /** dtype of w; 'half' is f16, under another name because it needs no shader-f16. */
  from: 'f32' | 'bf16' | 'half';
  format: 'q4' | 'q8';
  group: number;
  scale: number;
  show: 'quants' | 'scales';
  quick?: boolean;
};

const base = { from: 'bf16', format: 'q4', group: 32, scale: 0.02, show: 'quants' } as const;
const how = ({ format, group }: QuantizeWeightsCase): Quantization => ({ format, group });

/** Quantising weights against the host, exactly. */
export const spec: OpSpec<QuantizeWeightsCase> = {
  name: 'quantize_weights',
  formula: 'w = quant * scale, scale = argmin sum (w - quant * scale)^2',
  variants,
  needsF16: () => false,
  cases: [
    { ...base, rows: 3, inner: 40, quick: true },
    { ...base, rows: 5, inner: 72, format: 'q8', group: 64, from: 'f32', quick: true },
    ...(['f32', 'bf16', 'half'] as const).flatMap((from) =>
      (['q4', 'q8'] as const).flatMap((format) => [
        ...[8, 24, 360].map((inner) => ({ ...base, rows: 7, inner, from, format, group: 64 })),
        { ...base, rows: 3, inner: 4304, from, format, group: 128, show: 'scales' as const },
      ]),
    ),
    ...[1, 127, 128, 129].map((rows) => ({ ...base, rows, inner: 40 })),
    ...[1e-7, 1e-5, 1e3].map((scale) => ({ ...base, rows: 5, inner: 104, from: 'f32' as const, scale })),
    { ...base, rows: 1, inner: 17920, group: 64 },
  ],
  bench: [
    { ...base, rows: 1024, inner: 5120, group: 64, show: 'scales' },
    { ...base, rows: 1024, inner: 5120, format: 'q8', group: 64, show: 'scales' },
  ],
  inputs: ({ rows, inner, from, scale }, random) => ({
    w: random.tensor([rows, inner], from === 'half' ? 'f16' : from, scale),
  }),
  record: (g, { w }, c) => quantizeWeights(g, w!, how(c))[c.show],
  reference({ w }, c) {
    const { quants, scales } = quantizeWeightsHost(widen(w!.dtype, w!.data), c.rows, c.inner, how(c));
    return c.show === 'scales' ? Float64Array.from(scales, f16ToF32) : Float64Array.from(quants);
  },
  tolerance: () => ({ atol: 0, rtol: 0 }),
};
