/**
 * The harness that holds this project's own kernels to float64, for kernels of yours.
 * @module daybreak/testing
 */
export { type Case, type OpSpec, Random, roundoff, showCase, type Tolerance } from './spec.ts';
export { type TimeOptions, type Timing, timeCase } from './time_case.ts';
export { type CaseOptions, planCase, runnable, type Verdict, verifyCase, verifyQuick } from './verify.ts';
