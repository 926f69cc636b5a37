import type { ExpectedRun } from './expected.ts';

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

/** Compares the leading values of a stage with the reference, which may hold fewer rows. */
export function compareStage(stage: string, got: Float32Array, ref: Float32Array, bound: number): StageError {
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
  const [steps = 0, vocab = 0] = run.logits.shape;
  const verdict: RunVerdict = {
    steps,
    matched: 0,
    ties: 0,
    wrong: [],
    relative: 0,
    maxErrorStd: 0,
    meanErrorStd: 0,
    ok: true,
  };
  for (let step = 0; step < steps; step++) {
    const ref = run.logits.data.subarray(step * vocab, (step + 1) * vocab);
    const got = logits.subarray(step * vocab, (step + 1) * vocab);
    const stats = describe(ref, got);
    const bound = bounds.logits(stats);
    verdict.relative = Math.max(verdict.relative, stats.maxError / stats.maxRef);
    verdict.maxErrorStd = Math.max(verdict.maxErrorStd, stats.maxError / stats.std);
    verdict.meanErrorStd += stats.meanError / stats.std / steps;
    verdict.ok &&= stats.maxError <= bound;
    if (tokens[step] === stats.best) verdict.matched++;
    else if (stats.margin < 2 * bound) verdict.ties++;
    else verdict.wrong.push(step);
  }
  verdict.ok &&= verdict.wrong.length === 0;
  return verdict;
}

function describe(ref: Float32Array, got: Float32Array) {
  let [sum, squares, maxRef, maxError, errors, best, second] = [0, 0, 0, 0, 0, 0, Number.NEGATIVE_INFINITY];
  for (let i = 0; i < ref.length; i++) {
    const value = ref[i]!;
    const error = Math.abs(got[i]! - value);
    sum += value;
    squares += value * value;
    errors += error;
    maxRef = Math.max(maxRef, Math.abs(value));
    maxError = Math.max(maxError, error);
    if (i > 0 && value > ref[best]!) [second, best] = [ref[best]!, i];
    else if (i > 0) second = Math.max(second, value);
  }
  const mean = sum / ref.length;
  const std = Math.sqrt(Math.max(squares / ref.length - mean * mean, 0));
  return { maxRef, maxError, meanError: errors / ref.length, std, best, margin: ref[best]! - second };
}
