import { expect, expectTensor, type Graph, linearGrid, rowsOf, type Tensor, variant } from '../../runtime/index.ts';
import { kernelFile } from '../lib/kernel_file.ts';

const PLAIN = kernelFile('resize_position/resize_position');

/** The variants of this op. */
export const variants = [variant(PLAIN)];

/**
 * y[t] = sum_ij weights[cells[t, 0], i] * weights[cells[t, 1], j] * table[i * grid + j] for table f32 [grid * grid, cols], weights
 * f32 [lines, grid] and cells u32 [tokens, 2], the lines of a patch's row and column; y is f32 [tokens, cols]. cols is a
 * multiple of 4; zero weights are skipped. Throws ShapeError.
 */
export function resizePosition(g: Graph, table: Tensor, weights: Tensor, cells: Tensor): Tensor {
  const [lines = 0, grid = 0] = weights.shape;
  const [tokens = 0] = cells.shape;
  const cols = table.shape[1] ?? 0;
  const rows = rowsOf(cells);
  expectTensor('resize_position', 'weights', weights, 'f32', [lines, grid]);
  expectTensor('resize_position', 'cells', cells, 'u32', [tokens, 2]);
  expectTensor('resize_position', 'table', table, 'f32', [grid * grid, cols]);
  expect(cols % 4 === 0, 'resize_position', 'cols of table', 'a multiple of 4', cols);
  const y = g.temp('resize_position', [tokens, cols], 'f32', cells);
  g.dispatch({
    kernel: PLAIN,
    constants: { COLS: cols },
    read: { table, weights, cells },
    write: { y },
    params: { tokens: rows, grid },
    workgroups: (value) => linearGrid(value(rows)),
    // Four weights are not zero where both axes grow; only the device knows about others.
    cost: (value) => ({ flops: 8 * value(rows) * cols, bytes: 4 * (value(rows) + grid * grid) * cols }),
  });
  return y;
}
