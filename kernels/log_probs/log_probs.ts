import {
  type Amount,
  atMost,
  expect,
  expectTensor,
  type Graph,
  showTensor,
  type Tensor,
  variant,
} from '../../runtime/index.ts';
import { kernelFile } from '../lib/kernel_file.ts';

const PLAIN = kernelFile('log_probs/log_probs');

/** The variants of this op. */
export const variants = [variant(PLAIN)];

/**
 * Log probabilities log softmax(x) of x f32 [n] or [1, n], all finite: of a chosen index, the first of `choice` u32 [2], and of the `top`
 * likeliest, the lowest of equals first, at most n. ids u32 and values f32 are [1 + the most that top may be], the chosen one
 * first. Throws ShapeError.
 */
export function logProbs(g: Graph, x: Tensor, choice: Tensor, top: Amount): { ids: Tensor; values: Tensor } {
  const count = x.shape.at(-1) ?? 0;
  const oneRow = x.shape.length === 1 || (x.shape.length === 2 && x.shape[0] === 1);
  expect(oneRow && count > 0 && x.dtype === 'f32', 'log_probs', 'x', 'f32 [n] or [1, n]', showTensor(x));
  expectTensor('log_probs', 'choice', choice, 'u32', [2]);
  expect(atMost(top) <= count, 'log_probs', 'top', `at most ${count}`, atMost(top));
  const ids = g.temp('ids', [1 + atMost(top)], 'u32');
  const values = g.temp('values', [1 + atMost(top)], 'f32');
  g.dispatch({
    kernel: PLAIN,
    read: { x, choice },
    write: { ids, values },
    params: { count, top },
    workgroups: [1],
    cost: (value) => ({ flops: (3 + value(top)) * count, bytes: 4 * (2 + value(top)) * count }),
  });
  return { ids, values };
}
