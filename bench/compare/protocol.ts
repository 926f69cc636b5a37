import type { Unit } from './units.ts';

/** Raised whenever a request or its answer changes its meaning: both sides bring their own worker. */
export const PROTOCOL = 1;

/** What the parent asks of a side's worker, one request at a time. */
export type Request =
  | { ask: 'open'; adapter?: string; ops: string[]; prompts?: string[] }
  | { ask: 'check'; unit: number }
  | { ask: 'prepare'; unit: number }
  | { ask: 'sample'; millis: number }
  | { ask: 'dispose' };

/** The answer to each request. */
export interface Answers {
  open: { protocol: number; environment: Record<string, unknown>; units: Pick<Unit, 'name' | 'shape' | 'clock'>[] };
  /** What is wrong with the unit's results; empty when they are right. */
  check: { problem: string };
  /** What runs; it has run once, to warm up. */
  prepare: { kernel: string };
  /** The median of the runs that fitted into the time, at least one. */
  sample: { micros: number };
  dispose: Record<string, never>;
}
