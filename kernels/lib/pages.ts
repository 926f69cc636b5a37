import { expect, expectTensor, type Shape, showTensor, type Tensor } from '../../runtime/index.ts';

/** Positions in a page: what one workgroup of the split decode attention reads. */
export const PAGE = 128;

/** Rows of one step, which may belong to several sequences: where each stands, and where their keys and values lie. */
export interface SequenceRows {
  /** u32 [rows, 2]: a row's position in its sequence, and which row of `tables` is its sequence's. */
  places: Tensor;
  /** u32 [sequences, pages]: the page of the pool that holds each PAGE positions of a sequence. */
  tables: Tensor;
}

/** The shape of the keys or values of one layer: a pool of pages of PAGE positions. */
export function poolShape(pages: number, kvHeads: number, headDim: number): Shape {
  return [pages, kvHeads, PAGE, headDim];
}

/** Throws ShapeError unless there is a place for each of `rows` rows, and tables. */
export function checkRows(op: string, { places, tables }: SequenceRows, rows: number): void {
  expectTensor(op, 'places', places, 'u32', [rows, 2]);
  const listed = tables.dtype === 'u32' && tables.shape.length === 2 && tables.shape.every((size) => size > 0);
  expect(listed, op, 'tables', 'u32 [sequences, pages], at least one of each', showTensor(tables));
}
