import { expect, type Graph, type Kernel, showShape, type Tensor, variant } from '../../runtime/index.ts';

const PLAIN: Kernel = { name: 'argmax/argmax', source: new URL('./argmax.wgsl', import.meta.url) };

/** The variants of this op. */
export const variants = [variant(PLAIN)];

/**
 * A choice, u32 [2], from x f32 [n] or [1, n]: the lowest index of the largest finite element, 0 where there is none, and
 * how many elements are not finite. Throws ShapeError.
 */
export function argmax(g: Graph, x: Tensor): Tensor {
  const count = x.shape.at(-1) ?? 0;
  const oneRow = x.shape.length === 1 || (x.shape.length === 2 && x.shape[0] === 1);
  expect(
    oneRow && count > 0 && x.dtype === 'f32',
    'argmax',
    'x',
    'f32 [n] or [1, n]',
    `${x.dtype} ${showShape(x.shape)}`,
  );
  const y = g.temp('argmax', [2], 'u32');
  g.dispatch({
    kernel: PLAIN,
    read: { x },
    write: { y },
    params: { count },
    workgroups: [1],
    cost: { flops: count, bytes: 4 * count },
  });
  return y;
}
