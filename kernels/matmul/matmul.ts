import {
  BYTES,
  ceilDiv,
  type DType,
  expect,
  type Feature,
  type Graph,
  type Grid,
  type Kernel,
  linearGrid,
  type Matrix,
  rowsOf,
  sameShape,
  showShape,
  type Tensor,
  tensorBytes,
  type WeightFormat,
} from '../../runtime/index.ts';
import { BLOCK_COLS, checkQuantized, FORMAT_CODES, type Int8Rows, isQuantized } from '../lib/quantized.ts';

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

const kernel = (name: string, libs: string, ...needs: Feature[]): Kernel => ({
  name: `matmul/${name}`,
  source: new URL(`./${name}.wgsl`, import.meta.url),
  lib: `matmul ${libs}`.split(' ').map((file) => new URL(`../lib/${file}.wgsl`, import.meta.url)),
  needs,
});
const TILE = kernel('matmul_tile', 'widen');
const REGISTER = kernel('matmul_register', 'widen');
const SUBGROUP = kernel('matmul_subgroup', 'widen', 'subgroups');
const SUBGROUP_MATRIX: Kernel = {
  ...kernel(
    'matmul_subgroup_matrix',
    'widen',
    'shader-f16',
    'subgroups',
    'subgroup-size-control',
    'chromium-experimental-subgroup-matrix',
  ),
  matrix: { component: 'f16', result: 'f32', M: 16, N: 16, K: 16, lanes: [32, 32] },
};
const GEMV_REGISTER = kernel('gemv_register', 'widen');
const GEMV_SUBGROUP = kernel('gemv_subgroup', 'widen gemv', 'subgroups');
const GEMV_HALF = kernel('gemv_half', 'widen gemv', 'subgroups', 'shader-f16');
const GEMV_SHUFFLE = kernel('gemv_shuffle', 'widen', 'subgroups');
const DOT_TILE = kernel('matmul_dot_tile', 'dot');
const DOT_REGISTER = kernel('matmul_dot_register', 'dot');
const GEMV_DOT_SUBGROUP = kernel('gemv_dot_subgroup', 'dot gemv', 'subgroups');

/** Rows up to which there are kernels that read the weights once for all of them. */
export const VECTOR_ROWS = 8;

const SHARED = [GEMV_SUBGROUP, GEMV_HALF, GEMV_DOT_SUBGROUP];
const SHARED_WG = 64;
const sharedGrid: GridOf = (_, outs, lanes) => linearGrid(ceilDiv(outs * lanes, 4 * SHARED_WG));

type GridOf = (rows: number, outs: number, lanes: number) => Grid;

const GRIDS = new Map<Kernel, GridOf>([
  [TILE, (rows, outs) => [ceilDiv(rows, 64), ceilDiv(outs, 64)]],
  [REGISTER, (rows, outs) => [ceilDiv(rows, 4), ceilDiv(outs, 64)]],
  [SUBGROUP, (rows, outs) => [ceilDiv(rows, 8), ceilDiv(outs, 64)]],
  [SUBGROUP_MATRIX, (rows, outs) => [ceilDiv(rows, 64), ceilDiv(outs, 64)]],
  [GEMV_REGISTER, (_, outs) => linearGrid(ceilDiv(outs, 32))],
  [GEMV_SUBGROUP, sharedGrid],
  [GEMV_HALF, sharedGrid],
  [GEMV_SHUFFLE, (_, outs) => linearGrid(ceilDiv(outs, 32))],
  [DOT_TILE, (rows, outs) => [ceilDiv(rows, 64), ceilDiv(outs, 64)]],
  [DOT_REGISTER, (rows, outs) => [ceilDiv(rows, 8), ceilDiv(outs, 32)]],
  [GEMV_DOT_SUBGROUP, sharedGrid],
]);

/** The variants of this op. */
export const variants = [...GRIDS.keys()];

