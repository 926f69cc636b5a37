import { ceilDiv, expect, type Graph, roundUp, showTensor, type Tensor, variant } from '../../runtime/index.ts';
import { kernelFile } from '../lib/kernel_file.ts';

const PLAIN = kernelFile('argmax/argmax', 'order largest');

/** The variants of this op. */
export const variants = [variant(PLAIN)];

/**
 * What is known of x f32 [n] or [1, n], in parts of at most `most` elements, a multiple of 4, by default in one: u32 [parts, 3], each
 * the lowest index of the part's largest finite element, how many are not finite, and an integer that orders as that element
 * does, 0 where none is finite. Throws ShapeError.
 */
export function argmax(g: Graph, x: Tensor, most = roundUp(x.shape.at(-1) ?? 0, 4)): Tensor {
  const count = x.shape.at(-1) ?? 0;
  const oneRow = x.shape.length === 1 || (x.shape.length === 2 && x.shape[0] === 1);
  expect(oneRow && count > 0 && x.dtype === 'f32', 'argmax', 'x', 'f32 [n] or [1, n]', showTensor(x));
  expect(most > 0 && most % 4 === 0, 'argmax', 'most', 'a positive multiple of 4', most);
  const parts = ceilDiv(count, most);
  const y = g.temp('argmax', [parts, 3], 'u32');
  g.dispatch({
    kernel: PLAIN,
    read: { x },
    write: { y },
    params: { count, part: most },
    workgroups: [parts],
    cost: { flops: count, bytes: 4 * count },
  });
  return y;
}
