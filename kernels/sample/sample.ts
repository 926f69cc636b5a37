import { ceilDiv, expect, expectTensor, type Graph, showTensor, type Tensor, variant } from '../../runtime/index.ts';
import { kernelFile } from '../lib/kernel_file.ts';
import { SETTINGS } from './settings.ts';

const WEIGHTS = kernelFile('sample/sample_weights', 'fixed_point tally order largest');
const DRAW = kernelFile('sample/sample_draw', 'fixed_point tally order');
/** Lanes of a workgroup, each with a bin. */
const WG = 256;
/** Elements of a lane of WEIGHTS. */
const EACH = 8;
const MAX_COUNT = 2 ** 17; // as many weights of 2^46 sum to 2^63

/** The variants of this op: one, of which only the last kernel goes by the op's name. */
export const variants = [variant(DRAW)];

/** What to draw by. */
export interface SampleOptions {
  /** [parts, 3], of argmax(). */
  largest: Tensor;
  /** [6], of settingsTensor(). */
  settings: Tensor;
  /** [4], of randomWords(). */
  random: Tensor;
}

/**
 * A choice, u32 [2], from logits f32 [n] or [1, n], n <= 131072: the token that chooseToken() draws, any one unless all are
 * finite, and how many are not. Temperature, top-k and top-p of the settings, then the first in
 * index order whose cumulative weight exceeds u of the sum. Integers only, hence the same on every adapter: weights to 2^-46 of
 * the largest, nothing sorted. Throws ShapeError.
 */
export function sample(g: Graph, logits: Tensor, { largest, settings, random }: SampleOptions): Tensor {
  const count = expectRow(logits);
  const parts = largest.shape[0] ?? 0;
  expectTensor('sample', 'largest', largest, 'u32', [parts, 3]);
  expectTensor('sample', 'settings', settings, 'u32', [SETTINGS]);
  expectTensor('sample', 'random', random, 'u32', [4]);
  const groups = ceilDiv(count, WG * EACH);
  const weights = g.temp('weights', [count, 2], 'u32');
  const bins = g.temp('bins', [groups, WG, 4], 'u32');
  const y = g.temp('sample', [2], 'u32');
  g.dispatch({
    kernel: WEIGHTS,
    constants: { WG, EACH },
    read: { logits, largest, settings },
    write: { weights, bins },
    params: { count, parts },
    workgroups: [groups],
    cost: { flops: 400 * count, bytes: 12 * count },
  });
  g.dispatch({
    kernel: DRAW,
    constants: { WG },
    read: { logits, weights, bins, settings, random, largest },
    write: { y },
    params: { count, groups, parts },
    workgroups: [1],
    cost: { flops: count, bytes: 4 * count },
  });
  return y;
}

function expectRow(logits: Tensor): number {
  const { dtype, shape } = logits;
  const count = shape.at(-1) ?? 0;
  const oneRow = shape.length === 1 || (shape.length === 2 && shape[0] === 1);
  const fits = oneRow && count > 0 && count <= MAX_COUNT && dtype === 'f32';
  expect(fits, 'sample', 'logits', `f32 [n] or [1, n], n <= ${MAX_COUNT}`, showTensor(logits));
  return count;
}
