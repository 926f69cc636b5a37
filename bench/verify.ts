import type { ExpectedLogits, ExpectedRun, TopLogits } from './expected.ts';

/** How far a stage's values are from the reference's. */
export interface StageError {
  stage: string;
  /** max|got - ref| / max|ref|. */
  relative: number;
  ok: boolean;
}

/** How a continuation came out; errors are of the logits, over their standard deviation. */
export interface RunVerdict {
  steps: number;
  matched: number;
  ties: number;
  /** Steps whose token differs by more than a tie. */
  wrong: number[];
  /** max|got - ref| / max|ref| of the worst step. */
  relative: number;
  maxErrorStd: number;
  meanErrorStd: number;
  /** The largest error of each step. */
  stepErrors: number[];
  /** The error allowed at each step. */
  stepBounds: number[];
  ok: boolean;
}

/** The errors allowed: of stages relative to max|ref|, of logits relative to max|ref| (f32) or to their deviation (f16). */
export interface Bounds {
  stage: number;
  logits(step: { maxRef: number; std: number }): number;
}

/** f32 keeps every stage within 1e-4; f16 storage keeps logits within 2e-2 of their standard deviation. */
export const BOUNDS: Record<'f32' | 'f16', Bounds> = {
  f32: { stage: 1e-4, logits: ({ maxRef }) => 1e-4 * maxRef },
  f16: { stage: 2e-2, logits: ({ std }) => 2e-2 * std },
};

/**
 * The errors allowed where the reference itself was computed in half precision: twice its own distance from float32 on the
 * tiny checkpoint at 3564 positions (float16: 0.04 of the logits' deviation, bfloat16: 0.29, and 0.12 of a layer).
 */
export const HALF_REFERENCE_BOUNDS: ReadonlyMap<string, Bounds> = new Map([
  ['float16', { stage: 3e-2, logits: ({ std }) => 1e-1 * std }],
  ['bfloat16', { stage: 2.5e-1, logits: ({ std }) => 6e-1 * std }],
]);

/** Compares the leading values of a stage with the reference, which may hold fewer rows. */
export function compareStage(stage: string, got: ArrayLike<number>, ref: ArrayLike<number>, bound: number): StageError {
  let [worst, largest] = [0, 0];
  for (let i = 0; i < ref.length; i++) {
    const error = Math.abs(got[i]! - ref[i]!);
    worst = Math.max(worst, error);
    largest = Math.max(largest, Math.abs(ref[i]!));
  }
  const relative = worst / (largest || 1);
  return { stage, relative, ok: got.length >= ref.length && relative <= bound };
}

/**
 * Compares logits f32 [steps, vocab] and the tokens chosen from them with a continuation. A differing token is a tie
 * where the reference's best two logits are closer than twice the allowed error.
 */
export function compareRun(
  run: ExpectedRun,
  logits: Float32Array,
  tokens: readonly number[],
  bounds: Bounds,
): RunVerdict {
  const steps = run.steps.length;
  const vocab = logits.length / steps;
  const verdict: RunVerdict = {
    steps,
    matched: 0,
    ties: 0,
    wrong: [],
    relative: 0,
    maxErrorStd: 0,
    meanErrorStd: 0,
    stepErrors: [],
    stepBounds: [],
    ok: true,
  };
  for (const [step, ref] of run.steps.entries()) {
    const stats = compareLogits(ref, logits.subarray(step * vocab, (step + 1) * vocab));
    const bound = bounds.logits(stats);
    verdict.relative = Math.max(verdict.relative, stats.maxError / stats.maxRef);
    verdict.stepErrors.push(stats.maxError / stats.std);
    verdict.stepBounds.push(bound / stats.std);
    verdict.maxErrorStd = Math.max(...verdict.stepErrors);
    verdict.meanErrorStd += stats.meanError / stats.std / steps;
    verdict.ok &&= stats.maxError <= bound;
    if (tokens[step] === stats.best) verdict.matched++;
    else if (stats.margin < 2 * bound) verdict.ties++;
    else verdict.wrong.push(step);
  }
  verdict.ok &&= verdict.wrong.length === 0;
  return verdict;
}

/** How far logits are from the reference's, and what the bounds need to know of those. */
interface LogitsError {
  maxRef: number;
  maxError: number;
  meanError: number;
  std: number;
  best: number;
  margin: number;
}

function compareLogits(ref: ExpectedLogits, got: Float32Array): LogitsError {
  return ref instanceof Float32Array ? compareAll(ref, got) : compareTop(ref, got);
}

function compareAll(ref: Float32Array, got: Float32Array): LogitsError {
  const { std, maxRef } = describe(ref);
  let [maxError, errors, best, second] = [0, 0, 0, Number.NEGATIVE_INFINITY];
  for (let i = 0; i < ref.length; i++) {
    const value = ref[i]!;
    const error = Math.abs(got[i]! - value);
    errors += error;
    maxError = Math.max(maxError, error);
    if (i > 0 && value > ref[best]!) [second, best] = [ref[best]!, i];
    else if (i > 0) second = Math.max(second, value);
  }
  return { maxRef, maxError, meanError: errors / ref.length, std, best, margin: ref[best]! - second };
}

/**
 * The error of the kept logits, or of a figure about all of them where that is larger: log-sum-exp, mean, deviation, largest
 * magnitude and the largest logit not kept can differ by no more than some logit does. The mean error is of those kept.
 */
function compareTop({ ids, values, ...ref }: TopLogits, got: Float32Array): LogitsError {
  const errors = Array.from(ids, (id, i) => Math.abs(got[id]! - values[i]!));
  const all = describe(got);
  const kept = new Set(ids);
  const others = got.reduce((most, value, id) => (value > most && !kept.has(id) ? value : most), -Infinity);
  const maxError = Math.max(
    ...errors,
    Math.abs(all.logSumExp - ref.logSumExp),
    Math.abs(all.mean - ref.mean),
    Math.abs(all.std - ref.std),
    Math.abs(all.maxRef - ref.maxRef),
    others - values.at(-1)!,
  );
  const meanError = errors.reduce((sum, error) => sum + error, 0) / errors.length;
  return { ...ref, maxError, meanError, best: ids[0]!, margin: values[0]! - values[1]! };
}

function describe(logits: Float32Array) {
  let [sum, squares, maxRef, largest] = [0, 0, 0, Number.NEGATIVE_INFINITY];
  for (const value of logits) {
    sum += value;
    squares += value * value;
    maxRef = Math.max(maxRef, Math.abs(value));
    largest = Math.max(largest, value);
  }
  const mean = sum / logits.length;
  const std = Math.sqrt(Math.max(squares / logits.length - mean * mean, 0));
  const logSumExp = largest + Math.log(logits.reduce((total, value) => total + Math.exp(value - largest), 0));
  return { mean, std, maxRef, logSumExp };
}
