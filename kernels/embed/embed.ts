import {
  BYTES,
  ceilDiv,
  type DType,
  expect,
  type Graph,
  type Kernel,
  linearGrid,
  type Matrix,
  rowsOf,
  showTensor,
  type Tensor,
  tensorBytes,
  variant,
  type WeightFormat,
} from '../../runtime/index.ts';
import { checkTable, kernelFor, tableKernels, tableOperands } from '../lib/table.ts';

const KERNELS = tableKernels('embed/embed');
const WG = 64;

/** The kernels of this op: each for its formats of tables. */
export const variants = [variant(KERNELS.plain), variant(KERNELS.quantized)];

/** The kernel that reads tables of a format. */
export function kernelOf(format: WeightFormat): Kernel {
  return kernelFor(KERNELS, format);
}

/** A table of embeddings: its row r belongs to the id firstId + r. */
export interface EmbedTable {
  matrix: Matrix;
  firstId: number;
}

/**
 * y[t] = row ids[t] - firstId of the table that holds it, for ids u32 [tokens] and tables f32, bf16, f16, q4 or q8
 * [*, cols] with cols a multiple of 8; y [tokens, cols] has the dtype `as`, and undefined rows where no table holds the id. Each row block
 * of a table is one dispatch. Throws ShapeError.
 */
export function embed(g: Graph, ids: Tensor, tables: readonly EmbedTable[], as: DType = 'f32'): Tensor {
  const [tokens = 0] = ids.shape;
  const cols = tables[0]?.matrix.cols ?? 0;
  expect(ids.shape.length === 1 && ids.dtype === 'u32', 'embed', 'ids', 'u32 [tokens]', showTensor(ids));
  expect(tables.length > 0, 'embed', 'tables', 'at least one', 0);
  for (const { matrix } of tables) {
    checkTable('embed', matrix);
    expect(matrix.cols === cols, 'embed', `cols of ${matrix.name}`, cols, matrix.cols);
  }
  const y = g.temp('embed', [tokens, cols], as, ids);
  const blocks = tables.flatMap(({ matrix, firstId }) =>
    matrix.blocks.map((block) => ({ ...block, matrix, firstId: firstId + block.row })),
  );
  for (const { tensor, scales, row, matrix, firstId } of blocks) {
    const rows = tensor.shape[0]!;
    const { constants, read } = tableOperands(matrix, { tensor, scales, row });
    g.dispatch({
      kernel: kernelOf(matrix.dtype),
      constants: { elem: as, WG, ...constants },
      read: { ids, ...read },
      write: { y },
      params: { tokens: rowsOf(ids), first_id: firstId, rows },
      workgroups: (value) => linearGrid(ceilDiv((value(rowsOf(ids)) * cols) / 8, WG)),
      // Which rows a block holds is known on the device only; the blocks share the whole.
      cost: (value) => ({
        flops: 0,
        bytes: (value(rowsOf(ids)) * (tensorBytes(tensor) / rows + BYTES[as] * cols)) / blocks.length,
      }),
    });
  }
  return y;
}
