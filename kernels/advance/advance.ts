import {
  expect,
  type Graph,
  type Kernel,
  type Matrix,
  sameShape,
  showShape,
  type Tensor,
  tensorBytes,
  variant,
  type WeightFormat,
} from '../../runtime/index.ts';
import { embed } from '../embed/embed.ts';
import { checkTable, kernelFor, tableKernels, tableOperands } from '../lib/table.ts';

const LIBS = ['fixed_point', 'philox', 'largest'];
const KERNELS = tableKernels('advance/advance', new URL('./advance.wgsl', import.meta.url), ...LIBS);

/** The kernels of this op: each for its formats of tables. */
export const variants = [variant(KERNELS.plain), variant(KERNELS.quantized)];

/** The kernel that reads tables of a format. */
export function kernelOf(format: WeightFormat): Kernel {
  return kernelFor(KERNELS, format);
}

/** The state of a decode loop, all u32: history, token, random and places are device tensors that advance() updates. */
export interface AdvanceState {
  /** [capacity], tokens to go on with instead of the chosen ones, and [1], how many of them there are. */
  forced: Tensor;
  forcedCount: Tensor;
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
 * The tail of the decode loop, with s the step: history[s] = the choice and its strays, token = forced[s] where s <
 * forcedCount and the choice elsewhere, places[0, 0] = places[0, 0] + 1, random = that of step s + 1, in place; returns the row of
 * the token of a table of embeddings, f32 [1, cols]. From s = capacity on nothing is kept or forced. `chosen` is a choice u32 [2] of
 * sample(), or logits f32 [n] or [1, n], of whose finite elements the largest is chosen, the lowest of equals, and those that are not
 * finite are strays. Where the table has one block all is one dispatch. Throws ShapeError.
 */
export function advance(g: Graph, chosen: Tensor, o: AdvanceState, table: Matrix): Tensor {
  const drawn = chosen.dtype === 'u32';
  const count = drawn ? 2 : (chosen.shape.at(-1) ?? 0);
  const capacity = o.history.shape[0] ?? 0;
  const oneRow = chosen.shape.length === 1 || (chosen.shape.length === 2 && chosen.shape[0] === 1 && !drawn);
  const fits = oneRow && count > 0 && chosen.shape.at(-1) === count && (drawn || chosen.dtype === 'f32');
  expect(fits, 'advance', 'chosen', 'u32 [2], f32 [n] or f32 [1, n]', `${chosen.dtype} ${showShape(chosen.shape)}`);
  for (const [what, { dtype, shape }] of Object.entries(o)) {
    const expected = { forced: [capacity], history: [capacity, 2], places: [1, 2], random: [4] }[what] ?? [1];
    const got = `${dtype} ${showShape(shape)}`;
    expect(dtype === 'u32' && sameShape(shape, expected), 'advance', what, `u32 ${showShape(expected)}`, got);
  }
  checkTable('advance', table);
  const { forced, forcedCount, history, token, random, places } = o;
  const [block] = table.blocks;
  const whole = table.blocks.length === 1;
  const { constants, read } = tableOperands(table, block!);
  const y = g.temp('embed', [1, table.cols], 'f32');
  g.dispatch({
    kernel: kernelFor(KERNELS, table.dtype),
    constants: { ...constants, CHOSEN: drawn, EMBED: whole },
    read: { chosen, forced, forced_count: forcedCount, ...read },
    write: { history, token, random, places, y },
    params: { count, capacity, rows: block!.tensor.shape[0]! },
    workgroups: [1],
    cost: { flops: drawn ? 0 : count, bytes: tensorBytes(chosen) + 4 * table.cols },
  });
  return whole ? y : embed(g, token, [{ matrix: table, firstId: 0 }]);
}
