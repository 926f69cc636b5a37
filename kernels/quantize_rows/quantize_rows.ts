import {
  ceilDiv,
  expect,
  type Graph,
  linearGrid,
  rowsOf,
  showTensor,
  type Tensor,
  tensorBytes,
  variant,
} from '../../runtime/index.ts';
import { kernelFile } from '../lib/kernel_file.ts';
import { BLOCK_COLS, type Int8Rows } from '../lib/quantized.ts';

const PLAIN = kernelFile('quantize_rows/quantize_rows', 'quantize');
const WG = 64;

/** The variants of this op. */
export const variants = [variant(PLAIN)];

/**
 * Activations f32 or f16 [rows, cols], cols a multiple of 8, as 8-bit integers: quant = round(x / scale), scale = max |x| /
 * 127 over each block of 32 columns, at least 1e-30 / 127 or else all quants are 0; of a block
 * with a value that is not finite the scale is NaN. Throws ShapeError.
 */
export function quantizeRows(g: Graph, x: Tensor): Int8Rows {
  const [rows = 0, cols = 0] = x.shape;
  const isFloat = x.dtype === 'f32' || x.dtype === 'f16';
  const fits = x.shape.length === 2 && rows > 0 && cols > 0 && cols % 8 === 0 && isFloat;
  expect(fits, 'quantize_rows', 'x', 'f32 or f16 [rows, a multiple of 8]', showTensor(x));
  const blocks = ceilDiv(cols, BLOCK_COLS);
  const { quants, scales } = int8Rows(g, rows, cols, x);
  g.dispatch({
    kernel: PLAIN,
    constants: { elem: x.dtype, WG },
    read: { x },
    write: { quants, scales },
    params: { quads: cols / 4, blocks, rows: rowsOf(x) },
    workgroups: (value) => linearGrid(ceilDiv(value(rowsOf(x)) * blocks, WG)),
    cost: (value) => ({
      flops: 4 * value(rowsOf(x)) * cols,
      bytes: (value(rowsOf(x)) / rows) * (tensorBytes(x) + tensorBytes(quants) + tensorBytes(scales)),
    }),
  });
  return { quants, scales, cols };
}

/** Room for quantised rows, as many of them as `like` has. */
export function int8Rows(g: Graph, rows: number, cols: number, like: Tensor): Int8Rows {
  const blocks = ceilDiv(cols, BLOCK_COLS);
  const quants = g.temp('quants', [rows, 8 * blocks], 'u32', like);
  return { quants, scales: g.temp('scales', [rows, blocks], 'f32', like), cols };
}
