import {
  BYTES,
  type Constants,
  ceilDiv,
  type DType,
  expect,
  type Feature,
  type Graph,
  type Grid,
  type Kernel,
  linearGrid,
  type Matrix,
  matrixUnit,
  rowsOf,
  showShape,
  type Tensor,
  tensorBytes,
  unitConstants,
  type Variant,
  variant,
  type WeightFormat,
} from '../../runtime/index.ts';
import { BLOCK_COLS, checkQuantized, FORMAT_CODES, type Int8Rows, isQuantized } from '../lib/quantized.ts';
import { rowsClass } from '../policy.ts';

type GridOf = (rows: number, outs: number, constants: Constants) => Grid;

/** A kernel that multiplies: what it takes of lib/ beside matmul.wgsl, its grid and what it needs. */
interface Product {
  libs: string;
  grid: GridOf;
  needs?: readonly Feature[];
  matrix?: Kernel['matrix'];
}

/** Rows or columns of two subgroups' tile: so many matrices each, of so many. */
const tile = (...sizes: (Constants[string] | undefined)[]) =>
  2 * sizes.reduce<number>((all, size) => all * Number(size), 1);

/** Workgroups of so many rows and columns each. */
const tiles =
  (height: number, width: number): GridOf =>
  (rows, outs) => [ceilDiv(rows, height), ceilDiv(outs, width)];

/** Workgroups of so many columns each, of all rows. */
const columns =
  (width: number): GridOf =>
  (_, outs) =>
    linearGrid(ceilDiv(outs, width));

/** Workgroups of the kernels whose lanes share four columns. */
const shared: GridOf = (_, outs, { LANES, WG }) => linearGrid(ceilDiv(outs * Number(LANES), 4 * Number(WG)));

/** Every kernel that multiplies, by its file. */
const PRODUCTS: Readonly<Record<string, Product>> = {
  matmul_tile: { libs: 'widen', grid: tiles(64, 64) },
  matmul_register: { libs: 'widen', grid: tiles(4, 64) },
  matmul_subgroup: { libs: 'widen', grid: tiles(8, 64), needs: ['subgroups'] },
  matmul_matrix: {
    libs: 'halves',
    grid: (rows, outs, c) => [ceilDiv(rows, tile(c.DOWN, c.M)), ceilDiv(outs, tile(c.ACROSS, c.N))],
    needs: ['shader-f16', 'subgroups', 'subgroup-size-control', 'chromium-experimental-subgroup-matrix'],
    matrix: { component: 'f16', result: 'f32' },
  },
  gemv_register: { libs: 'widen', grid: columns(32) },
  gemv_subgroup: { libs: 'widen gemv', grid: shared, needs: ['subgroups'] },
  gemv_half: { libs: 'widen gemv', grid: shared, needs: ['subgroups', 'shader-f16'] },
  gemv_shuffle: { libs: 'widen', grid: columns(32), needs: ['subgroups'] },
  matmul_dot_tile: { libs: 'dot', grid: tiles(64, 64) },
  matmul_dot_register: { libs: 'dot', grid: tiles(8, 32) },
  gemv_dot_subgroup: { libs: 'dot gemv', grid: shared, needs: ['subgroups'] },
};

/** Matrices that a subgroup of matmul_matrix has below and beside each other, unless the variant says otherwise. */
const LARGE = { DOWN: 4, ACROSS: 4 };

/** The variants of an op that multiplies; `finish` is the file of lib/ that has what follows the sum. */
export function productVariants(op: string, finish: string): Variant[] {
  const kernels = Object.entries(PRODUCTS).map(
    ([file, { libs, needs, matrix }]): Kernel => ({
      name: `${op}/${file}`,
      source: new URL(`./${file}.wgsl`, import.meta.url),
      lib: `matmul ${libs} ${finish}`.split(' ').map((lib) => new URL(`../lib/${lib}.wgsl`, import.meta.url)),
      needs,
      matrix,
    }),
  );
  const small = kernels.filter(({ matrix }) => matrix).map((kernel) => variant(kernel, { DOWN: 2, ACROSS: 2 }));
  return [...kernels.map((kernel) => variant(kernel)), ...small];
}

/** The file of a kernel that multiplies. */
const fileOf = ({ name }: Kernel) => name.slice(name.indexOf('/') + 1);

/** Rows up to which there are kernels that read the weights once for all of them. */
export const VECTOR_ROWS = 8;
const SHARED = ['gemv_subgroup', 'gemv_half', 'gemv_dot_subgroup'];
const VECTORS = [...SHARED, 'gemv_shuffle'];
const DOTS = ['matmul_dot_tile', 'matmul_dot_register', 'gemv_dot_subgroup'];

/** Whether a variant can multiply so many rows of such operands; x is 'i8' where its rows are quantised. */
export function applies({ kernel }: Variant, rows: number, x: DType, w: Pick<Matrix, 'dtype' | 'fitsF16'>): boolean {
  const file = fileOf(kernel);
  if (VECTORS.includes(file) && rows > VECTOR_ROWS) return false;
  if (DOTS.includes(file)) return x === 'i8';
  if (x === 'i8') return false;
  if (kernel.matrix) return x === 'f16' && w.dtype !== 'f32' && (w.dtype !== 'bf16' || w.fitsF16 === true);
  if (file === 'gemv_shuffle') return isQuantized(w.dtype);
  if (file === 'gemv_half') return w.dtype === 'q4';
  return file !== 'gemv_register' || rows === 1;
}

