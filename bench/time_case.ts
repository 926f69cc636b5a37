import type { Case, OpSpec } from '../kernels/spec.ts';
import { findUnwritten } from '../kernels/verify.ts';
import type { Constants, Device, DispatchStep, HostTensor, Plan, ProfileRow } from '../runtime/index.ts';
import { sum, timed } from './measure.ts';
import { planRotated } from './shapes.ts';

/** What a time was measured with: GPU timestamps around every dispatch, or the host's clock from submit to done. */
export type Clock = 'gpu' | 'wall';

/** How often to repeat: at least and at most so many times, in between until so many milliseconds are over. */
export interface Repeats {
  least: number;
  most: number;
  millis: number;
}

/** How long one case took with one variant. */
export interface Timing {
  /** What is wrong with the result, then there are no samples; else empty. */
  problem: string;
  clock: Clock;
  /** One sample per repeat; of the GPU's clock the sum over the dispatches. */
  micros: number[];
  /** Work of one repeat, as the op declares it. */
  flops: number;
  bytes: number;
  dispatches: DispatchStep[];
  /** The dispatches of each repeat; none with the wall clock. */
  rows: ProfileRow[][];
}

/** Times one case with one variant, its weights in turns out of memory, after runs that warm up and show that the whole result is written. */
export async function timeCase(
  device: Device,
  spec: OpSpec,
  c: Case,
  variant: string,
  inputs: Record<string, HostTensor>,
  repeats: Repeats,
  clock: Clock,
  constants: Constants = {},
): Promise<Timing> {
  const { next, dispatches, given, dispose } = await planRotated(device, spec, c, variant, inputs, constants);
  const once = async () => (clock === 'gpu' ? next().profile() : wallMicros(device, next()));
  const problem = await findUnwritten(device, next(), given);
  const samples = problem ? [] : await repeated(once, repeats);
  dispose();
  const rows = samples.filter((sample) => typeof sample !== 'number');
  const micros = samples.map((sample) => (typeof sample === 'number' ? sample : sum(sample.map((row) => row.micros))));
  const flops = sum(dispatches.map(({ cost }) => cost.flops));
  return { problem, clock, micros, flops, bytes: sum(dispatches.map(({ cost }) => cost.bytes)), dispatches, rows };
}

/** The results of `once` after one call that warms up. */
export async function repeated<T>(once: () => Promise<T>, { least, most, millis }: Repeats): Promise<T[]> {
  await once();
  const results: T[] = [];
  const start = performance.now();
  while (results.length < most && (results.length < least || performance.now() - start < millis)) {
    results.push(await once());
  }
  return results;
}

/** Microseconds of the wall clock from submit to done of one run, which is encoded before. */
export async function wallMicros(device: Device, plan: Plan): Promise<number> {
  const encoder = device.gpu.createCommandEncoder();
  plan.encode(encoder);
  const { millis } = await timed(() => {
    device.submit(encoder, 'run');
    return device.idle();
  });
  return millis * 1e3;
}
