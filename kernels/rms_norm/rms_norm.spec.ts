import { widen } from '../../runtime/index.ts';
import { type OpSpec, roundoff } from '../spec.ts';
import { applies, rmsNorm, variants } from './rms_norm.ts';

type RmsNormCase = {
  rows: number;
  cols: number;
  as: 'f32' | 'f16';
  row?: number;
  /** Standard deviation of x, 3 unless told; where it is small, eps counts. */
  scale?: number;
  quick?: boolean;
};

const EPS = 1e-5;

/** RMSNorm against float64. */
export const spec: OpSpec<RmsNormCase> = {
  name: 'rms_norm',
  formula: 'y = w x / sqrt(mean(x^2) + eps)',
  variants,
  applies: (variant, { cols }) => applies(variant, cols),
  cases: [
    { rows: 1, cols: 8, as: 'f32', quick: true },
    ...[1, 63, 64, 65, 101, 5120].map((cols) => ({ rows: 3, cols, as: 'f32' as const })),
    ...[63, 64].map((rows) => ({ rows, cols: 1028, as: 'f32' as const })),
    { rows: 257, cols: 128, as: 'f32' },
    { rows: 5, cols: 320, as: 'f16' },
    { rows: 3, cols: 64, as: 'f32', scale: 1e-3 },
    { rows: 9, cols: 64, as: 'f32', row: 6, quick: true },
  ],
  bench: [
    { rows: 1, cols: 5120, as: 'f32' },
    { rows: 512, cols: 5120, as: 'f32' },
  ],
  inputs: ({ rows, cols, scale = 3 }, random) => ({
    x: random.tensor([rows, cols], 'f32', scale),
    w: random.tensor([cols]),
  }),
  record: (g, { x, w }, { as, row }) => rmsNorm(g, x!, w!, EPS, { as, row }),
  reference({ x, w }, { rows, cols, row }) {
    const [xs, ws] = [widen(x!.dtype, x!.data).subarray((row ?? 0) * cols), widen(w!.dtype, w!.data)];
    const shown = row === undefined ? rows : 1;
    const y = new Float64Array(shown * cols);
    for (let r = 0; r < shown; r++) {
      let sum = 0;
      for (let i = 0; i < cols; i++) sum += xs[r * cols + i]! ** 2;
      const scale = 1 / Math.sqrt(sum / cols + EPS);
      for (let i = 0; i < cols; i++) y[r * cols + i] = ws[i]! * xs[r * cols + i]! * scale;
    }
    return y;
  },
  tolerance: ({ as }) => ({ atol: 1e-6, rtol: 4 * roundoff(as) + 1e-6 }),
};
