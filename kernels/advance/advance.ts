import {
  canRun,
  ceilDiv,
  expectTensor,
  type Graph,
  type Kernel,
  type Matrix,
  type Tensor,
  tensorBytes,
  variant,
  type WeightFormat,
} from '../../runtime/index.ts';
import { embed } from '../embed/embed.ts';
import { kernelFile } from '../lib/kernel_file.ts';
import { checkTable, kernelFor, tableKernels, tableOperands } from '../lib/table.ts';
import type { Logits } from '../matmul/logits.ts';

const LIBS = 'fixed_point philox order largest';
const KERNELS = tableKernels('advance/advance', LIBS);
/** Without a table: 8 storage buffers, which every device binds. */
const APART = kernelFile('advance/advance', `${LIBS} no_table`, { name: 'advance/advance_apart' });

/** The kernels of this op: each for its formats of tables, and one that leaves the embedding to embed(). */
export const variants = [variant(KERNELS.plain), variant(KERNELS.quantized), variant(APART)];

/** The kernel that reads tables of a format, or the one that reads none where a table has several blocks. */
export function kernelOf(format: WeightFormat, blocks: number): Kernel {
  return blocks === 1 ? kernelFor(KERNELS, format) : APART;
}

/** The state of a decode loop, all u32: history, token, random and places are device tensors that advance() updates. */
export interface AdvanceState {
  /** [1 + capacity], a number of tokens, and behind it these, to go on with instead of the chosen ones. */
  forced: Tensor;
  /** [capacity, 2], the choice of every step, and how many of its logits were not finite. */
  history: Tensor;
  /** [1], the token to go on with. */
  token: Tensor;
  /** [4], of randomWords(): the number that the step draws by, the seed, and the number of the step. */
  random: Tensor;
  /** [1, 2], of which the first is the token's position. */
  places: Tensor;
}

/**
 * The tail of the decode loop, with s the step: history[s] = the choice and its strays, token = forced[1 + s] where s <
 * forced[0] and the choice elsewhere, places[0, 0] = places[0, 0] + 1, random = that of step s + 1, in place; returns the row of
 * the token of a table of embeddings, f32 [1, cols]. From s = capacity on nothing is kept or forced. `from` is a choice u32 [2] of
 * sample(), or what logits() gives, of whose finite elements the largest is chosen, the lowest of equals, and those that are not
 * finite are strays. Where the table has one block, and the device binds 9 buffers (10 for a quantised table), all is one dispatch.
 * Throws ShapeError.
 */
export function advance(g: Graph, from: Tensor | Logits, o: AdvanceState, table: Matrix): Tensor {
  const { chosen, largest } =
    'logits' in from ? { chosen: from.logits, largest: from.largest } : { chosen: from, largest: null };
  const count = largest ? (chosen.shape[1] ?? 0) : 2;
  const capacity = o.history.shape[0] ?? 0;
  if (largest) {
    expectTensor('advance', 'logits', chosen, 'f32', [1, count]);
    expectTensor('advance', 'largest', largest, 'u32', [ceilDiv(count, 4)]);
  } else expectTensor('advance', 'chosen', chosen, 'u32', [2]);
  const shapes = { forced: [1 + capacity], history: [capacity, 2], token: [1], random: [4], places: [1, 2] };
  for (const [what, shape] of Object.entries(shapes))
    expectTensor('advance', what, o[what as keyof AdvanceState], 'u32', shape);
  checkTable('advance', table);
  const { forced, history, token, random, places } = o;
  const best = kernelOf(table.dtype, table.blocks.length);
  const kernel = canRun(g.device, best) ? best : APART;
  const block = table.blocks[0]!;
  const apart = kernel === APART;
  const { constants, read } = apart ? { constants: { COLS: table.cols }, read: {} } : tableOperands(table, block);
  const y = g.temp('embed', [1, table.cols], 'f32');
  g.dispatch({
    kernel,
    constants: { ...constants, CHOSEN: largest === null },
    read: { chosen, largest, forced, ...read },
    write: { history, token, random, places, y },
    params: { count, capacity, rows: apart ? 0 : block.tensor.shape[0]! },
    workgroups: [1],
    cost: { flops: count / 4, bytes: tensorBytes(largest ?? chosen) + 4 * table.cols },
  });
  return apart ? embed(g, token, [{ matrix: table, firstId: 0 }]) : y;
}
