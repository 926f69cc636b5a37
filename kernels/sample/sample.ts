import {
  ceilDiv,
  expect,
  type Graph,
  type Kernel,
  sameShape,
  showShape,
  type Tensor,
  variant,
} from '../../runtime/index.ts';
import { SETTINGS } from './settings.ts';

const LIB = [new URL('../lib/fixed_point.wgsl', import.meta.url)];
const file = (name: string): Kernel => ({
  name: `sample/${name}`,
  source: new URL(`./${name}.wgsl`, import.meta.url),
  lib: LIB,
});
const WEIGHTS = file('sample_weights');
const HISTOGRAM = file('sample_histogram');
const NARROW = file('sample_narrow');
const SUMS = file('sample_sums');
const DRAW = file('sample_draw');
const UNIFORM = file('uniform');
const CHUNK = 256;
const PASS = 4096;
const MAX_COUNT = 2 ** 17; // as many weights of 2^46 sum to 2^63

/** The variants of this op: one, of which only the last kernel goes by the op's name. */
export const variants = [variant(DRAW)];

/** What to draw by. */
export interface SampleOptions {
  /** [2], index of a largest logit and how many are not finite: argmax(). */
  largest: Tensor;
  /** [7], of settingsTensor(). */
  settings: Tensor;
  /** [2], of uniform(): floor(2^64 u), its low and its high word. */
  u: Tensor;
}

/**
 * A choice, u32 [2], from logits f32 [n] or [1, n], n <= 131072: the token that chooseToken() draws, any one unless all are
 * finite, and how many are not. Temperature, top-k and top-p of the settings, then the first in index order whose cumulative weight exceeds u of the sum. Integers only, hence the
 * same on every adapter: weights to 2^-46 of the largest, nothing sorted. Throws ShapeError.
 */
export function sample(g: Graph, logits: Tensor, { largest, settings, u }: SampleOptions): Tensor {
  const count = expectRow(logits);
  expectWords('largest', largest, 2);
  expectWords('settings', settings, SETTINGS);
  expectWords('u', u, 2);
  const chunks = ceilDiv(count, CHUNK);
  const weights = g.temp('weights', [count, 2], 'u32');
  const bins = g.temp('bins', [3 * CHUNK], 'u32');
  const state = g.temp('state', [6, 2], 'u32');
  const sums = g.temp('sums', [chunks, 4], 'u32');
  const y = g.temp('sample', [2], 'u32');
  g.dispatch({
    kernel: WEIGHTS,
    read: { logits, largest, settings },
    write: { weights, bins, state },
    params: { count },
    workgroups: [chunks],
    cost: { flops: 400 * count, bytes: 12 * count },
  });
  for (const by_weight of [0, 1]) {
    for (const shift of [24, 16, 8, 0]) {
      g.dispatch({
        kernel: HISTOGRAM,
        read: { logits, weights, state },
        write: { bins },
        params: { count, shift, known: 2 ** 32 - 2 ** (shift + 8) },
        workgroups: [ceilDiv(count, PASS)],
        cost: { flops: count, bytes: 4 * count },
      });
      g.dispatch({
        kernel: NARROW,
        read: { settings },
        write: { bins, state },
        params: { count, shift, by_weight },
        workgroups: [1],
        cost: { flops: 0, bytes: 24 * CHUNK },
      });
    }
  }
  g.dispatch({
    kernel: SUMS,
    read: { logits, weights, state },
    write: { sums },
    params: { count },
    workgroups: [chunks],
    cost: { flops: count, bytes: 4 * count },
  });
  g.dispatch({
    kernel: DRAW,
    read: { logits, weights, state, sums, uniform_number: u, largest },
    write: { y },
    params: { count, chunks },
    workgroups: [1],
    cost: { flops: chunks, bytes: 16 * chunks },
  });
  return y;
}

/** The random number of a step u32 [1] as u32 [2], floor(2^64 u) with u = uniformNumber(seed, step). Throws ShapeError. */
export function uniform(g: Graph, settings: Tensor, step: Tensor): Tensor {
  expectWords('settings', settings, SETTINGS);
  expectWords('step', step, 1);
  const y = g.temp('uniform', [2], 'u32');
  g.dispatch({
    kernel: UNIFORM,
    read: { settings, step },
    write: { y },
    workgroups: [1],
    cost: { flops: 200, bytes: 16 },
  });
  return y;
}

function expectRow({ dtype, shape }: Tensor): number {
  const count = shape.at(-1) ?? 0;
  const oneRow = shape.length === 1 || (shape.length === 2 && shape[0] === 1);
  const fits = oneRow && count > 0 && count <= MAX_COUNT && dtype === 'f32';
  expect(fits, 'sample', 'logits', `f32 [n] or [1, n], n <= ${MAX_COUNT}`, `${dtype} ${showShape(shape)}`);
  return count;
}

function expectWords(what: string, { dtype, shape }: Tensor, words: number): void {
  const ok = dtype === 'u32' && sameShape(shape, [words]);
  expect(ok, 'sample', what, `u32 [${words}]`, `${dtype} ${showShape(shape)}`);
}
