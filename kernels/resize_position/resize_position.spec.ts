import { widen } from '../../runtime/index.ts';
import type { OpSpec, Random } from '../spec.ts';
import { resizePosition, variants } from './resize_position.ts';

type ResizePositionCase = {
  rows: number;
  columns: number;
  grid: number;
  cols: number;
  /** Triangle weights as the vision encoder has them, or dense ones. */
  weights: 'triangle' | 'dense';
  quick?: boolean;
};

const base = { grid: 16, cols: 8, weights: 'triangle' } as const;

/** Resizing of the position table against float64. */
export const spec: OpSpec<ResizePositionCase> = {
  name: 'resize_position',
  formula: 'y[t] = sum_ij weights[cells[t, 0], i] weights[cells[t, 1], j] table[i grid + j]',
  variants,
  cases: [
    { ...base, rows: 1, columns: 1, quick: true },
    { ...base, rows: 7, columns: 33, cols: 260, quick: true },
    { ...base, rows: 3, columns: 5, weights: 'dense', quick: true },
    { ...base, rows: 16, columns: 16, cols: 1152 },
    { ...base, rows: 33, columns: 59, cols: 4 },
    { ...base, rows: 6, columns: 133, cols: 252 },
    { ...base, rows: 2, columns: 3, cols: 256 },
    { rows: 1, columns: 17, grid: 1, cols: 404, weights: 'dense' },
    { rows: 300, columns: 300, grid: 3, cols: 4, weights: 'triangle' },
  ],
  bench: [{ ...base, rows: 45, columns: 80, cols: 1152 }],
  inputs({ rows, columns, grid, cols, weights }, random) {
    const table = random.tensor([grid * grid, cols]);
    const make = weights === 'triangle' ? triangle : dense;
    const data = Float32Array.from([...make(rows, grid, random), ...make(columns, grid, random)]);
    const cells = Uint32Array.from({ length: 2 * rows * columns }, (_, i) => {
      const patch = i >> 1;
      return i % 2 ? rows + (patch % columns) : Math.floor(patch / columns);
    });
    return {
      table,
      weights: { shape: [rows + columns, grid], dtype: 'f32', data },
      cells: { shape: [rows * columns, 2], dtype: 'u32', data: cells },
    };
  },
  record: (g, { table, weights, cells }) => resizePosition(g, table!, weights!, cells!),
  reference(inputs, { rows, columns, grid, cols }) {
    const [table, weights] = [inputs.table!, inputs.weights!].map((t) => widen(t.dtype, t.data)) as [
      Float32Array,
      Float32Array,
    ];
    const [rowWeights, columnWeights] = [weights, weights.subarray(rows * grid)];
    const y = new Float64Array(rows * columns * cols);
    for (let patch = 0; patch < rows * columns; patch++) {
      for (let cell = 0; cell < grid * grid; cell++) {
        const rowWeight = rowWeights[Math.floor(patch / columns) * grid + Math.floor(cell / grid)]!;
        const weight = rowWeight * columnWeights[(patch % columns) * grid + (cell % grid)]!;
        for (let k = 0; weight !== 0 && k < cols; k++) y[patch * cols + k]! += weight * table[cell * cols + k]!;
      }
    }
    return y;
  },
  /** Sums of grid^2 terms, whose rounding adds up past the model's own grid of 16. */
  tolerance: ({ weights, grid }) => ({
    atol: weights !== 'dense' ? 1e-6 : grid <= 16 ? grid * 1e-6 : grid ** 2 * 2.5e-7,
    rtol: 1e-6 * Math.max(1, grid / 16),
  }),
};

/** Bilinear weights [out, size] of an axis: a triangle as wide as one step of the coarser side, each row of sum 1. */
function triangle(out: number, size: number): Float32Array {
  const data = new Float32Array(out * size);
  const reach = Math.max(size / out, 1);
  for (let i = 0; i < out; i++) {
    const centre = (size / out) * (i + 0.5);
    const row = Array.from({ length: size }, (_, j) => Math.max(0, 1 - Math.abs(j - centre + 0.5) / reach));
    const sum = row.reduce((a, b) => a + b);
    data.set(
      row.map((weight) => weight / sum),
      i * size,
    );
  }
  return data;
}

function dense(out: number, size: number, random: Random): Float32Array {
  return random.tensor([out, size]).data as Float32Array;
}
