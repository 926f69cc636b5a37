import {
  BYTES,
  type DType,
  expect,
  expectTensor,
  type Graph,
  type Matrix,
  type Tensor,
  type Variant,
} from '../../runtime/index.ts';
import { BLOCK_COLS, type Int8Rows } from '../lib/quantized.ts';
import { choose } from '../policy.ts';
import { int8Rows, quantizeRows } from '../quantize_rows/quantize_rows.ts';
import {
  applies,
  multiply,
  type Operand,
  operandOf,
  problemOf,
  productVariants,
  quantises,
  quantisingVariants,
  type Rows,
} from './product.ts';

/** What follows the product. */
export interface MatmulOptions {
  /** f32 [outs], added to each row. */
  bias?: Tensor;
  activation?: keyof typeof ACTIVATIONS;
  /** f32 of the result's shape, added last. */
  residual?: Tensor;
  /** The result's dtype, or that of what is quantised. */
  as?: DType;
  /** Whether the result is quantised by quantizeRows; kernels that do so themselves do not round it to `as`. */
  int8?: boolean;
}

const ACTIVATIONS = { none: 0, gelu_tanh: 1, gelu_erf: 2, silu_gate: 3 };

/** The variants of this op. */
export const variants = [...productVariants('matmul', 'finish'), ...quantisingVariants('matmul')];

/**
 * y = act(x w^T + bias) + residual for x f32 or f16 [rows, inner] and w f32, bf16, f16, q4 or q8 [outs, inner], or for x
 * of quantizeRows and w q4 or q8; sums in f32; y [rows, outs] has the dtype `as`. With silu_gate the rows of w are gate_0,
 * up_0, gate_1, up_1, ... and y[r, i] = up_i silu(gate_i), [rows, outs / 2]. inner is a multiple of 8. Norm of x and, with `int8`,
 * quantising of y are part of the product or dispatches of their own, as is chosen. Throws ShapeError.
 */
export function matmul(g: Graph, x: Rows, w: Matrix, options?: MatmulOptions & { int8?: false }): Tensor;
export function matmul(g: Graph, x: Rows, w: Matrix, options: MatmulOptions): Tensor | Int8Rows;
export function matmul(g: Graph, x: Rows, w: Matrix, options: MatmulOptions = {}): Tensor | Int8Rows {
  const { activation = 'none', int8 = false } = options;
  const operand = operandOf('matmul', x, w);
  const width = activation === 'silu_gate' ? w.rows / 2 : w.rows;
  check(w, options, [operand.rows, width]);
  expect(!int8 || width % 8 === 0, 'matmul', 'columns of y', 'a multiple of 8, as they are quantised', width);
  const fusible = int8 && quantisable(w, options);
  const problem = problemOf(operand, w, int8);
  const chosen = choose(g, 'matmul', problem, variants, (each) => applies(each, operand, w, fusible));
  if (quantises(chosen)) return multiplyToInt8(g, operand, w, chosen, width);
  const y = multiplyTo(g, operand, w, chosen, width, options);
  return int8 ? quantizeRows(g, y) : y;
}

function multiplyTo(g: Graph, x: Operand, w: Matrix, chosen: Variant, width: number, options: MatmulOptions): Tensor {
  const { bias = null, activation = 'none', residual = null, as = 'f32' } = options;
  const y = g.temp('matmul', [x.rows, width], as, x.like);
  multiply(g, x, w, chosen, {
    constants: {
      out_elem: as,
      ACTIVATION: ACTIVATIONS[activation],
      BIAS: bias !== null,
      RESIDUAL: residual !== null,
    },
    read: { bias, residual },
    write: { y },
    width,
    elementBytes: (width / w.rows) * (BYTES[as] + (residual ? 4 : 0)),
    columnBytes: bias ? 4 : 0,
  });
  return y;
}

function multiplyToInt8(g: Graph, x: Operand, w: Matrix, chosen: Variant, width: number): Int8Rows {
  const y = int8Rows(g, x.rows, width, x.like);
  multiply(g, x, w, chosen, {
    constants: {},
    read: {},
    write: { y: y.quants, y_scales: y.scales },
    width,
    elementBytes: (width / w.rows) * (1 + 4 / BLOCK_COLS),
    columnBytes: 0,
  });
  return y;
}

/** Whether there are kernels that quantise such a result: workgroups make whole blocks of outputs. */
function quantisable({ blocks }: Matrix, { activation, bias, residual }: MatmulOptions): boolean {
  return activation === 'silu_gate' && !bias && !residual && blocks.every(({ row }) => row % (2 * BLOCK_COLS) === 0);
}

function check(w: Matrix, { activation, bias, residual }: MatmulOptions, result: readonly [number, number]): void {
  if (activation === 'silu_gate') {
    const odd = w.blocks.find(({ tensor, row }) => row % 2 || tensor.shape[0]! % 2);
    expect(!odd, 'matmul', w.name, 'blocks of pairs of rows', `${odd?.tensor.shape[0]} rows from row ${odd?.row}`);
  }
  if (bias) expectTensor('matmul', 'bias', bias, 'f32', [w.rows]);
  if (residual) expectTensor('matmul', 'residual', residual, 'f32', result);
}