/**
 * The variants that can multiply so many rows of such operands, best first; x is 'i8' where its rows are quantised.
 * matmul_subgroup_matrix stands last, behind variants that need no feature: it runs only where it is forced by name,
 * because no GPU has verified it yet.
 */
export function candidates(rows: number, x: DType, w: WeightFormat, onCpu: boolean): Kernel[] {
  const few = rows <= VECTOR_ROWS;
  if (x === 'i8') {
    const matrix = onCpu ? [DOT_REGISTER, DOT_TILE] : [DOT_TILE, DOT_REGISTER];
    return [...(few ? [GEMV_DOT_SUBGROUP] : []), ...matrix];
  }
  const matrix = onCpu ? [SUBGROUP, REGISTER, TILE] : [TILE, REGISTER, SUBGROUP];
  const halves = x === 'f16' && w !== 'f32' ? [SUBGROUP_MATRIX] : [];
  const shared = w === 'q4' ? [GEMV_HALF, GEMV_SUBGROUP] : [GEMV_SUBGROUP];
  const alone = rows === 1 ? [GEMV_REGISTER] : [];
  const cpu = isQuantized(w) ? [GEMV_SHUFFLE, ...alone] : alone;
  if (!few) return [...matrix, ...halves];
  return onCpu ? [...cpu, ...matrix, ...shared, ...halves] : [...shared, ...cpu, ...matrix, ...halves];
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
  const { onCpu, leastLanes } = g.device;
  const y = g.temp('matmul', [most, width], as, like);
  const chosen = g.variant('matmul', candidates(most, dtype, w.dtype, onCpu));
  const lanes = lanesFor(inner, w.dtype, leastLanes);
  const padded = isQuantized(w.dtype) && inner % BLOCK_COLS !== 0;
  const constants = {
    ...(dtype !== 'i8' && { elem: dtype, PADDED: padded }),
    ...(chosen === GEMV_SHUFFLE && { ROWS: most, LANES: Math.min(leastLanes, 8) }),
    ...(SHARED.includes(chosen) && { ROWS: most, LANES: lanes, UNROLL: most > 4 ? 1 : 2, WG: SHARED_WG }),
    out_elem: as,
    FORMAT: FORMAT_CODES[w.dtype]!,
    GROUP: w.group ?? BLOCK_COLS,
    ACTIVATION: ACTIVATIONS[activation],
    BIAS: bias !== null,
    RESIDUAL: residual !== null,
  };
  for (const { tensor, scales = null, row } of w.blocks) {
    const outs = tensor.shape[0]!;
    const words = (tensor.shape[1]! * BYTES[tensor.dtype]) / 16;
    const share = (outs / w.rows) * width; // elements of a row of y that this block makes
    const sum = (tensors: Tensor[]) => tensors.reduce((bytes, each) => bytes + tensorBytes(each), 0);
    const perRow = sum(Object.values(operands)) / most + share * (BYTES[as] + (residual ? 4 : 0));
    const constant = sum(scales ? [tensor, scales] : [tensor]) + (bias ? 4 * outs : 0);
    g.dispatch({
      kernel: chosen,
      constants,
      read: { ...operands, w: tensor, bias, residual, scales },
      write: { y },
      params: { rows, words, ...(dtype !== 'i8' && { quads: inner / 4 }), outs, first: row, width },
      workgroups: (value) => GRIDS.get(chosen)!(value(rows), outs, lanes),
      cost: (value) => ({ flops: 2 * value(rows) * inner * outs, bytes: constant + value(rows) * perRow }),
    });
  }
  return y;
}

/** How many lanes share the columns of a GEMV: at most `least`, and so that the last step leaves few of them idle. */
function lanesFor(inner: number, w: WeightFormat, least: number): number {
  const units = ceilDiv(inner, isQuantized(w) ? BLOCK_COLS : 16 / BYTES[w as DType]);
  const fits = (lanes: number) => lanes <= least && ceilDiv(units, lanes) * lanes <= 1.1 * units;
  return [32, 16, 8].find(fits) ?? Math.min(least, 8);
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
