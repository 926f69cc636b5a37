import {
  BYTES,
  type Constants,
  ceilDiv,
  type DType,
  expect,
  type Graph,
  type Kernel,
  linearGrid,
  type Matrix,
  rowsOf,
  showShape,
  type Tensor,
  tensorBytes,
  variant,
  type WeightFormat,
} from '../../runtime/index.ts';
import { checkQuantized, FORMAT_CODES, isQuantized } from '../lib/quantized.ts';

const file = (name: string): URL => new URL(name, import.meta.url);
const PLAIN: Kernel = { name: 'embed/embed', source: file('./embed.wgsl') };
const QUANTIZED: Kernel = {
  name: 'embed/embed_quantized',
  source: file('./embed_quantized.wgsl'),
  lib: [file('../lib/quants.wgsl')],
};
const WG = 64;

/** The kernels of this op: each for its formats of tables. */
export const variants = [variant(PLAIN), variant(QUANTIZED)];

/** The kernel that reads tables of a format. */
export function kernelOf(format: WeightFormat): Kernel {
  return isQuantized(format) ? QUANTIZED : PLAIN;
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
  const got = `${ids.dtype} ${showShape(ids.shape)}`;
  expect(ids.shape.length === 1 && ids.dtype === 'u32', 'embed', 'ids', 'u32 [tokens]', got);
  expect(cols > 0 && cols % 8 === 0, 'embed', 'cols', 'a positive multiple of 8', cols);
  for (const { matrix } of tables) {
    const { dtype, name } = matrix;
    const known = FORMAT_CODES[dtype] !== undefined;
    expect(known, 'embed', `format of ${name}`, 'f32, bf16, f16, q4 or q8', dtype);
    checkQuantized(matrix);
    expect(matrix.cols === cols, 'embed', `cols of ${name}`, cols, matrix.cols);
  }
  const y = g.temp('embed', [tokens, cols], as, ids);
  const blocks = tables.flatMap(({ matrix, firstId }) =>
    matrix.blocks.map((block) => ({ ...block, matrix, firstId: firstId + block.row })),
  );
  for (const { tensor, scales, matrix, firstId } of blocks) {
    const { dtype, group } = matrix;
    const rows = tensor.shape[0]!;
    const own: Constants = scales
      ? { FOUR_BITS: dtype === 'q4', GROUP: group! }
      : { TABLE_F32: dtype === 'f32', TABLE_F16: dtype === 'f16' };
    g.dispatch({
      kernel: kernelOf(dtype),
      constants: { elem: as, COLS: cols, WG, ...own },
      read: { ids, ...(scales ? { quants: tensor, scales } : { table: tensor }) },
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
