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
  sameShape,
  showShape,
  type Tensor,
  tensorBytes,
  unitConstants,
  type Variant,
  variant,
} from '../../runtime/index.ts';
import { BLOCK_COLS, checkQuantized, FORMAT_CODES, type Int8Rows, isQuantized } from '../lib/quantized.ts';
import { choose, rowsClass } from '../policy.ts';

/** What follows the product. */
export interface MatmulOptions {
  /** f32 [outs], added to each row. */
  bias?: Tensor;
  activation?: keyof typeof ACTIVATIONS;
  /** f32 of the result's shape, added last. */
  residual?: Tensor;
  /** The result's dtype. */
  as?: DType;
}

const ACTIVATIONS = { none: 0, gelu_tanh: 1, gelu_erf: 2, silu_gate: 3 };

const kernel = (name: string, lib: string, ...needs: Feature[]): Kernel => ({
  name: `matmul/${name}`,
  source: new URL(`./${name}.wgsl`, import.meta.url),
  lib: ['matmul', lib].map((file) => new URL(`../lib/${file}.wgsl`, import.meta.url)),
  needs,
});
const TILE = kernel('matmul_tile', 'widen');
const REGISTER = kernel('matmul_register', 'widen');
const SUBGROUP = kernel('matmul_subgroup', 'widen', 'subgroups');
const MATRIX: Kernel = {
  ...kernel(
    'matmul_matrix',
    'halves',
    'shader-f16',
    'subgroups',
    'subgroup-size-control',
    'chromium-experimental-subgroup-matrix',
  ),
  matrix: { component: 'f16', result: 'f32' },
};
/** Matrices that a subgroup of MATRIX has below and beside each other, unless the variant says otherwise. */
const LARGE = { DOWN: 4, ACROSS: 4 };
const GEMV = kernel('gemv', 'widen');
const GEMV_REGISTER = kernel('gemv_register', 'widen');
const GEMV_SUBGROUP = kernel('gemv_subgroup', 'widen', 'subgroups');
const GEMV_SHUFFLE = kernel('gemv_shuffle', 'widen', 'subgroups');
const DOT_TILE = kernel('matmul_dot_tile', 'dot');
const DOT_REGISTER = kernel('matmul_dot_register', 'dot');
const GEMV_DOT = kernel('gemv_dot', 'dot');
const GEMV_DOT_SUBGROUP = kernel('gemv_dot_subgroup', 'dot', 'subgroups');

/** Rows or columns of two subgroups' tile: so many matrices each, of so many. */
const tile = (...sizes: (Constants[string] | undefined)[]) =>
  2 * sizes.reduce<number>((all, size) => all * Number(size), 1);

const GRIDS = new Map<Kernel, (rows: number, outs: number, constants: Constants) => Grid>([
  [TILE, (rows, outs) => [ceilDiv(rows, 64), ceilDiv(outs, 64)]],
  [REGISTER, (rows, outs) => [ceilDiv(rows, 4), ceilDiv(outs, 64)]],
  [SUBGROUP, (rows, outs) => [ceilDiv(rows, 8), ceilDiv(outs, 64)]],
  [MATRIX, (rows, outs, c) => [ceilDiv(rows, tile(c.DOWN, c.M)), ceilDiv(outs, tile(c.ACROSS, c.N))]],
  [GEMV, (_, outs) => linearGrid(ceilDiv(outs, 4))],
  [GEMV_REGISTER, (_, outs) => linearGrid(ceilDiv(outs, 32))],
  [GEMV_SUBGROUP, (_, outs) => linearGrid(ceilDiv(outs, 8))],
  [GEMV_SHUFFLE, (_, outs) => linearGrid(ceilDiv(outs, 32))],
  [DOT_TILE, (rows, outs) => [ceilDiv(rows, 64), ceilDiv(outs, 64)]],
  [DOT_REGISTER, (rows, outs) => [ceilDiv(rows, 8), ceilDiv(outs, 32)]],
  [GEMV_DOT, (_, outs) => linearGrid(ceilDiv(outs, 4))],
  [GEMV_DOT_SUBGROUP, (_, outs) => linearGrid(ceilDiv(outs, 8))],
]);

/** The variants of this op. */
export const variants = [
  ...[...GRIDS.keys()].map((each) => variant(each)),
  variant(MATRIX, { DOWN: 2, ACROSS: 2 }),
  variant(GEMV_DOT, { LANES: 8 }),
];

const VECTORS = [GEMV, GEMV_REGISTER, GEMV_SUBGROUP];
const DOT_VECTORS = [GEMV_DOT, GEMV_DOT_SUBGROUP];

/** Whether a variant can multiply so many rows of such operands; x is 'i8' where its rows are quantised. */
export function applies({ kernel }: Variant, rows: number, x: DType, w: Pick<Matrix, 'dtype' | 'fitsF16'>): boolean {
  if (DOT_VECTORS.includes(kernel)) return x === 'i8' && rows === 1;
  if (kernel === DOT_TILE || kernel === DOT_REGISTER) return x === 'i8';
  if (x === 'i8') return false;
  if (kernel === MATRIX) return x === 'f16' && w.dtype !== 'f32' && (w.dtype !== 'bf16' || w.fitsF16 === true);
  if (kernel === GEMV_SHUFFLE) return rows === 1 && isQuantized(w.dtype);
  return rows === 1 || !VECTORS.includes(kernel);
}

