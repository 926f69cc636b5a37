import {
  BYTES,
  ceilDiv,
  expect,
  type Graph,
  type Kernel,
  linearGrid,
  type Matrix,
  type MatrixBlock,
  tensorBytes,
} from '../../runtime/index.ts';
import { checkQuantized } from '../lib/quantized.ts';

const file = (name: string): URL => new URL(name, import.meta.url);
const PLAIN: Kernel = {
  name: 'dequantize/dequantize',
  source: file('./dequantize.wgsl'),
  lib: [file('../lib/quants.wgsl')],
};
const WG = 64;
/** Blocks start at a multiple of this many rows, so that no pair of rows is cut. */
const BLOCK_ROWS = 64;

/** The variants of this op, best first. */
export const variants = [PLAIN];

/**
 * y[r, i] = quant[r, i] * scale[r, i / group] for a q4 or q8 matrix [rows, cols], cols a multiple of 8: a matrix of
 * temporaries, f16 (without the device feature shader-f16) or f32, in blocks that the device can bind. Throws ShapeError.
 */
export function dequantize(g: Graph, w: Matrix, as: 'f16' | 'f32'): Matrix {
  const { name, cols, dtype } = w;
  expect(dtype === 'q4' || dtype === 'q8', 'dequantize', name, 'q4 or q8', dtype);
  expect(w.rows > 0, 'dequantize', `rows of ${name}`, 'at least one', w.rows);
  expect(cols > 0 && cols % 8 === 0, 'dequantize', `cols of ${name}`, 'a positive multiple of 8', cols);
  checkQuantized(w);
  const fitting = Math.floor(g.device.maxBlockBytes / (cols * BYTES[as]));
  const blockRows = Math.max(1, Math.floor(fitting / BLOCK_ROWS)) * BLOCK_ROWS;
  const blocks: MatrixBlock[] = [];
  for (const { tensor, scales, row } of w.blocks) {
    const all = tensor.shape[0]!;
    for (let start = 0; start < all; start += blockRows) {
      const rows = Math.min(blockRows, all - start);
      const y = g.temp(name, [rows, cols], as);
      g.dispatch({
        kernel: g.variant('dequantize', variants),
        constants: { FOUR_BITS: dtype === 'q4', GROUP: w.group!, COLS: cols, TO_F16: as === 'f16', WG },
        read: { quants: tensor, scales: scales! },
        write: { y },
        params: { rows, start },
        workgroups: linearGrid(ceilDiv((rows * cols) / 8, WG)),
        cost: {
          flops: rows * cols,
          bytes: ((tensorBytes(tensor) + tensorBytes(scales!)) * rows) / all + tensorBytes(y),
        },
      });
      blocks.push({ tensor: y, row: row + start });
    }
  }
  return { name, rows: w.rows, cols, dtype: as, blocks };
}
