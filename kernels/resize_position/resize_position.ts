import { expect, type Graph, type Kernel, linearGrid, showShape, type Tensor } from '../../runtime/index.ts';

const PLAIN: Kernel = {
  name: 'resize_position/resize_position',
  source: new URL('./resize_position.wgsl', import.meta.url),
};

/** The variants of this op, best first. */
export const variants = [PLAIN];

/**
 * y[r * columns + c] = sum_ij rowWeights[r, i] * columnWeights[c, j] * table[i * grid + j] for table f32 [grid * grid, cols],
 * rowWeights f32 [rows, grid] and columnWeights f32 [columns, grid]; y is f32 [rows * columns, cols]. cols is a multiple of
 * 4; zero weights are skipped. Throws ShapeError.
 */
export function resizePosition(g: Graph, table: Tensor, rowWeights: Tensor, columnWeights: Tensor): Tensor {
  const [rows = 0, grid = 0] = rowWeights.shape;
  const [columns = 0] = columnWeights.shape;
  const cols = table.shape[1] ?? 0;
  expectShape('rowWeights', rowWeights, [rows, grid]);
  expectShape('columnWeights', columnWeights, [columns, grid]);
  expectShape('table', table, [grid * grid, cols]);
  expect(cols % 4 === 0, 'resize_position', 'cols of table', 'a multiple of 4', cols);
  const y = g.temp('resize_position', [rows * columns, cols], 'f32');
  g.dispatch({
    kernel: g.variant('resize_position', variants),
    constants: { COLS: cols },
    read: { table, row_weights: rowWeights, column_weights: columnWeights },
    write: { y },
    params: { rows, columns, grid },
    workgroups: linearGrid(rows * columns),
    // Four weights are not zero where both axes grow; only the device knows about others.
    cost: { flops: 8 * rows * columns * cols, bytes: 4 * (rows * columns + grid * grid) * cols },
  });
  return y;
}

function expectShape(what: string, { dtype, shape }: Tensor, expected: readonly number[]): void {
  expect(
    dtype === 'f32' && showShape(shape) === showShape(expected),
    'resize_position',
    what,
    `f32 ${showShape(expected)}`,
    `${dtype} ${showShape(shape)}`,
  );
}
