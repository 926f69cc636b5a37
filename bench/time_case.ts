import type { Case, OpSpec } from '../kernels/spec.ts';
import { planCase } from '../kernels/verify.ts';
import type { Constants, Device, Dispatch, HostTensor, Plan, ProfileRow } from '../runtime/index.ts';
import { timed } from './measure.ts';

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
  clock: Clock;
  /** One sample per repeat; of the GPU's clock the sum over the dispatches. */
  micros: number[];
  /** Work of one repeat, as the op declares it. */
  flops: number;
  bytes: number;
  dispatches: Dispatch[];
  /** The dispatches of each repeat; none with the wall clock. */
  rows: ProfileRow[][];
}

/** Times one case with one variant after one run that warms up. */
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
  const { plan, tensors, dispatches } = await planCase(device, spec, c, variant, inputs, { constants });
  const once = clock === 'gpu' ? () => plan.profile() : () => runOnce(device, plan);
  await once();
  const rows: ProfileRow[][] = [];
  const micros: number[] = [];
  const start = performance.now();
  while (
    micros.length < repeats.most &&
    (micros.length < repeats.least || performance.now() - start < repeats.millis)
  ) {
    const sample = await once();
    micros.push(typeof sample === 'number' ? sample : sum(sample.map((row) => row.micros)));
    if (typeof sample !== 'number') rows.push(sample);
  }
  plan.dispose();
  for (const tensor of Object.values(tensors)) device.free(tensor.storage!);
  const flops = sum(dispatches.map(({ cost }) => cost.flops));
  return { clock, micros, flops, bytes: sum(dispatches.map(({ cost }) => cost.bytes)), dispatches, rows };
}

/** Microseconds of the wall clock from submit to done. */
async function runOnce(device: Device, plan: Plan): Promise<number> {
  const { millis } = await timed(() => {
    plan.run();
    return device.idle();
  });
  return millis * 1e3;
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}
