import { type HostTensor, narrow, widen } from '../../runtime/index.ts';
import type { OpSpec, Random } from '../spec.ts';
import { applies, quantizeRows, variants } from './quantize_rows.ts';

type QuantizeRowsCase = {
  rows: number;
  cols: number;
  from: 'f32' | 'f16';
  /** Whether an RMSNorm comes before. */
  norm: boolean;
  show: 'quants' | 'scales';
  quick?: boolean;
};

const EPS = 1e-5;

const both = (c: Omit<QuantizeRowsCase, 'norm' | 'show'>, norm = false): QuantizeRowsCase[] => [
  { ...c, norm, show: 'quants' },
  { ...c, norm, show: 'scales' },
];

/** Quantised activations, against float64. */
export const spec: OpSpec<QuantizeRowsCase> = {
  name: 'quantize_rows',
  formula: 'quant = round(x / scale), scale = max |x| / 127 over 32 columns',
  variants,
  applies: (variant, { norm }) => applies(variant, norm),
  cases: [
    ...both({ rows: 1, cols: 8, from: 'f32', quick: true }),
    ...both({ rows: 3, cols: 72, from: 'f32', quick: true }),
    ...[24, 32, 40, 136].flatMap((cols) => both({ rows: 5, cols, from: 'f16' })),
    ...[63, 64, 65, 101].flatMap((rows) => both({ rows, cols: 40, from: 'f32' })),
    ...both({ rows: 2, cols: 17920, from: 'f32' }),
    ...both({ rows: 3, cols: 72, from: 'f32', quick: true }, true),
    ...[8, 136, 2056, 5120].flatMap((cols) => both({ rows: 4, cols, from: 'f32' }, true)),
    ...[1, 65].flatMap((rows) => both({ rows, cols: 40, from: 'f32' }, true)),
  ],
  bench: [
    ...[1, 512].map((rows) => ({ rows, cols: 5120, from: 'f32' as const, norm: false, show: 'quants' as const })),
    ...[1, 512].map((rows) => ({ rows, cols: 5120, from: 'f32' as const, norm: true, show: 'quants' as const })),
  ],
  inputs({ rows, cols, from, norm }, random) {
    if (norm) return streamRows(rows, cols, random);
    const x = Array.from({ length: rows }, () => randomRow(cols, random)).flat();
    return { x: { shape: [rows, cols], dtype: from, data: narrow(from, Float32Array.from(x)) } };
  },
  record: (g, { x, norm }, { show }) => quantizeRows(g, x!, norm && { norm, eps: EPS })[show],
  reference({ x, norm }, { cols, show }) {
    const values = widen(x!.dtype, x!.data);
    return quantizedRows(norm ? normedRows(values, norm.data, cols, EPS) : values, cols, show);
  },
  tolerance: ({ show }) => ({ atol: 0, rtol: show === 'scales' ? 1e-6 : 0 }),
};

/** A row with blocks of quanta of all sizes: 127 of them first, then numbers that round the same way however they are divided; some zero. */
export function randomRow(cols: number, random: Random): number[] {
  let quantum = 0;
  return Array.from({ length: cols }, (_, column) => {
    if (column % 32 === 0) quantum = random.below(8) === 0 ? 0 : 2 ** -random.below(8) * (0.5 + random.uniform());
    const count = column % 32 === 0 ? 127 : random.below(253) - 126 + 0.6 * (random.uniform() - 0.5);
    return count * quantum;
  });
}

/** Rows before their norm, and its weights: after it they quantise the same way however they are rounded; of some rows eps counts. */
export function streamRows(rows: number, cols: number, random: Random): Record<'x' | 'norm', HostTensor> {
  const norm = Float32Array.from({ length: cols }, () => 0.5 + random.uniform());
  const x = Array.from({ length: rows }, (_, r) =>
    randomRow(cols, random).map((value, i) => ((r % 2 ? 3 : 1e-4) * value) / norm[i]!),
  );
  return {
    x: { shape: [rows, cols], dtype: 'f32', data: Float32Array.from(x.flat()) },
    norm: { shape: [cols], dtype: 'f32', data: norm },
  };
}

/** RMSNorm of rows, in float64. */
export function normedRows(x: Float32Array, norm: ArrayLike<number>, cols: number, eps: number): Float64Array {
  const normed = new Float64Array(x.length);
  for (let first = 0; first < x.length; first += cols) {
    const row = x.subarray(first, first + cols);
    const scale = 1 / Math.sqrt(row.reduce((sum, value) => sum + value ** 2, 0) / cols + eps);
    row.forEach((value, i) => {
      normed[first + i] = norm[i]! * value * scale;
    });
  }
  return normed;
}

/** The quants of rows as quantizeRows lays them out, or their scales. */
export function quantizedRows(values: ArrayLike<number>, cols: number, show: QuantizeRowsCase['show']): Float64Array {
  const rows = Array.from({ length: values.length / cols }, (_, r) => blocksOf(values, r * cols, cols));
  if (show === 'scales') return Float64Array.from(rows.flat(), ({ scale }) => scale);
  const half = (row: Block[], first: number) => row.flatMap(({ quants }) => [...quants.subarray(first, first + 16)]);
  const bytes = Int8Array.from(rows.flatMap((row) => [...half(row, 0), ...half(row, 16)]));
  return Float64Array.from(new Uint32Array(bytes.buffer));
}

/** A block of 32 values: value = quant * scale, `exact` before it is rounded to a quant. */
interface Block {
  exact: number[];
  quants: Int8Array;
  scale: number;
}

/** The blocks of a row, in float64. */
export function blocksOf(values: ArrayLike<number>, first: number, cols: number): Block[] {
  return Array.from({ length: Math.ceil(cols / 32) }, (_, b) => {
    const block = Array.from({ length: Math.min(32, cols - 32 * b) }, (_, i) => values[first + 32 * b + i]!);
    const scale = Math.max(...block.map(Math.abs)) / 127;
    const exact = block.map((value) => value / (scale || 1));
    const quants = new Int8Array(32);
    quants.set(exact.map(Math.round));
    return { exact, quants, scale };
  });
}
