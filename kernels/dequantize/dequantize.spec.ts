import { type HostTensor, type Matrix, widen } from '../../runtime/index.ts';
import { dequantizeWeightsHost, quantizedShapes } from '../lib/quantized.ts';
import { type OpSpec, roundoff } from '../spec.ts';
import { dequantize, variants } from './dequantize.ts';

type DequantizeCase = {
  rows: number;
  cols: number;
  format: 'q4' | 'q8';
  group: number;
  as: 'f16' | 'f32';
  quick?: boolean;
};

/** Widening quantised weights against the same on the host. */
export const spec: OpSpec<DequantizeCase> = {
  name: 'dequantize',
  formula: 'y = quant * scale',
  variants,
  needsF16: () => false,
  cases: [
    { rows: 3, cols: 40, format: 'q4', group: 32, as: 'f32', quick: true },
    { rows: 5, cols: 72, format: 'q8', group: 64, as: 'f16', quick: true },
    ...(['q4', 'q8'] as const).flatMap((format) => [
      ...[8, 24, 32, 360, 4304].map((cols) => ({ rows: 7, cols, format, group: 128, as: 'f16' as const })),
      ...[1, 63, 64, 65, 101].map((rows) => ({ rows, cols: 40, format, group: 64, as: 'f32' as const })),
    ]),
  ],
  bench: [{ rows: 5120, cols: 5120, format: 'q4', group: 64, as: 'f16' }],
  inputs({ rows, cols, format, group }, random) {
    const shapes = quantizedShapes(rows, cols, { format, group });
    return { quants: random.integers(shapes.quants, 2 ** 32), scales: random.tensor(shapes.scales, 'f16', 0.01) };
  },
  record(g, { quants, scales }, { rows, cols, format, group, as }) {
    const blocks = [{ tensor: quants!, scales: scales!, row: 0 }];
    const w: Matrix = { name: 'w', rows, cols, dtype: format, group, blocks };
    return dequantize(g, w, as).blocks[0]!.tensor;
  },
  reference: (inputs, c) => Float64Array.from(reference(inputs, c)),
  /** The absolute part is half the distance between subnormal halves. */
  tolerance: ({ as }) => ({ atol: as === 'f16' ? 2 ** -25 : 0, rtol: as === 'f16' ? roundoff('f16') : 0 }),
};

function reference({ quants, scales }: Record<string, HostTensor>, { rows, cols, format, group }: DequantizeCase) {
  const quantized = { quants: quants!.data as Uint32Array, scales: scales!.data as Uint16Array };
  return widen('f32', dequantizeWeightsHost(quantized, rows, cols, { format, group }));
}
