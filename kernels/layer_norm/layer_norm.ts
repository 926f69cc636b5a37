import {
  atMost,
  BYTES,
  type DType,
  expect,
  type Graph,
  linearGrid,
  rowsOf,
  sameShape,
  showShape,
  showTensor,
  type Tensor,
  variant,
} from '../../runtime/index.ts';
import { kernelFile } from '../lib/kernel_file.ts';
import { choose, rowsClass } from '../policy.ts';

const PLAIN = kernelFile('layer_norm/layer_norm', 'sum');
const SUBGROUP = kernelFile('layer_norm/layer_norm_subgroup', 'sum_subgroup', { needs: ['subgroups'] });

/** The variants of this op. */
export const variants = [variant(SUBGROUP), variant(PLAIN)];

/**
 * y[r, i] = w[i] * (x[r, i] - mean) / sqrt(var + eps) + b[i] for x f32 [rows, cols], w and b f32 [cols], with mean and
 * biased variance of each row in f32; cols is a multiple of 4, y has the dtype `as`. Throws ShapeError.
 */
export function layerNorm(g: Graph, x: Tensor, w: Tensor, b: Tensor, eps: number, as: DType = 'f32'): Tensor {
  const [, cols = 0] = x.shape;
  const rows = rowsOf(x);
  expect(
    x.shape.length === 2 && x.dtype === 'f32' && cols % 4 === 0,
    'layer_norm',
    'x',
    'f32 [rows, a multiple of 4]',
    showTensor(x),
  );
  expect(sameShape(w.shape, [cols]), 'layer_norm', 'w', showShape([cols]), showShape(w.shape));
  expect(sameShape(b.shape, [cols]), 'layer_norm', 'b', showShape([cols]), showShape(b.shape));
  const y = g.temp('layer_norm', x.shape, as, x);
  const problem = `${rowsClass(atMost(rows))} ${cols < 1024 ? 'narrow' : 'wide'} ${as}`;
  const { kernel, constants } = choose(g, 'layer_norm', problem, variants);
  g.dispatch({
    kernel,
    constants: { elem: as, COLS: cols, EPS: eps, ...constants },
    read: { x, w, b },
    write: { y },
    params: { rows },
    workgroups: (value) => linearGrid(value(rows)),
    cost: (value) => ({ flops: 9 * value(rows) * cols, bytes: (4 + BYTES[as]) * value(rows) * cols }),
  });
  return y;
}
