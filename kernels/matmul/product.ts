import {
  BYTES,
  type Constants,
  ceilDiv,
  type DType,
  expect,
  expectTensor,
  type Feature,
  type Graph,
  type Grid,
  type Kernel,
  linearGrid,
  type Matrix,
  matrixUnit,
  rowsOf,
  showShape,
  showTensor,
  type Tensor,
  tensorBytes,
  unitConstants,
  type Variant,
  variant,
  type WeightFormat,
} from '../../runtime/index.ts';
import { kernelFile } from '../lib/kernel_file.ts';
import { BLOCK_COLS, checkQuantized, FORMAT_CODES, type Int8Rows, isQuantized } from '../lib/quantized.ts';
import { rowsClass } from '../policy.ts';
import { type NormBefore, quantizeRows } from '../quantize_rows/quantize_rows.ts';
import { rmsNorm } from '../rms_norm/rms_norm.ts';

type GridOf = (rows: number, outs: number, constants: Constants) => Grid;

/** A kernel that multiplies: its file, what it takes of lib/ beside matmul.wgsl, its grid, and what it needs and takes. */
interface Product {
  file: string;
  libs: string;
  grid: GridOf;
  /** Rows of x that it takes at most. */
  most?: number;
  /** The formats of w that it takes; without them all. */
  formats?: readonly WeightFormat[];
  /** Whether x is of 8-bit integers. */
  integers?: boolean;
  /** Whether it norms x itself. */
  normed?: boolean;
  needs?: readonly Feature[];
  matrix?: Kernel['matrix'];
  /** Constants of its own. */
  constants?: (sizes: VectorSizes) => Constants;
}

/** What the constants of kernels for few rows depend on. */
interface VectorSizes {
  rows: number;
  inner: number;
  format: WeightFormat;
  /** Lanes of the device's smallest subgroup. */
  least: number;
  /** Whether a workgroup does something of its own before or behind the product. */
  wide: boolean;
}

/** Rows up to which there are kernels that read the weights once for all of them. */
export const VECTOR_ROWS = 8;

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

/** A kernel for few rows whose lanes share four columns. */
const shared = (file: string, libs: string, more: Partial<Product> = {}): Product => ({
  file,
  libs: `${libs} gemv`,
  grid: (_, outs, { LANES, WG }) => linearGrid(ceilDiv(outs * Number(LANES), 4 * Number(WG))),
  most: VECTOR_ROWS,
  needs: ['subgroups'],
  constants: sharedConstants,
  ...more,
});

const HALVES = { formats: ['q4'], needs: ['subgroups', 'shader-f16'] } as const;

/** Every kernel that multiplies. */
const PRODUCTS: readonly Product[] = [
  { file: 'matmul_tile', libs: 'widen', grid: tiles(64, 64) },
  { file: 'matmul_register', libs: 'widen', grid: tiles(4, 64) },
  { file: 'matmul_subgroup', libs: 'widen', grid: tiles(8, 64), needs: ['subgroups'] },
  {
    file: 'matmul_matrix',
    libs: 'halves',
    grid: (rows, outs, c) => [ceilDiv(rows, tile(c.DOWN, c.M)), ceilDiv(outs, tile(c.ACROSS, c.N))],
    formats: ['bf16', 'f16', 'q4', 'q8'],
    needs: ['shader-f16', 'subgroups', 'subgroup-size-control', 'chromium-experimental-subgroup-matrix'],
    matrix: { component: 'f16', result: 'f32' },
  },
  { file: 'gemv_register', libs: 'widen', grid: columns(32), most: 1 },
  {
    ...{ file: 'gemv_shuffle', libs: 'widen', grid: columns(32), most: VECTOR_ROWS, needs: ['subgroups'] },
    formats: ['q4', 'q8'],
    constants: shuffledConstants,
  },
  shared('gemv_subgroup', 'widen x_rows x_as_is'),
  shared('gemv_half', 'widen x_rows x_as_is', HALVES),
  shared('gemv_subgroup', 'widen norm x_normed', { normed: true }),
  shared('gemv_half', 'widen norm x_normed', { ...HALVES, normed: true }),
  { file: 'matmul_dot_tile', libs: 'dot x_int8', grid: tiles(64, 64), integers: true },
  { file: 'matmul_dot_register', libs: 'dot x_int8', grid: tiles(8, 32), integers: true },
  {
    ...{ file: 'matmul_dot_shuffle', libs: '', integers: true, needs: ['subgroups'] },
    grid: (rows, outs, { ROWS }) => [ceilDiv(rows, Number(ROWS)), ceilDiv(outs, 32)],
    constants: shuffledConstants,
  },
  shared('gemv_dot_subgroup', 'dot x_int8 x_as_is', { integers: true }),
  shared('gemv_dot_subgroup', 'dot quantize norm x_int8_normed', { integers: true, normed: true }),
];

/** Matrices that a subgroup of matmul_matrix has below and beside each other, unless the variant says otherwise. */
const LARGE = { DOWN: 4, ACROSS: 4 };

