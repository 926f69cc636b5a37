import { narrow, widen } from '../../runtime/index.ts';
import { type OpSpec, roundoff } from '../spec.ts';
import { layerNorm, variants } from './layer_norm.ts';

type LayerNormCase = { rows: number; cols: number; mean: number; as: 'f32' | 'f16'; quick?: boolean };

const EPS = 1e-6;

/** LayerNorm against float64; `mean` is the mean of the inputs, whose standard deviation is 1. */
export const spec: OpSpec<LayerNormCase> = {
  name: 'layer_norm',
  formula: 'y = w (x - mean(x)) / sqrt(var(x) + eps) + b',
  variants,
  cases: [
    { rows: 1, cols: 4, mean: 0, as: 'f32', quick: true },
    { rows: 3, cols: 132, mean: 0, as: 'f32', quick: true },
    { rows: 2, cols: 1152, mean: 1000, as: 'f32', quick: true },
    ...[8, 124, 128, 404, 1152].map((cols) => ({ rows: 3, cols, mean: 0, as: 'f32' as const })),
    ...[-30, 1e5].map((mean) => ({ rows: 7, cols: 1152, mean, as: 'f32' as const })),
    { rows: 257, cols: 128, mean: 3, as: 'f32' },
    { rows: 65537, cols: 4, mean: 0, as: 'f32' },
    { rows: 5, cols: 1152, mean: 1, as: 'f16' },
    { rows: 1, cols: 404, mean: 0, as: 'f16' },
  ],
  bench: [
    { rows: 256, cols: 1152, mean: 0, as: 'f32' },
    { rows: 3600, cols: 1152, mean: 0, as: 'f32' },
  ],
  inputs: ({ rows, cols, mean }, random) => ({
    x: {
      shape: [rows, cols],
      dtype: 'f32',
      data: narrow(
        'f32',
        Float32Array.from({ length: rows * cols }, () => mean + random.normal()),
      ),
    },
    w: random.tensor([cols]),
    b: random.tensor([cols]),
  }),
  record: (g, { x, w, b }, { as }) => layerNorm(g, x!, w!, b!, EPS, as),
  reference({ x, w, b }, { rows, cols }) {
    const [xs, ws, bs] = [x!, w!, b!].map((t) => widen(t.dtype, t.data)) as [Float32Array, Float32Array, Float32Array];
    const y = new Float64Array(rows * cols);
    for (let r = 0; r < rows; r++) {
      const row = xs.subarray(r * cols, (r + 1) * cols);
      let [mean, squares] = [0, 0];
      for (const v of row) mean += v / cols;
      for (const v of row) squares += (v - mean) ** 2;
      const scale = 1 / Math.sqrt(squares / cols + EPS);
      row.forEach((v, i) => {
        y[r * cols + i] = ws[i]! * (v - mean) * scale + bs[i]!;
      });
    }
    return y;
  },
  tolerance: ({ as }) => ({ atol: 4e-6, rtol: 2 * roundoff(as) }),
};
