import { widen } from '../../runtime/index.ts';
import { PAGE } from '../lib/pages.ts';
import { layRows, poolRow, type RowsCase, rowTensors, type WrittenCase } from '../lib/sequences.ts';
import {
  appliesTo,
  normRoundoff,
  operands,
  type ProductCase,
  productInputs,
  productOf,
} from '../matmul/product_case.ts';
import { ropeTable } from '../rope/rope.ts';
import { type OpSpec, onMatrixUnits, roundoff } from '../spec.ts';
import { qkv, variants } from './qkv.ts';

type QkvCase = Omit<ProductCase, 'outs'> &
  Omit<WrittenCase, 'tokens'> & {
    heads: number;
    as: 'f32' | 'f16';
    cache: 'f32' | 'f16';
    /** What is compared. */
    show: 'q' | 'k' | 'v';
    quick?: boolean;
  };

const THETA = 500000;
const SHOWN = ['q', 'k', 'v'] as const;
const one = {
  ...{ split: 0, norm: false, sequences: 1, mixed: false, missing: false },
  ...({ from: 'f32', as: 'f32', cache: 'f32' } as const),
};

/** Rows behind `before` keys of one sequence, unless the options have it otherwise. */
function sized(rows: number, before: number, options: Partial<QkvCase> = {}): QkvCase {
  const heads = { heads: 4, kvHeads: 2, headDim: 16 };
  return { ...one, rows, inner: 40, weights: 'bf16', group: 64, ...heads, keys: before + rows, show: 'q', ...options };
}

/** The same with activations and cache in f16, as matrix units take them. */
const HALVES = { from: 'f16', as: 'f16', cache: 'f16' } as const;
const MODEL = { heads: 40, kvHeads: 10, headDim: 128 } as const;
const all = (c: QkvCase): QkvCase[] => SHOWN.map((show) => ({ ...c, show }));

/** Numbers of rows in and around tiles, with each format and each result in turn. */
function sweep(formats: readonly QkvCase['weights'][], rows: readonly number[], options: Partial<QkvCase>): QkvCase[] {
  return rows.map((count, i) =>
    sized(count, 101, { weights: formats[i % formats.length]!, show: SHOWN[i % 3]!, ...options }),
  );
}