/** What each kernel that multiplies is made of, and whether it quantises its result. */
const MADE = new Map<Kernel, Product & { quantises: boolean }>();

/** The variants of an op that multiplies; `finish` names the files of lib/ that have what follows the sum. */
export function productVariants(op: string, finish: string): Variant[] {
  const kernels = PRODUCTS.map((product) => make(op, product, finish));
  const small = kernels.filter(({ matrix }) => matrix).map((kernel) => variant(kernel, { DOWN: 2, ACROSS: 2 }));
  return [...kernels.map((kernel) => variant(kernel)), ...small];
}

/** The variants that quantise what they make of pairs of columns by silu_gate. */
export function quantisingVariants(op: string): Variant[] {
  const dots = PRODUCTS.filter(({ file }) => file === 'gemv_dot_subgroup');
  return dots.map((product) => variant(make(op, product, 'quantize finish_int8', true)));
}

function make(op: string, product: Product, finish: string, quantises = false): Kernel {
  const { file, libs, needs, matrix, normed } = product;
  const name = `${op}/${[file, ...(normed ? ['normed'] : []), ...(quantises ? ['int8'] : [])].join('_')}`;
  const all = new Set(`matmul ${libs} ${finish}`.split(' '));
  const kernel = kernelFile(`matmul/${file}`, [...all].join(' '), { name, needs, matrix });
  MADE.set(kernel, { ...product, quantises });
  return kernel;
}

/** Workgroup memory of the kernels that norm and quantise x; what every adapter has. */
const MOST_BYTES = 16384;

/** What of x a product depends on; dtype is 'i8' where its rows are quantised. */
export type OperandClass = Pick<Operand, 'rows' | 'inner' | 'dtype'> & { normed?: unknown };

/** Whether a variant can multiply such operands, and with `int8` quantise y; those that leave out norm or quantising are helped. */
export function applies(
  { kernel }: Variant,
  { rows, inner, dtype, normed }: OperandClass,
  w: Pick<Matrix, 'dtype' | 'fitsF16'>,
  int8 = false,
): boolean {
  const { most = rows, formats, integers = false, quantises, ...made } = MADE.get(kernel)!;
  if ((made.normed && !normed) || (quantises && !int8) || rows > most) return false;
  if (integers !== (dtype === 'i8') || !(formats?.includes(w.dtype) ?? true)) return false;
  if (kernel.matrix) return dtype === 'f16' && (w.dtype !== 'bf16' || w.fitsF16 === true);
  return !integers || !made.normed || preparedBytes(rows, inner) <= MOST_BYTES;
}

/** Workgroup memory at most of a kernel that norms and quantises x and quantises y, whatever the device's lanes. */
function preparedBytes(rows: number, inner: number): number {
  return rows * (36 * ceilDiv(inner, BLOCK_COLS) + 128 + 128);
}

/** Rows f32 [rows, cols] that stand for rmsNorm(x, norm, eps, { as }), or with `int8` for quantizeRows(x, { norm, eps }). */
export interface Normed extends NormBefore {
  x: Tensor;
  as: 'f32' | 'f16';
  int8: boolean;
}

/** What a product can be of: rows as they are, quantised ones, and those that an RMSNorm comes before. */
export type Rows = Tensor | Int8Rows | Normed;

/**
 * What x is to a product: its sizes, the tensor that has its rows, its dtype ('i8' of quantised rows) and the tensors it is bound as,
 * by kernels that norm x where it is `normed`.
 */
export interface Operand {
  rows: number;
  like: Tensor;
  inner: number;
  dtype: DType;
  tensors: Record<string, Tensor>;
  normed?: Normed;
}

/** x and w of a product, checked; throws ShapeError. */
export function operandOf(op: string, x: Rows, w: Matrix): Operand {
  if ('quants' in x) checkInt8(op, x);
  const operand = 'quants' in x ? int8Operand(x) : 'norm' in x ? normedOperand(op, x) : floatOperand(op, x);
  const { rows, inner, dtype } = operand;
  expect(rows > 0, op, 'rows of x', 'at least one', rows);
  expect(inner > 0 && inner % 8 === 0, op, 'inner', 'a multiple of 8', inner, 'pad x and w with zeros');
  expect(w.cols === inner, op, w.name, showShape([w.rows, inner]), showShape([w.rows, w.cols]));
  expect(FORMAT_CODES[w.dtype] !== undefined, op, w.name, 'f32, bf16, f16, q4 or q8', w.dtype);
  expect(dtype !== 'i8' || isQuantized(w.dtype), op, w.name, 'q4 or q8, as x is quantised', w.dtype);
  checkQuantized(w);
  return operand;
}

function checkInt8(op: string, { quants, scales, cols }: Int8Rows): void {
  const [rows, blocks] = [quants.shape[0] ?? 0, ceilDiv(cols, BLOCK_COLS)];
  expectTensor(op, 'quants of x', quants, 'u32', [rows, 8 * blocks]);
  expectTensor(op, 'scales of x', scales, 'f32', [rows, blocks]);
}

