import {
  BYTES,
  type DType,
  expect,
  type Graph,
  type Matrix,
  sameShape,
  showShape,
  type Tensor,
} from '../../runtime/index.ts';
import type { Int8Rows } from '../lib/quantized.ts';
import { choose } from '../policy.ts';
import { applies, multiply, operandOf, problemOf, productVariants } from './product.ts';

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

/** The variants of this op. */
export const variants = productVariants('matmul', 'finish');

/**
 * y = act(x w^T + bias) + residual for x f32 or f16 [rows, inner] and w f32, bf16, f16, q4 or q8 [outs, inner], or for x
 * of quantizeRows and w q4 or q8; sums in f32; y [rows, outs] has the dtype `as`. With silu_gate the rows of w are gate_0,
 * up_0, gate_1, up_1, ... and y[r, i] = up_i silu(gate_i), [rows, outs / 2]. inner is a multiple of 8. Throws ShapeError.
 */
export function matmul(g: Graph, x: Tensor | Int8Rows, w: Matrix, options: MatmulOptions = {}): Tensor {
  const { bias = null, activation = 'none', residual = null, as = 'f32' } = options;
  const operand = operandOf('matmul', x, w);
  const { rows, dtype, like } = operand;
  const width = activation === 'silu_gate' ? w.rows / 2 : w.rows;
  check(w, options, [rows, width]);
  const y = g.temp('matmul', [rows, width], as, like);
  const chosen = choose(g, 'matmul', problemOf(operand, w), variants, (each) => applies(each, rows, dtype, w));
  multiply(g, operand, w, chosen, {
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

const shown = ({ dtype, shape }: Tensor) => `${dtype} ${showShape(shape)}`;

function check(w: Matrix, { activation, bias, residual }: MatmulOptions, result: readonly [number, number]): void {
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
    !residual || (residual.dtype === 'f32' && sameShape(residual.shape, result)),
    'matmul',
    'residual',
    `f32 ${showShape(result)}`,
    residual && shown(residual),
  );
}
