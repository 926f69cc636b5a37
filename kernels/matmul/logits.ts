import { ceilDiv, expect, type Graph, type Matrix, type Tensor } from '../../runtime/index.ts';
import { choose } from '../policy.ts';
import { variants } from './matmul.ts';
import { applies, multiply, operandOf, problemOf, productVariants, type Rows } from './product.ts';

const KERNELS = new Map(
  productVariants('logits', 'order finish_largest').map((variant) => [
    variant.name.replace('logits/', 'matmul/'),
    variant,
  ]),
);

/** One row of logits, and what is known of them by fours. */
export interface Logits {
  /** f32 [1, columns]. */
  logits: Tensor;
  /** u32 [ceil(columns / 4)]: an integer that orders as the largest of four does, 2^32 - 1 where one of them is not finite. */
  largest: Tensor;
}

/**
 * x w^T as matmul() has it, with the same variants, for one row; blocks of w begin at multiples of four rows. Throws ShapeError.
 */
export function logits(g: Graph, x: Rows, w: Matrix): Logits {
  const operand = operandOf('logits', x, w);
  expect(operand.rows === 1, 'logits', 'rows of x', 'one', operand.rows);
  const cut = w.blocks.find(({ row }) => row % 4 > 0);
  expect(!cut, 'logits', w.name, 'blocks that begin at multiples of four rows', `one from row ${cut?.row}`);
  const chosen = choose(g, 'matmul', problemOf(operand, w), variants, (each) => applies(each, operand, w));
  const y = g.temp('logits', [1, w.rows], 'f32');
  const largest = g.temp('largest', [ceilDiv(w.rows, 4)], 'u32');
  multiply(g, operand, w, KERNELS.get(chosen.name)!, {
    constants: {},
    read: {},
    write: { y, largest },
    width: w.rows,
    elementBytes: 5,
    columnBytes: 0,
  });
  return { logits: y, largest };
}