function int8Operand({ quants, scales, cols }: Int8Rows): Operand {
  const tensors = { x: quants, x_scales: scales };
  return { rows: quants.shape[0]!, like: quants, inner: cols, dtype: 'i8', tensors };
}

function floatOperand(op: string, x: Tensor): Operand {
  const [rows = 0, inner = 0] = x.shape;
  const fits = x.shape.length === 2 && (x.dtype === 'f32' || x.dtype === 'f16');
  expect(fits, op, 'x', 'f32 or f16 [rows, inner]', showTensor(x));
  return { rows, like: x, inner, dtype: x.dtype, tensors: { x } };
}

function normedOperand(op: string, normed: Normed): Operand {
  const { x, norm, as, int8 } = normed;
  const { inner, ...operand } = floatOperand(op, x);
  expect(x.dtype === 'f32', op, 'x', 'f32, as it is to be normed', x.dtype);
  expectTensor(op, 'norm', norm, 'f32', [inner]);
  return { ...operand, inner, dtype: int8 ? 'i8' : as, tensors: { x, norm }, normed };
}

/** The operand as kernels take it that do not norm it: norm, or norm and quantising in one, are recorded before. */
function ready(g: Graph, { normed, ...operand }: Operand): Operand {
  if (!normed) return operand;
  const { x, norm, eps, as, int8 } = normed;
  if (int8) return int8Operand(quantizeRows(g, x, normed));
  const rows = rmsNorm(g, x, norm, eps, { as });
  return { ...operand, like: rows, tensors: { x: rows } };
}

/** All that the best variant for a product depends on: see choose(). Only kernels for few rows norm x, and those of integers quantise y. */
export function problemOf({ rows, dtype, normed }: Operand, w: Matrix, int8 = false): string {
  const few = rows <= VECTOR_ROWS;
  const fused = [...(few && normed ? ['normed'] : []), ...(few && int8 && dtype === 'i8' ? ['to_int8'] : [])];
  return [rowsClass(rows), dtype, w.dtype, ...fused].join(' ');
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

/** Whether a variant quantises the result itself. */
export function quantises({ kernel }: Variant): boolean {
  return MADE.get(kernel)!.quantises;
}

/** Records x w^T and what follows it with one of the variants of an op, a dispatch for each block of w, and before them what it leaves out. */
export function multiply(g: Graph, x: Operand, w: Matrix, { kernel, ...chosen }: Variant, finish: Finish): void {
  const made = MADE.get(kernel)!;
  const { rows: most, like, inner, dtype, tensors, normed } = made.normed ? x : ready(g, x);
  const rows = rowsOf(like);
  const unit = kernel.matrix && matrixUnit(g.device, kernel.matrix);
  const padded = (isQuantized(w.dtype) || unit !== undefined) && inner % BLOCK_COLS !== 0;
  const least = g.device.leastLanes;
  const wide = made.quantises || (made.normed === true && made.integers === true);
  const constants = {
    ...(dtype !== 'i8' && { PADDED: padded }),
    ...(dtype !== 'i8' && !unit && { elem: like.dtype }),
    ...(unit && { ...unitConstants(unit), ...LARGE }),
    ...made.constants?.({ rows: most, inner, format: w.dtype, least, wide }),
    ...(normed && { EPS: normed.eps }),
    ...(normed?.int8 && { COLS: inner, SPAN: Math.min(least, 8) }),
    FORMAT: FORMAT_CODES[w.dtype]!,
    GROUP: w.group ?? BLOCK_COLS,
    ...finish.constants,
    ...chosen.constants,
  };
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
      workgroups: (value) => made.grid(value(rows), outs, constants),
      cost: (value) => ({ flops: 2 * value(rows) * inner * outs, bytes: constant + value(rows) * perRow }),
    });
  }
}

/**
 * The constants of kernels whose lanes share columns: how many rows there are and how many lanes share them, at most `least`. More
 * than the columns are many would leave lanes idle in the last step, and more loads under way than 8 need registers that rows have.
 * Workgroups that are `wide` have 64 columns, so that what they do beside the product is little.
 */
function sharedConstants({ rows, inner, format, least, wide }: VectorSizes): Constants {
  const units = ceilDiv(inner, isQuantized(format) ? BLOCK_COLS : 16 / BYTES[format as DType]);
  const fits = (lanes: number) =>
    lanes <= (wide ? Math.min(least, 16) : least) && ceilDiv(units, lanes) * lanes <= 1.1 * units;
  const lanes = [32, 16, 8].find(fits) ?? Math.min(least, 8);
  return { ROWS: rows, LANES: lanes, UNROLL: rows > 4 ? 1 : 2, WG: wide ? 16 * lanes : 64 };
}

/** The constants of kernels for CPUs whose lanes shuffle x: rows of a workgroup, and lanes that share them. */
function shuffledConstants({ rows, least }: VectorSizes): Constants {
  return { ROWS: Math.min(rows, VECTOR_ROWS), LANES: Math.min(least, 8) };
}
