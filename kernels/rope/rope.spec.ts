import { widen } from '../../runtime/index.ts';
import { type OpSpec, roundoff } from '../spec.ts';
import { rope, ropeTable, variants } from './rope.ts';

type RopeCase = {
  tokens: number;
  heads: number;
  headDim: number;
  /** Columns of x in front of the rotated ones, and behind them. */
  column: number;
  rest: number;
  /** Of the first row; each further one stands one position on, and every second at half of that. */
  position: number;
  from: 'f32' | 'f16';
  as: 'f32' | 'f16';
  quick?: boolean;
};

const THETA = 500000;
const base = { heads: 3, headDim: 16, column: 4, rest: 8, position: 5, from: 'f32', as: 'f32' } as const;
const model = { heads: 50, headDim: 128, column: 0, rest: 1280, from: 'f32', as: 'f32' } as const;

/** Rotary position embedding against float64 with the same table. */
export const spec: OpSpec<RopeCase> = {
  name: 'rope',
  formula: 'y_2i = x_2i cos(p f_i) - x_{2i+1} sin(p f_i); y_{2i+1} = x_{2i+1} cos(p f_i) + x_2i sin(p f_i)',
  variants,
  cases: [
    { ...base, tokens: 1, heads: 1, headDim: 8, column: 0, rest: 0, position: 0, quick: true },
    { ...base, tokens: 11, quick: true },
    { ...model, tokens: 2, position: 8190, quick: true },
    ...[1, 10, 21, 32].map((tokens) => ({ ...base, tokens })),
    ...[8, 24, 64, 72, 128].map((headDim) => ({ ...base, tokens: 7, headDim })),
    ...[0, 1, 101].map((position) => ({ ...model, tokens: 1, position })),
    { ...base, tokens: 13, from: 'f16' },
    { ...base, tokens: 13, as: 'f16' },
    { ...model, tokens: 3, position: 1000, from: 'f16', as: 'f16' },
  ],
  bench: [
    { ...model, tokens: 1, position: 1000 },
    { ...model, tokens: 256, position: 0 },
  ],
  inputs: ({ tokens, heads, headDim, column, rest, position, from }, random) => ({
    x: random.tensor([tokens, column + heads * headDim + rest], from),
    table: ropeTable(position + tokens, headDim, THETA),
    places: { shape: [tokens, 2], dtype: 'u32', data: placesOf(tokens, position) },
  }),
  record: (g, { x, table, places }, { heads, headDim, column, as }) =>
    rope(g, x!, table!, places!, { heads, headDim, column, as }),
  reference({ x, table, places }, { tokens, heads, headDim, column, rest }) {
    const xs = widen(x!.dtype, x!.data);
    const [half, width] = [headDim / 2, heads * headDim];
    const y = new Float64Array(tokens * width);
    for (let t = 0; t < tokens; t++) {
      const row = places!.data[2 * t]! * headDim;
      for (let at = 0; at < width; at += 2) {
        const i = (at % headDim) / 2;
        const [cos, sin] = [table!.data[row + i]!, table!.data[row + half + i]!];
        const from = t * (column + width + rest) + column + at;
        const [even, odd] = [xs[from]!, xs[from + 1]!];
        y[t * width + at] = even * cos - odd * sin;
        y[t * width + at + 1] = odd * cos + even * sin;
      }
    }
    return y;
  },
  tolerance: ({ as }) => ({ atol: 1e-6, rtol: 2 * roundoff(as) }),
};

/** Positions up to position + tokens - 1 of two sequences in turns. */
function placesOf(tokens: number, position: number): Uint32Array {
  return Uint32Array.from({ length: 2 * tokens }, (_, i) => {
    const [t, sequence] = [i >> 1, (i >> 1) % 2];
    return i % 2 ? sequence : (position + t) >> sequence;
  });
}
