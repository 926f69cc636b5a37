import { BYTES, type DType, type HostArray, hostArray } from './dtype.ts';
import { ShapeError } from './errors.ts';
import type { Amount, Scalar } from './scalar.ts';
import { elements, expect, type Shape, sameShape, showShape } from './shape.ts';

/** A range of bytes of a device buffer. */
export interface Storage {
  buffer: GPUBuffer;
  offset: number;
  bytes: number;
}

/** A named, contiguous array. With storage it lives on the device, without it is a temporary of one graph. */
export interface Tensor {
  readonly name: string;
  readonly shape: Shape;
  readonly dtype: DType;
  readonly storage?: Storage;
  /** The tensor whose elements these are, under another shape. */
  readonly viewOf?: Tensor;
  /** How many of its first dimension hold values in a run; all where absent. */
  readonly rows?: Scalar;
}

/** How many of a tensor's first dimension hold values. */
export function rowsOf({ rows, shape }: Tensor): Amount {
  return rows ?? shape[0] ?? 1;
}

/** A contiguous array on the host. */
export interface HostTensor {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly data: HostArray;
}

/** A quantised weight: signed integers of 4 or 8 bits that groups of columns scale. */
export type QuantFormat = 'q4' | 'q8';

/** How a weight is stored: as elements of a dtype, or quantised. */
export type WeightFormat = DType | QuantFormat;

/**
 * A matrix [rows, cols] kept as blocks of consecutive rows, so that each block fits the adapter's binding limit.
 * Most have one block; an op runs one dispatch per block.
 */
export interface Matrix {
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  readonly dtype: WeightFormat;
  /** Columns that share a scale, where the matrix is quantised. */
  readonly group?: number;
  /** Whether bf16 elements are known to be small enough for f16, as kernels that narrow them need. */
  readonly fitsF16?: boolean;
  readonly blocks: readonly MatrixBlock[];
}

/** Rows of a matrix from `row` on: their elements, or where it is quantised their quants (u32) and scales (f16). */
export interface MatrixBlock {
  readonly tensor: Tensor;
  readonly scales?: Tensor;
  readonly row: number;
}

/** Bytes of a tensor's elements. */
export function tensorBytes(t: { shape: Shape; dtype: DType }): number {
  return elements(t.shape) * BYTES[t.dtype];
}

/** A tensor's dtype and shape as text: f32 [2, 3]. */
export function showTensor({ dtype, shape }: { dtype: DType; shape: Shape }): string {
  return `${dtype} ${showShape(shape)}`;
}

/** Throws ShapeError unless a tensor has this dtype and shape. */
export function expectTensor(op: string, what: string, tensor: Tensor, dtype: DType, shape: Shape): void {
  const fits = tensor.dtype === dtype && sameShape(tensor.shape, shape);
  expect(fits, op, what, showTensor({ dtype, shape }), showTensor(tensor));
}

/** The tensor that owns the memory a tensor shows. */
export function rootOf(tensor: Tensor): Tensor {
  return tensor.viewOf ?? tensor;
}

/** Throws ShapeError unless shape and dtype are such as a tensor can have. */
export function checkTensor({ shape, dtype }: { shape: Shape; dtype: DType }, op: string): void {
  const sizes = shape.every((size) => Number.isSafeInteger(size) && size >= 0);
  expect(sizes, op, 'shape', 'sizes that are integers from 0 on', showShape(shape));
  expect(Object.hasOwn(BYTES, dtype), op, 'dtype', `one of ${Object.keys(BYTES).join(', ')}`, `'${dtype}'`);
}

/** Throws ShapeError unless a host tensor's array is of the class and length that its dtype and shape say. */
export function checkHost({ shape, dtype, data }: HostTensor, what: string): void {
  checkTensor({ shape, dtype }, what);
  const Expected = hostArray(dtype, 0).constructor;
  const count = elements(shape);
  if (data.constructor === Expected && data.length === count) return;
  throw new ShapeError(
    `${what}: expected ${Expected.name} of ${count} elements for ${showTensor({ dtype, shape })}, got ${data.constructor.name} of ${data.length}`,
  );
}

/** A tensor [rows, cols] seen as a matrix of one block. */
export function asMatrix(tensor: Tensor): Matrix {
  const [rows = 0, cols = 0] = tensor.shape;
  return { name: tensor.name, rows, cols, dtype: tensor.dtype, blocks: [{ tensor, row: 0 }] };
}
