import { BYTES, roundUp } from '../../runtime/index.ts';
import type { TensorInfo } from './safetensors.ts';

/** Kernels read weights 8 columns at a time, so rows are padded with zeros to a multiple of this. */
export const COLUMN_MULTIPLE = 8;

/** How the rows of a matrix come out of tensors of the checkpoint. */
export interface MatrixLayout {
  /** Names of tensors [n_i, cols] whose rows are counted through, one tensor after the other. */
  sources: readonly string[];
  /** Rows of each source. */
  sourceRows: readonly number[];
  cols: number;
  /** Rows of the result, the sources' rows in order unless `rowOf` is given. */
  rows: number;
  /** The source row of a row of the result, or undefined for a row of zeros. */
  rowOf?(row: number): number | undefined;
  /**
   * Where rows of one source only change places within units of so many: these are read whole and from front to back, also
   * from a quantised checkpoint. Of any other layout such a checkpoint has the rows in the order of the result.
   */
  unit?: number;
}

/** One tensor [rows, cols] as it stands. */
export function plain(name: string, rows: number, cols: number): MatrixLayout {
  return { sources: [name], sourceRows: [rows], rows, cols };
}

/** One tensor [rows, cols] followed by rows of zeros, so that the rows come to a multiple of COLUMN_MULTIPLE. */
export function rowPadded(name: string, rows: number, cols: number): MatrixLayout {
  const rowOf = (row: number) => (row < rows ? row : undefined);
  return { ...plain(name, rows, cols), rows: roundUp(rows, COLUMN_MULTIPLE), rowOf };
}

/** Tensors [rows, cols] each, one below the other. */
export function stacked(names: readonly string[], rows: number, cols: number): MatrixLayout {
  return { sources: names, sourceRows: names.map(() => rows), rows: names.length * rows, cols };
}

/**
 * One tensor [2 half, cols] whose halves' rows alternate: row 2i is row i, row 2i + 1 is row half + i, with rows of
 * zeros behind so that each half comes to a multiple of COLUMN_MULTIPLE.
 */
export function interleaved(name: string, half: number, cols: number): MatrixLayout {
  const rowOf = (row: number) => (row >> 1 < half ? (row >> 1) + (row & 1) * half : undefined);
  return { ...plain(name, 2 * half, cols), rows: 2 * roundUp(half, COLUMN_MULTIPLE), rowOf };
}

/**
 * One tensor of `heads` heads of q, then kvHeads of k and of v, [headDim, cols] each, in which the two rows that RoPE rotates together
 * stand side by side: rows 2i and 2i + 1 of a head of q or k are its rows i and headDim / 2 + i. Heads of v are as they stand.
 */
export function rotary(name: string, heads: number, kvHeads: number, headDim: number, cols: number): MatrixLayout {
  const rotated = (heads + kvHeads) * headDim;
  const rowOf = (row: number) => {
    const i = row % headDim;
    return row < rotated ? row - i + (i >> 1) + (i & 1) * (headDim / 2) : row;
  };
  return { ...plain(name, rotated + kvHeads * headDim, cols), rowOf, unit: headDim };
}

/** Fills `target` with the bytes of a tensor from `byteOffset` on. */
export type ReadBytes = (info: TensorInfo, byteOffset: number, target: Uint8Array) => void;

/**
 * Reads the rows of a matrix from `firstRow` on into `target`, `rowBytes` apart; what the sources do not cover stays as
 * it was. Returns the bytes read.
 */
export function readRows(
  layout: MatrixLayout,
  infos: readonly TensorInfo[],
  read: ReadBytes,
  firstRow: number,
  target: Uint8Array,
  rowBytes: number,
): number {
  const sourceBytes = layout.cols * BYTES[infos[0]!.dtype];
  if (layout.unit) return readUnits(layout, infos[0]!, read, firstRow, target, sourceBytes, rowBytes);
  const count = target.byteLength / rowBytes;
  let total = 0;
  for (let i = 0; i < count; ) {
    const from = sourceOf(layout, firstRow + i);
    let run = 1;
    if (from && sourceBytes === rowBytes) {
      const follows = (next: Place | undefined) => next?.source === from.source && next.row === from.row + run;
      while (i + run < count && follows(sourceOf(layout, firstRow + i + run))) run++;
    }
    if (from) {
      const bytes = run * sourceBytes;
      read(infos[from.source]!, from.row * sourceBytes, target.subarray(i * rowBytes, i * rowBytes + bytes));
      total += bytes;
    }
    i += run;
  }
  return total;
}

/** The same by units, of which the first row and the target's length are multiples. */
function readUnits(
  { unit, rowOf }: MatrixLayout,
  info: TensorInfo,
  read: ReadBytes,
  firstRow: number,
  target: Uint8Array,
  sourceBytes: number,
  rowBytes: number,
): number {
  const rows = new Uint8Array(unit! * sourceBytes);
  for (let at = 0; at < target.byteLength; at += unit! * rowBytes) {
    const first = firstRow + at / rowBytes;
    read(info, first * sourceBytes, rows);
    for (let i = 0; i < unit!; i++) {
      const from = (rowOf!(first + i)! - first) * sourceBytes;
      target.set(rows.subarray(from, from + sourceBytes), at + i * rowBytes);
    }
  }
  return (target.byteLength / rowBytes) * sourceBytes;
}

interface Place {
  source: number;
  row: number;
}

/** Where a row of the result stands in the sources; undefined for a row of zeros. */
export function sourceOf({ sourceRows, rowOf }: MatrixLayout, row: number): Place | undefined {
  let rest = rowOf ? rowOf(row) : row;
  if (rest === undefined) return undefined;
  let source = 0;
  while (rest >= sourceRows[source]!) rest -= sourceRows[source++]!;
  return { source, row: rest };
}
