import {
  BYTES,
  ceilDiv,
  type DType,
  expect,
  expectTensor,
  type Graph,
  type HostTensor,
  linearGrid,
  rowsOf,
  showTensor,
  type Tensor,
  type ValueOf,
  variant,
} from '../../runtime/index.ts';
import { kernelFile } from '../lib/kernel_file.ts';

const PLAIN = kernelFile('rope/rope', 'rotary');
const WG = 64;

/** The variants of this op. */
export const variants = [variant(PLAIN)];

/** Which columns rope() rotates, and the dtype of the result. */
export interface RopeOptions {
  heads: number;
  headDim: number;
  /** The first column of the first head. */
  column?: number;
  as?: DType;
}

/**
 * Rotates neighbours (2i, 2i + 1) of each head by angle i: y_2i = x_2i cos - x_2i+1 sin, y_2i+1 = x_2i+1 cos + x_2i sin, for
 * heads * headDim columns of x f32 or f16 [tokens, cols] and the angles of row places[t, 0] of `table` (see ropeTable);
 * places are u32 [tokens, 2], positions and sequences; y is [tokens, heads * headDim] of dtype `as`. No position may
 * pass the table's capacity: it is read on the device, where nothing checks it. Throws ShapeError.
 */
export function rope(
  g: Graph,
  x: Tensor,
  table: Tensor,
  places: Tensor,
  { heads, headDim, column = 0, as = 'f32' }: RopeOptions,
): Tensor {
  const [tokens = 0, cols = 0] = x.shape;
  expect(heads > 0, 'rope', 'heads', 'at least 1', heads);
  expect(headDim > 0 && headDim % 8 === 0, 'rope', 'headDim', 'a multiple of 8', headDim);
  expect(
    x.shape.length === 2 && ['f32', 'f16'].includes(x.dtype),
    'rope',
    'x',
    'f32 or f16 [tokens, cols]',
    showTensor(x),
  );
  const most = cols - heads * headDim;
  expect(cols % 4 === 0, 'rope', 'cols of x', 'a multiple of 4', cols);
  expect(
    column % 4 === 0 && column >= 0 && column <= most,
    'rope',
    'column',
    `a multiple of 4, at most ${most}`,
    column,
  );
  checkRopeTable('rope', table, headDim);
  expectTensor('rope', 'places', places, 'u32', [tokens, 2]);
  const y = g.temp('rope', [tokens, heads * headDim], as, x);
  const rows = rowsOf(x);
  const count = (value: ValueOf) => value(rows) * heads * headDim;
  g.dispatch({
    kernel: PLAIN,
    constants: { elem: x.dtype, out_elem: as, COLS: cols, COLUMN: column, HEADS: heads, HEAD_DIM: headDim, WG },
    read: { x, table, places },
    write: { y },
    params: { tokens: rows },
    workgroups: (value) => linearGrid(ceilDiv(count(value) / 4, WG)),
    cost: (value) => ({
      flops: 3 * count(value),
      bytes: (BYTES[x.dtype] + BYTES[as]) * count(value) + 4 * value(rows) * headDim,
    }),
  });
  return y;
}

/** Throws ShapeError unless this can be a table of ropeTable. */
export function checkRopeTable(op: string, table: Tensor, headDim: number): void {
  const { dtype, shape } = table;
  const fits = dtype === 'f32' && shape.length === 2 && shape[1] === headDim && shape[0]! > 0;
  expect(fits, op, 'table', `f32 [at least 1, ${headDim}]`, showTensor(table), 'make it with ropeTable');
}

/**
 * The table [capacity, headDim] of rope(): row p holds cos(p f_i) for i < headDim/2, then sin(p f_i), with
 * f_i = 1 / theta^(2i / headDim); every step is rounded to f32, as PyTorch does it.
 */
export function ropeTable(capacity: number, headDim: number, theta: number): HostTensor {
  const half = headDim / 2;
  const { fround } = Math;
  const frequencies = Array.from({ length: half }, (_, i) => fround(1 / fround(theta ** fround((2 * i) / headDim))));
  const data = new Float32Array(capacity * headDim);
  for (let p = 0; p < capacity; p++) {
    frequencies.forEach((frequency, i) => {
      const angle = fround(p * frequency);
      data[p * headDim + i] = Math.cos(angle);
      data[p * headDim + half + i] = Math.sin(angle);
    });
  }
  return { shape: [capacity, headDim], dtype: 'f32', data };
}