/** Projection to q, k and v, rotation and the pages of the cache, against float64. */
export const spec: OpSpec<QkvCase> = {
  name: 'qkv',
  formula:
    'q, k, v = x w^T; q = rope(q); pool[tables[s, p / PAGE], h, p % PAGE] = rope(k)[t, h] with (p, s) = places[t]; v likewise',
  variants,
  applies: (variant, c) => variant.name === 'qkv/apart' || (c.split % 4 === 0 && appliesTo(variant, c)),
  cases: [
    sized(1, 129, { quick: true }),
    sized(1, 200, { weights: 'q4', inner: 72, show: 'k', quick: true }),
    sized(1, 5, { weights: 'q4', from: 'i8', show: 'v', quick: true }),
    sized(5, 300, { weights: 'q8', from: 'i8', sequences: 3, mixed: true, show: 'k', quick: true }),
    sized(9, 121, { weights: 'q4', sequences: 2, missing: true, show: 'k', quick: true }),
    sized(65, 90, { weights: 'half', split: 20, sequences: 2, show: 'v', quick: true }),
    sized(70, 200, { ...HALVES, weights: 'q4', sequences: 3, mixed: true, show: 'k', quick: true }),
    sized(1, 129, { norm: true, weights: 'q4', from: 'i8', group: 64, inner: 72, quick: true }),
    sized(3, 129, { norm: true, weights: 'q8', from: 'i8', sequences: 2, mixed: true, show: 'k', quick: true }),
    sized(2, 20, { norm: true, weights: 'q4', quick: true }),
    ...sweep(['q4', 'q8'], [1, 2, 8, 9], { from: 'i8', norm: true, inner: 360 }),
    ...sweep(['bf16', 'q4'], [1, 2, 5, 8], { ...HALVES, norm: true }),
    ...sweep(['q4', 'f32'], [2, 3, 8, 33], {}),
    ...sweep(['bf16'], [9, 31, 32, 33, 63, 64, 65, 101, 127, 128, 129, 300], {}),
    ...sweep(['half', 'q4', 'bf16', 'q8'], [1, 4, 8, 9], HALVES),
    ...sweep(['q4'], [31, 32, 33, 63, 64, 65, 101, 127, 128, 129, 300], HALVES),
    ...sweep(['q4', 'q8'], [1, 5, 8, 9], { from: 'i8' }),
    ...sweep(['q4'], [63, 64, 65, 101], { from: 'i8' }),
    ...[8, 24, 72, 128].map((headDim, i) =>
      sized(1 + 32 * (i % 2), 3, { heads: 3, kvHeads: 1, headDim, show: SHOWN[i % 2]!, ...(i % 2 && HALVES) }),
    ),
    ...[8, 1160].flatMap((inner) => [
      sized(1, 0, { inner, weights: 'q4', show: 'k' }),
      sized(6, 0, { inner, show: 'v' }),
      sized(40, 0, { inner, show: 'k', ...HALVES }),
    ]),
    ...all(sized(20, 300, { sequences: 3, mixed: true })),
    ...all(sized(9, 121, { sequences: 2, missing: true, ...HALVES })),
    ...all(sized(66, 70, { weights: 'q4', split: 36, sequences: 5 })),
    sized(9, 20, { split: 30, show: 'k' }),
    sized(9, 20, { as: 'f16', cache: 'f32', show: 'k' }),
    sized(9, 20, { as: 'f32', cache: 'f16', show: 'v' }),
    ...[1, 7].flatMap((rows) => all(sized(rows, 97, { ...MODEL, inner: 64, weights: 'q4' }))),
    ...all(sized(65, 120, { ...MODEL, inner: 64, ...HALVES })),
  ],
  bench: [
    ...(['f32', 'i8'] as const).flatMap((from) =>
      [1, 64].map((rows) => sized(rows, 1000, { ...MODEL, inner: 5120, weights: 'q4', from })),
    ),
    sized(1, 1000, { ...MODEL, inner: 5120 }),
    sized(1, 1000, { ...MODEL, inner: 5120, weights: 'q4', group: 64, from: 'i8', norm: true }),
    ...(['bf16', 'q4'] as const).flatMap((weights) =>
      [1, 1024].map((rows) => sized(rows, 1000, { ...MODEL, ...HALVES, inner: 5120, weights })),
    ),
  ],
  flops: (c) => 2 * c.rows * c.inner * outsOf(c),
  weights: ['w', 'wScales', 'rest', 'restScales'],
  inputs(c, random) {
    const { kvHeads, headDim, cache, missing } = c;
    const { places, poolPages } = layRows(rowsOf(c));
    const pool = () => random.tensor([poolPages, kvHeads, PAGE, headDim], cache);
    return {
      ...productInputs({ ...c, outs: outsOf(c) }, random),
      ...rowTensors(rowsOf(c), missing ? -1 : 1),
      table: ropeTable(1 + Math.max(...places.map(([position]) => position)), headDim, THETA),
      kPool: pool(),
      vPool: pool(),
    };
  },
  record(g, tensors, c) {
    const { x, w } = operands(tensors, { ...c, outs: outsOf(c) });
    const { places, tables, table, kPool, vPool } = tensors;
    const { heads, kvHeads, headDim, as, show } = c;
    const options = { places: places!, tables: tables!, table: table!, heads, kvHeads, headDim, as };
    const q = qkv(g, x, w, options, { k: kPool!, v: vPool! });
    return { q, k: kPool!, v: vPool! }[show];
  },
  reference(inputs, c, variant) {
    const { heads, kvHeads, headDim, show } = c;
    const outs = outsOf(c);
    const sums = productOf(inputs, { ...c, outs }, onMatrixUnits(variants, variant));
    const { places, sequences } = layRows(rowsOf(c));
    const [first, count] = { q: [0, heads], k: [heads, kvHeads], v: [heads + kvHeads, kvHeads] }[show] as [
      number,
      number,
    ];
    const pool = show === 'v' ? inputs.vPool! : inputs.kPool!;
    const y =
      show === 'q' ? new Float64Array(c.rows * heads * headDim) : Float64Array.from(widen(pool.dtype, pool.data));
    places.forEach(([position, owner], t) => {
      if (show !== 'q' && position >= inputs.tables!.shape[1]! * PAGE) return;
      for (let h = 0; h < count; h++) {
        const from = t * outs + (first + h) * headDim;
        const head = sums.subarray(from, from + headDim);
        const row = show === 'q' ? t * heads + h : poolRow(sequences[owner]!, position, kvHeads, h);
        const angles = inputs.table!.data.subarray(position * headDim, (position + 1) * headDim);
        y.set(show === 'v' ? head : rotated(head, angles), row * headDim);
      }
    });
    return y;
  },
  tolerance(c, variant) {
    const rtol = 2 * roundoff(c.show === 'q' ? c.as : c.cache) + 2e-6;
    return { atol: 1e-5 + normRoundoff(c, variant), rtol };
  },
};

/** Neighbours rotated by angles that are given as cosines, then sines. */
function rotated(head: Float64Array, angles: ArrayLike<number>): Float64Array {
  const half = head.length / 2;
  return head.map((value, at) => {
    const [cos, sin] = [angles[at >> 1]!, angles[half + (at >> 1)]!];
    return at % 2 ? value * cos + head[at - 1]! * sin : value * cos - head[at + 1]! * sin;
  });
}

const outsOf = ({ heads, kvHeads, headDim }: QkvCase) => (heads + 2 * kvHeads) * headDim;
const rowsOf = ({ rows, keys, sequences, mixed }: QkvCase): RowsCase => ({ tokens: rows, keys, sequences, mixed });
