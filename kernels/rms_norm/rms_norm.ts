import {
  type Amount,
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
  type Variant,
  variant,
} from '../../runtime/index.ts';
import { kernelFile } from '../lib/kernel_file.ts';
import { choose, rowsClass } from '../policy.ts';

const PLAIN = kernelFile('rms_norm/rms_norm', 'sum');
const SUBGROUP = kernelFile('rms_norm/rms_norm_subgroup', 'sum_subgroup', { needs: ['subgroups'] });

/** The variants of this op. */
export const variants = [variant(SUBGROUP), variant(SUBGROUP, { WG: 256 }), variant(PLAIN)];

/** Whether a variant takes rows of so many columns. */
export function applies({ kernel }: Variant, cols: number): boolean {
  return kernel !== SUBGROUP || cols % 4 === 0;
}

/**
 * y[r, i] = w[i] * x[r, i] / sqrt(mean_i(x[r, i]^2) + eps) for x f32 [rows, cols] and w f32 [cols], mean in f32; only
 * `row` of x where it is given, as y [1, cols]; y has the dtype `as`. Throws ShapeError.
 */
export function rmsNorm(g: Graph, x: Tensor, w: Tensor, eps: number, o: { as?: DType; row?: Amount } = {}): Tensor {
  const { as = 'f32', row } = o;
  const [most = 0, cols = 0] = x.shape;
  const is2d = x.shape.length === 2 && x.dtype === 'f32';
  expect(is2d && most > 0, 'rms_norm', 'x', 'f32 [at least 1, cols]', showTensor(x));
  if (row !== undefined) expect(atMost(row) < most, 'rms_norm', 'row', `less than ${most}`, atMost(row));
  const rows = row === undefined ? rowsOf(x) : 1;
  expect(sameShape(w.shape, [cols]), 'rms_norm', 'w', showShape([cols]), showShape(w.shape));
  const y = row === undefined ? g.temp('rms_norm', [most, cols], as, x) : g.temp('rms_norm', [1, cols], as);
  const problem = `${rowsClass(atMost(rows))} ${cols < 1024 ? 'narrow' : 'wide'} ${as}`;
  const { kernel, constants } = choose(g, 'rms_norm', problem, variants, (each) => applies(each, cols));
  g.dispatch({
    kernel,
    constants: { elem: as, COLS: cols, EPS: eps, ...constants },
    read: { x, w },
    write: { y },
    params: { rows, start: row ?? 0 },
    workgroups: (value) => linearGrid(value(rows)),
    cost: (value) => ({ flops: 4 * value(rows) * cols, bytes: (4 + BYTES[as]) * value(rows) * cols }),
  });
  return y;
}
