import { expect, type Graph, type Kernel, sameShape, showShape, type Tensor, variant } from '../../runtime/index.ts';

const PLAIN: Kernel = { name: 'advance/advance', source: new URL('./advance.wgsl', import.meta.url) };

/** The variants of this op. */
export const variants = [variant(PLAIN)];

/** The state of a decode loop, all u32: history, token, step and places are device tensors that advance() updates. */
export interface AdvanceState {
  /** [2], the token that was chosen after this step, and how many of its logits were not finite. */
  choice: Tensor;
  /** [capacity], tokens to go on with instead of the chosen ones, and [1], how many of them there are. */
  forced: Tensor;
  forcedCount: Tensor;
  /** [capacity, 2], the choice of every step. */
  history: Tensor;
  /** [1] each: the token to go on with, and the number of the step. */
  token: Tensor;
  step: Tensor;
  /** [1, 2], of which the first is the token's position. */
  places: Tensor;
}

/**
 * The tail of the decode loop, in place, with s = step: history[s] = choice, token = forced[s] where s < forcedCount and
 * choice[0] elsewhere, step = s + 1, places[0, 0] = places[0, 0] + 1. From s = capacity on nothing is kept or forced. Throws ShapeError.
 */
export function advance(g: Graph, o: AdvanceState): void {
  const capacity = o.history.shape[0] ?? 0;
  for (const [what, { dtype, shape }] of Object.entries(o)) {
    const expected = { choice: [2], forced: [capacity], history: [capacity, 2], places: [1, 2] }[what] ?? [1];
    const got = `${dtype} ${showShape(shape)}`;
    expect(dtype === 'u32' && sameShape(shape, expected), 'advance', what, `u32 ${showShape(expected)}`, got);
  }
  const { choice, forced, forcedCount, history, token, step, places } = o;
  g.dispatch({
    kernel: PLAIN,
    read: { choice, forced, forced_count: forcedCount },
    write: { history, token, step, places },
    params: { capacity },
    workgroups: [1],
    cost: { flops: 2, bytes: 48 },
  });
}
