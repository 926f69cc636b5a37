import {
  BYTES,
  ceilDiv,
  type DType,
  expect,
  type Graph,
  type Kernel,
  linearGrid,
  type Matrix,
  showShape,
  type Tensor,
} from '../../runtime/index.ts';

const PLAIN: Kernel = { name: 'embed/embed', source: new URL('./embed.wgsl', import.meta.url) };
const WG = 64;

/** The variants of this op, best first. */
export const variants = [PLAIN];

/** A table of embeddings: its row r belongs to the id firstId + r. */
export interface EmbedTable {
  matrix: Matrix;
  firstId: number;
}

/**
 * y[t] = row ids[t] - firstId of the table that holds it, for ids u32 [tokens] and tables f32, bf16 or f16 [*, cols] with
 * cols a multiple of 8; y [tokens, cols] has the dtype `as`, and undefined rows where no table holds the id. Each row block
 * of a table is one dispatch. Throws ShapeError.
 */
export function embed(g: Graph, ids: Tensor, tables: readonly EmbedTable[], as: DType = 'f32'): Tensor {
  const [tokens = 0] = ids.shape;
  const cols = tables[0]?.matrix.cols ?? 0;
  const got = `${ids.dtype} ${showShape(ids.shape)}`;
  expect(ids.shape.length === 1 && ids.dtype === 'u32', 'embed', 'ids', 'u32 [tokens]', got);
  expect(cols > 0 && cols % 8 === 0, 'embed', 'cols', 'a positive multiple of 8', cols);
  for (const { matrix } of tables) {
    const { dtype, name } = matrix;
    expect(['f32', 'bf16', 'f16'].includes(dtype), 'embed', `dtype of ${name}`, 'f32, bf16 or f16', dtype);
    expect(matrix.cols === cols, 'embed', `cols of ${name}`, cols, matrix.cols);
  }
  const y = g.temp('embed', [tokens, cols], as);
  const blocks = tables.flatMap(({ matrix, firstId }) =>
    matrix.blocks.map(({ tensor, row }) => ({ table: tensor, firstId: firstId + row })),
  );
  for (const { table, firstId } of blocks) {
    g.dispatch({
      kernel: g.variant('embed', variants),
      constants: {
        elem: as,
        COLS: cols,
        TABLE_F32: table.dtype === 'f32',
        TABLE_F16: table.dtype === 'f16',
        WG,
      },
      read: { ids, table },
      write: { y },
      params: { tokens, first_id: firstId, rows: table.shape[0]! },
      workgroups: linearGrid(ceilDiv((tokens * cols) / 8, WG)),
      // Which rows a block holds is known on the device only; the blocks share the whole.
      cost: { flops: 0, bytes: ((BYTES[table.dtype] + BYTES[as]) * tokens * cols) / blocks.length },
    });
  }
  return y;
}
