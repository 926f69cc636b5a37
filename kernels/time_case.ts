import type { Device, ProfileRow } from '../runtime/index.ts';
import { type Case, type OpSpec, Random } from './spec.ts';
import { planCase } from './verify.ts';

/** How to time a case; every field is optional. */
export interface TimeOptions {
  /** Runs that count, after one that warms up; 10 unless told. */
  repeats?: number;
  seed?: number;
}

/** How long one case took with one variant. */
export interface Timing {
  /** What ticked: timestamps of the adapter around every dispatch or, where it has none, the host's clock from submit to done. */
  clock: 'gpu' | 'wall';
  /** Microseconds of each run, and their middle. */
  samples: number[];
  micros: number;
  /** GFLOP/s and GB/s of the middle one, by the work that the op declares. */
  gflops: number;
  gbs: number;
  /** The dispatches of the last run; none with the host's clock. */
  rows: ProfileRow[];
}

/** Times one case with one variant, whose result is believed to be right; caches stay warm between runs. */
export async function timeCase(
  device: Device,
  spec: OpSpec,
  c: Case,
  variant: string,
  { repeats = 10, seed = 1 }: TimeOptions = {},
): Promise<Timing> {
  const { plan, tensors, dispatches } = await planCase(device, spec, c, variant, spec.inputs(c, new Random(seed)));
  const clock = device.features.has('timestamp-query') ? 'gpu' : 'wall';
  const samples: number[] = [];
  let rows: ProfileRow[] = [];
  for (let run = 0; run <= repeats; run++) {
    const start = performance.now();
    if (clock === 'gpu') rows = await plan.profile();
    else plan.run();
    await device.idle();
    if (run > 0) samples.push(clock === 'gpu' ? sum(rows, 'micros') : (performance.now() - start) * 1e3);
  }
  plan.dispose();
  for (const tensor of Object.values(tensors)) device.free(tensor.storage!);
  const micros = [...samples].sort((a, b) => a - b)[samples.length >> 1]!;
  const costs = dispatches.map(({ cost }) => cost);
  return {
    clock,
    samples,
    micros,
    gflops: sum(costs, 'flops') / micros / 1e3,
    gbs: sum(costs, 'bytes') / micros / 1e3,
    rows,
  };
}

function sum<Key extends string>(rows: readonly Record<Key, number>[], key: Key): number {
  return rows.reduce((total, row) => total + row[key], 0);
}
