import {
  type DType,
  expect,
  type Graph,
  type Kernel,
  linearGrid,
  sameShape,
  showShape,
  type Tensor,
} from '../../runtime/index.ts';

const PLAIN: Kernel = { name: 'rms_norm/rms_norm', source: new URL('./rms_norm.wgsl', import.meta.url) };

/** The variants of this op, best first. */
export const variants = [PLAIN];

/**
 * y[r, i] = w[i] * x[r, i] / sqrt(mean_i(x[r, i]^2) + eps) for x f32 [rows, cols] and w f32 [cols], mean in f32;
 * y has the dtype `as`. Throws ShapeError.
 */
export function rmsNorm(g: Graph, x: Tensor, w: Tensor, eps: number, as: DType = 'f32'): Tensor {
  const [rows = 0, cols = 0] = x.shape;
  expect(
    x.shape.length === 2 && x.dtype === 'f32',
    'rms_norm',
    'x',
    'f32 [rows, cols]',
    `${x.dtype} ${showShape(x.shape)}`,
  );
  expect(sameShape(w.shape, [cols]), 'rms_norm', 'w', showShape([cols]), showShape(w.shape));
  const y = g.temp('rms_norm', x.shape, as);
  g.dispatch({
    kernel: g.variant('rms_norm', variants),
    constants: { elem: as, COLS: cols, EPS: eps },
    read: { x, w },
    write: { y },
    params: { rows },
    workgroups: linearGrid(rows),
    cost: { flops: 4 * rows * cols, bytes: 8 * rows * cols },
  });
  return y;
}