/**
 * y = act(x w^T + bias) + residual for x f32 or f16 [rows, inner] and w f32, bf16, f16, q4 or q8 [outs, inner], or for x
 * of quantizeRows and w q4 or q8; sums in f32; y [rows, outs] has the dtype `as`. With silu_gate the rows of w are gate_0,
 * up_0, gate_1, up_1, ... and y[r, i] = up_i silu(gate_i), [rows, outs / 2]. inner is a multiple of 8. Throws ShapeError.
 */
export function matmul(g: Graph, x: Tensor | Int8Rows, w: Matrix, options: MatmulOptions = {}): Tensor {
  const { bias = null, activation = 'none', residual = null, as = 'f32' } = options;
  const { rows: most, like, inner, dtype, operands } = operandsOf(x);
  const rows = rowsOf(like);
  const width = activation === 'silu_gate' ? w.rows / 2 : w.rows;
  check(most, inner, dtype, w, options, width);
  const y = g.temp('matmul', [most, width], as, like);
  const problem = `${rowsClass(most)} ${dtype} ${w.dtype}`;
  const chosen = choose(g, 'matmul', problem, variants, (each) => applies(each, most, dtype, w));
  const { matrix } = chosen.kernel;
  const unit = matrix && matrixUnit(g.device, matrix);
  const padded = (isQuantized(w.dtype) || unit !== undefined) && inner % BLOCK_COLS !== 0;
  const constants = {
    ...(dtype !== 'i8' && { PADDED: padded }),
    ...(dtype !== 'i8' && !unit && { elem: dtype }),
    ...(unit && { ...unitConstants(unit), ...LARGE }),
    out_elem: as,
    FORMAT: FORMAT_CODES[w.dtype]!,
    GROUP: w.group ?? BLOCK_COLS,
    ACTIVATION: ACTIVATIONS[activation],
    BIAS: bias !== null,
    RESIDUAL: residual !== null,
    ...chosen.constants,
  };
  for (const { tensor, scales = null, row } of w.blocks) {
    const outs = tensor.shape[0]!;
    const words = (tensor.shape[1]! * BYTES[tensor.dtype]) / 16;
    const share = (outs / w.rows) * width; // elements of a row of y that this block makes
    const sum = (tensors: Tensor[]) => tensors.reduce((bytes, each) => bytes + tensorBytes(each), 0);
    const perRow = sum(Object.values(operands)) / most + share * (BYTES[as] + (residual ? 4 : 0));
    const constant = sum(scales ? [tensor, scales] : [tensor]) + (bias ? 4 * outs : 0);
    g.dispatch({
      kernel: chosen.kernel,
      constants,
      read: { ...operands, w: tensor, bias, residual, scales },
      write: { y },
      params: { rows, words, ...(dtype !== 'i8' && { quads: inner / 4 }), outs, first: row, width },
      workgroups: (value) => GRIDS.get(chosen.kernel)!(value(rows), outs, constants),
      cost: (value) => ({ flops: 2 * value(rows) * inner * outs, bytes: constant + value(rows) * perRow }),
    });
  }
  return y;
}

/** What x is to a kernel: its sizes, the tensor that has its rows, its dtype ('i8' of quantised rows) and the tensors it is bound as. */
function operandsOf(x: Tensor | Int8Rows): {
  rows: number;
  like: Tensor;
  inner: number;
  dtype: DType;
  operands: Record<string, Tensor>;
} {
  if ('quants' in x) {
    const { quants, scales, cols } = x;
    return {
      rows: quants.shape[0]!,
      like: quants,
      inner: cols,
      dtype: 'i8',
      operands: { x: quants, x_scales: scales },
    };
  }
  const [rows = 0, inner = 0] = x.shape;
  const fits = x.shape.length === 2 && (x.dtype === 'f32' || x.dtype === 'f16');
  expect(fits, 'matmul', 'x', 'f32 or f16 [rows, inner]', shown(x));
  return { rows, like: x, inner, dtype: x.dtype, operands: { x } };
}

const shown = ({ dtype, shape }: Tensor) => `${dtype} ${showShape(shape)}`;

function check(
  rows: number,
  inner: number,
  x: DType,
  w: Matrix,
  { activation, bias, residual }: MatmulOptions,
  width: number,
): void {
  expect(rows > 0, 'matmul', 'rows of x', 'at least one', rows);
  expect(inner > 0 && inner % 8 === 0, 'matmul', 'inner', 'a multiple of 8', inner, 'pad x and w with zeros');
  expect(w.cols === inner, 'matmul', w.name, showShape([w.rows, inner]), showShape([w.rows, w.cols]));
  expect(FORMAT_CODES[w.dtype] !== undefined, 'matmul', w.name, 'f32, bf16, f16, q4 or q8', w.dtype);
  expect(x !== 'i8' || isQuantized(w.dtype), 'matmul', w.name, 'q4 or q8, as x is quantised', w.dtype);
  checkQuantized(w);
  if (activation === 'silu_gate') {
    const odd = w.blocks.find(({ tensor, row }) => row % 2 || tensor.shape[0]! % 2);
    expect(!odd, 'matmul', w.name, 'blocks of pairs of rows', `${odd?.tensor.shape[0]} rows from row ${odd?.row}`);
  }
  expect(
    !bias || (bias.dtype === 'f32' && sameShape(bias.shape, [w.rows])),
    'matmul',
    'bias',
    `f32 [${w.rows}]`,
    bias && shown(bias),
  );
  expect(
    !residual || (residual.dtype === 'f32' && sameShape(residual.shape, [rows, width])),
    'matmul',
    'residual',
    `f32 ${showShape([rows, width])}`,
    residual && shown(residual),
  );
}