/** What x is to a product: its sizes, the tensor that has its rows, its dtype ('i8' of quantised rows) and the tensors it is bound as. */
export interface Operand {
  rows: number;
  like: Tensor;
  inner: number;
  dtype: DType;
  tensors: Record<string, Tensor>;
}

/** x and w of a product, checked; throws ShapeError. */
export function operandOf(op: string, x: Tensor | Int8Rows, w: Matrix): Operand {
  const operand = 'quants' in x ? int8Operand(x) : floatOperand(op, x);
  const { rows, inner, dtype } = operand;
  expect(rows > 0, op, 'rows of x', 'at least one', rows);
  expect(inner > 0 && inner % 8 === 0, op, 'inner', 'a multiple of 8', inner, 'pad x and w with zeros');
  expect(w.cols === inner, op, w.name, showShape([w.rows, inner]), showShape([w.rows, w.cols]));
  expect(FORMAT_CODES[w.dtype] !== undefined, op, w.name, 'f32, bf16, f16, q4 or q8', w.dtype);
  expect(dtype !== 'i8' || isQuantized(w.dtype), op, w.name, 'q4 or q8, as x is quantised', w.dtype);
  checkQuantized(w);
  return operand;
}

function int8Operand({ quants, scales, cols }: Int8Rows): Operand {
  const tensors = { x: quants, x_scales: scales };
  return { rows: quants.shape[0]!, like: quants, inner: cols, dtype: 'i8', tensors };
}

function floatOperand(op: string, x: Tensor): Operand {
  const [rows = 0, inner = 0] = x.shape;
  const fits = x.shape.length === 2 && (x.dtype === 'f32' || x.dtype === 'f16');
  expect(fits, op, 'x', 'f32 or f16 [rows, inner]', `${x.dtype} ${showShape(x.shape)}`);
  return { rows, like: x, inner, dtype: x.dtype, tensors: { x } };
}

/** All that the best variant for a product depends on: see choose(). */
export function problemOf({ rows, dtype }: Operand, w: Matrix): string {
  return `${rowsClass(rows)} ${dtype} ${w.dtype}`;
}

/** What follows a sum, as the file of lib/ with finish() declares it. */
export interface Finish {
  constants: Constants;
  read: Record<string, Tensor | null>;
  write: Record<string, Tensor>;
  /** The parameter of this name. */
  width: number;
  /** Bytes that it moves for each element of the product, and for each of its columns. */
  elementBytes: number;
  columnBytes: number;
}

/** Records x w^T and what follows it with one of the variants of an op, a dispatch for each block of w. */
export function multiply(g: Graph, x: Operand, w: Matrix, { kernel, ...chosen }: Variant, finish: Finish): void {
  const { rows: most, like, inner, dtype, tensors } = x;
  const rows = rowsOf(like);
  const unit = kernel.matrix && matrixUnit(g.device, kernel.matrix);
  const padded = (isQuantized(w.dtype) || unit !== undefined) && inner % BLOCK_COLS !== 0;
  const constants = {
    ...(dtype !== 'i8' && { PADDED: padded }),
    ...(dtype !== 'i8' && !unit && { elem: dtype }),
    ...(unit && { ...unitConstants(unit), ...LARGE }),
    ...vectorConstants(fileOf(kernel), most, inner, w.dtype, g.device.leastLanes),
    FORMAT: FORMAT_CODES[w.dtype]!,
    GROUP: w.group ?? BLOCK_COLS,
    ...finish.constants,
    ...chosen.constants,
  };
  const { grid } = PRODUCTS[fileOf(kernel)]!;
  for (const { tensor, scales = null, row } of w.blocks) {
    const outs = tensor.shape[0]!;
    const words = (tensor.shape[1]! * BYTES[tensor.dtype]) / 16;
    const sum = (tensors: Tensor[]) => tensors.reduce((bytes, each) => bytes + tensorBytes(each), 0);
    const perRow = sum(Object.values(tensors)) / most + outs * finish.elementBytes;
    const constant = sum(scales ? [tensor, scales] : [tensor]) + outs * finish.columnBytes;
    g.dispatch({
      kernel,
      constants,
      read: { ...tensors, w: tensor, scales, ...finish.read },
      write: finish.write,
      params: { rows, words, ...(dtype !== 'i8' && { quads: inner / 4 }), outs, first: row, width: finish.width },
      workgroups: (value) => grid(value(rows), outs, constants),
      cost: (value) => ({ flops: 2 * value(rows) * inner * outs, bytes: constant + value(rows) * perRow }),
    });
  }
}

/**
 * The constants of kernels for few rows: how many rows and, where lanes share columns, how many of them, at most `least`. More
 * than the columns are many would leave lanes idle in the last step, and more loads under way than 8 need registers that rows have.
 */
function vectorConstants(file: string, rows: number, inner: number, w: WeightFormat, least: number): Constants {
  if (file === 'gemv_shuffle') return { ROWS: rows, LANES: Math.min(least, 8) };
  if (!SHARED.includes(file)) return {};
  const units = ceilDiv(inner, isQuantized(w) ? BLOCK_COLS : 16 / BYTES[w as DType]);
  const fits = (lanes: number) => lanes <= least && ceilDiv(units, lanes) * lanes <= 1.1 * units;
  return { ROWS: rows, LANES: [32, 16, 8].find(fits) ?? Math.min(least, 8), UNROLL: rows > 4 ? 1 : 2, WG: 64 };
}
