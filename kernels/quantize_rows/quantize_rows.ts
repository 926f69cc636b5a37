import {
  ceilDiv,
  expect,
  expectTensor,
  type Graph,
  linearGrid,
  rowsOf,
  showTensor,
  type Tensor,
  tensorBytes,
  type Variant,
  variant,
} from '../../runtime/index.ts';
import { kernelFile } from '../lib/kernel_file.ts';
import { BLOCK_COLS, type Int8Rows } from '../lib/quantized.ts';

const PLAIN = kernelFile('quantize_rows/quantize_rows', 'quantize quantize_block');
const NORMED = kernelFile('quantize_rows/quantize_rows_normed', 'quantize quantize_block norm sum');
const WG = 64;
const NORMED_WG = 32;

/** The variants of this op. */
export const variants = [variant(PLAIN), variant(NORMED)];

/** Whether a variant quantises rows as they are, or `normed` ones. */
export function applies({ kernel }: Variant, normed: boolean): boolean {
  return (kernel === NORMED) === normed;
}

/** An RMSNorm that comes before: weights f32 [cols]. */
export interface NormBefore {
  norm: Tensor;
  eps: number;
}

/**
 * Activations f32 or f16 [rows, cols], cols a multiple of 8, as 8-bit integers: quant = round(x / scale), scale = max |x| /
 * 127 over each block of 32 columns, at least 1e-30 / 127 or else all quants are 0; of a block
 * with a value that is not finite the scale is NaN. With `before` x is f32 and stands for norm_i x_i / sqrt(mean(x^2) + eps).
 * Throws ShapeError.
 */
export function quantizeRows(g: Graph, x: Tensor, before?: NormBefore): Int8Rows {
  const [most = 0, cols = 0] = x.shape;
  const isFloat = x.dtype === 'f32' || (x.dtype === 'f16' && !before);
  const fits = x.shape.length === 2 && most > 0 && cols > 0 && cols % 8 === 0 && isFloat;
  expect(fits, 'quantize_rows', 'x', `f32${before ? '' : ' or f16'} [rows, a multiple of 8]`, showTensor(x));
  if (before) expectTensor('quantize_rows', 'norm', before.norm, 'f32', [cols]);
  const [rows, blocks] = [rowsOf(x), ceilDiv(cols, BLOCK_COLS)];
  const { quants, scales } = int8Rows(g, most, cols, x);
  const moved = tensorBytes(x) + tensorBytes(quants) + tensorBytes(scales);
  g.dispatch({
    kernel: before ? NORMED : PLAIN,
    constants: before ? { WG: NORMED_WG, EPS: before.eps } : { WG, elem: x.dtype },
    read: { x, ...(before && { norm: before.norm }) },
    write: { quants, scales },
    params: { quads: cols / 4, blocks, rows },
    workgroups: (value) => linearGrid(before ? value(rows) : ceilDiv(value(rows) * blocks, WG)),
    cost: (value) => ({ flops: (before ? 8 : 4) * value(rows) * cols, bytes: (value(rows) / most) * moved }),
  });
  return { quants, scales, cols };
}

/** Room for quantised rows, as many of them as `like` has. */
export function int8Rows(g: Graph, rows: number, cols: number, like: Tensor): Int8Rows {
  const blocks = ceilDiv(cols, BLOCK_COLS);
  const quants = g.temp('quants', [rows, 8 * blocks], 'u32', like);
  return { quants, scales: g.temp('scales', [rows, blocks], 'f32', like), cols };
}
