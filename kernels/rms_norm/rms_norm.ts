import {
  BYTES,
  type DType,
  expect,
  type Graph,
  type Kernel,
  linearGrid,
  sameShape,
  showShape,
  type Tensor,
} from '../../runtime/index.ts';

const file = (name: string): URL => new URL(name, import.meta.url);
const PLAIN: Kernel = {
  name: 'rms_norm/rms_norm',
  source: file('./rms_norm.wgsl'),
  lib: [file('../lib/sum.wgsl')],
};
const SUBGROUP: Kernel = {
  name: 'rms_norm/rms_norm_subgroup',
  source: file('./rms_norm_subgroup.wgsl'),
  lib: [file('../lib/sum_subgroup.wgsl')],
  needs: ['subgroups'],
};

/** The variants of this op, best first; the first takes columns in fours. */
export const variants = [SUBGROUP, PLAIN];

/**
 * y[r, i] = w[i] * x[r, i] / sqrt(mean_i(x[r, i]^2) + eps) for x f32 [rows, cols] and w f32 [cols], mean in f32; only
 * the rows of x from `from` on where it is given; y has the dtype `as`. Throws ShapeError.
 */
export function rmsNorm(g: Graph, x: Tensor, w: Tensor, eps: number, o: { as?: DType; from?: number } = {}): Tensor {
  const { as = 'f32', from = 0 } = o;
  const [all = 0, cols = 0] = x.shape;
  const rows = all - from;
  const is2d = x.shape.length === 2 && x.dtype === 'f32';
  expect(is2d && rows > 0, 'rms_norm', 'x', `f32 [more than ${from}, cols]`, `${x.dtype} ${showShape(x.shape)}`);
  expect(sameShape(w.shape, [cols]), 'rms_norm', 'w', showShape([cols]), showShape(w.shape));
  const y = g.temp('rms_norm', [rows, cols], as);
  const kernel = g.variant('rms_norm', cols % 4 === 0 ? variants : [PLAIN]);
  const longAndFew = kernel === SUBGROUP && cols >= 1024 && rows < 64;
  g.dispatch({
    kernel,
    constants: { elem: as, COLS: cols, EPS: eps, WG: longAndFew ? 256 : 64 },
    read: { x, w },
    write: { y },
    params: { rows, start: from },
    workgroups: linearGrid(rows),
    cost: { flops: 4 * rows * cols, bytes: (4 + BYTES[as]) * rows * cols },
  });
  return y;
}
