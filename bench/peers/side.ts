import { median, quantile } from '../measure.ts';
import { digits } from '../report.ts';
import { compareStage } from '../verify.ts';
import type { Sample } from './peer.ts';

/** How a result compares with the reference; with an error where it is wrong, or there is none. */
export interface Verdict {
  /** max|got - ref| / max|ref|. */
  relativeError?: number;
  error?: string;
}

/** One side of a comparison: its times, or the error that tells why there are none. */
export interface Side extends Verdict {
  /** Wall microseconds from submit to done, without the wait. */
  micros: number[];
  /** Microseconds that the wait for an idle device takes. */
  waitMicros: number[];
}

/** WRONG where a result is more than `bound` away from the reference, relative to the largest value there. */
export function verdictOf(got: Float32Array, reference: Float32Array, bound: number): Verdict {
  const { relative, ok } = compareStage('result', got, reference, bound);
  if (ok) return { relativeError: relative };
  const off = Number.isFinite(relative) ? `off by ${digits(relative)} of the largest value` : 'not finite';
  return { relativeError: relative, error: `WRONG: ${off}` };
}

/**
 * A side's samples, each less the median wait for an idle device. No times where the result is wrong, nor where the
 * faster quarter of the runs reaches into the slower quarter of the waits.
 */
export function judged(samples: readonly Sample[], verdict: Verdict): Side {
  if (verdict.error) return { ...verdict, micros: [], waitMicros: [] };
  if (samples.length === 0) return { ...verdict, error: 'not timed', micros: [], waitMicros: [] };
  const waitMicros = samples.map((sample) => sample.waitMicros);
  const wait = median(waitMicros);
  const runMicros = samples.map((sample) => sample.runMicros);
  const micros = runMicros.map((run) => run - wait);
  if (quantile(runMicros, 0.25) > quantile(waitMicros, 0.75)) return { ...verdict, micros, waitMicros };
  const error = `too short: waiting alone takes ${digits(wait)} us, a run ${digits(median(runMicros))}`;
  return { ...verdict, error, micros: [], waitMicros };
}

/** The median of theirs over ours, pair by pair: above 1 where ours is faster; undefined where a side has no times. */
export function ratio(ours: Side, theirs: Side): number | undefined {
  const pairs = Math.min(ours.micros.length, theirs.micros.length);
  return pairs > 0 ? median(Array.from({ length: pairs }, (_, i) => theirs.micros[i]! / ours.micros[i]!)) : undefined;
}
