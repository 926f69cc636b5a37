import { type Device, Graph, Plan, type ProfileRow, type Tensor, WgslError } from '../../runtime/index.ts';
import { sum } from '../measure.ts';
import { progressBar } from '../progress.ts';
import { type Clock, type Repeats, repeated, wallMicros } from '../time_case.ts';
import { bestOf, checksum, isTime, type Probe, probes, QUANTITIES, type Quantity } from './probes.ts';

/**
 * What a device reaches at most, each the best of several kernels: GB/s of copying (bytes read and written) and of
 * reading, 10^9 operations per second of f32 and f16 multiply-adds (two each) and of int8 dot products (8 per
 * dot4I8Packed), microseconds per tiny dispatch that needs the one before, in one pass (always wall clock, from submit to
 * done) and in timed passes of their own. NaN where every kernel was wrong.
 */
export interface Ceilings {
  /** The clock of the rates. */
  clock: Clock;
  copyGBs: number;
  readGBs: number;
  f32Gflops: number;
  /** null on a device without shader-f16. */
  f16Gflops: number | null;
  int8Gops: number;
  dispatchMicros: number;
  /** null on a device without timestamps. */
  passMicros: number | null;
  /** When it was measured, ISO 8601. */
  measured: string;
}

/** How one kernel came out. */
export interface MeasuredKernel {
  quantity: Quantity;
  name: string;
  /** What its fastest sample makes of the quantity; absent where the kernel does not count. */
  value?: number;
  /** One dispatch, in each sample. */
  micros: number[];
  /** Why it does not count. */
  problem?: string;
}

const WORKING_SET = { gpu: 256 * 2 ** 20, software: 32 * 2 ** 20 };
const REPEATS: Repeats = { least: 3, most: 9, millis: 20 };
const SAMPLE_MICROS = 2000;

/**
 * Measures a device's ceilings by GPU timestamps, or by the wall clock where it has none. A sample is as many dispatches
 * as take 2 ms; reading and copying go through 256 MiB, on software adapters 32 MiB. A kernel's fastest sample counts,
 * and only if the checksum of what it wrote is right.
 */
export async function measureCeilings(device: Device): Promise<{ ceilings: Ceilings; kernels: MeasuredKernel[] }> {
  const { x, total } = uploadWords(device);
  const kernels: MeasuredKernel[] = [];
  const clock: Clock = device.features.has('timestamp-query') ? 'gpu' : 'wall';
  const all = probes(device, x, total).filter(({ quantity }) => clock === 'gpu' || quantity !== 'passMicros');
  const bar = progressBar('ceilings');
  try {
    for (const [done, probe] of all.entries()) {
      bar.update(done, all.length);
      kernels.push(await measure(device, probe, probe.quantity === 'dispatchMicros' ? 'wall' : clock));
    }
  } finally {
    bar.stop();
    device.free(x.storage!);
  }
  return { ceilings: summarise(device, clock, kernels), kernels };
}

function summarise(device: Device, clock: Clock, kernels: readonly MeasuredKernel[]): Ceilings {
  const best = QUANTITIES.map((quantity) => {
    const same = kernels.filter((kernel) => kernel.quantity === quantity);
    return [
      quantity,
      bestOf(
        quantity,
        same.flatMap(({ value }) => value ?? []),
      ),
    ];
  });
  return {
    clock,
    ...(Object.fromEntries(best) as Record<Quantity, number>),
    ...(!device.features.has('shader-f16') && { f16Gflops: null }),
    ...(clock === 'wall' && { passMicros: null }),
    measured: new Date().toISOString(),
  };
}

/** A tensor [words] u32 of the working set's size, and its checksum. */
function uploadWords(device: Device): { x: Tensor; total: number } {
  const wanted = device.onCpu ? WORKING_SET.software : WORKING_SET.gpu;
  const bytes = 2 ** Math.floor(Math.log2(Math.min(wanted, device.limits.maxStorageBufferBindingSize)));
  const data = new Uint32Array(bytes / 4);
  for (let i = 0; i < data.length; i++) data[i] = Math.imul(i, 0x9e3779b1);
  return { x: device.upload({ shape: [data.length], dtype: 'u32', data }, 'x'), total: checksum(data) };
}

/** Times one dispatch, or as many as take long enough. */
async function measure(device: Device, probe: Probe, clock: Clock): Promise<MeasuredKernel> {
  const first = await sample(device, probe, clock, probe.dispatches ?? 1);
  const fastest = Math.min(...first.micros);
  if (probe.dispatches || first.problem || fastest >= SAMPLE_MICROS) return first;
  return sample(device, probe, clock, Math.min(64, Math.ceil(SAMPLE_MICROS / fastest)));
}

/** Samples of runs of so many dispatches. */
async function sample(device: Device, probe: Probe, clock: Clock, dispatches: number): Promise<MeasuredKernel> {
  const { quantity, work } = probe;
  const fixed = { quantity, name: showProbe(probe), micros: [] };
  const plan = await compiled(device, probe, dispatches);
  if (typeof plan === 'string') return { ...fixed, problem: `does not compile: ${plan}` };
  try {
    const once = async () => (clock === 'wall' ? wallMicros(device, plan) : gpuMicros(quantity, await plan.profile()));
    const micros = (await repeated(once, REPEATS)).map((all) => all / dispatches);
    const got = checksum((await device.download(plan.outputs.y!)).data);
    const expected = probe.expected(dispatches);
    if (got !== expected) return { ...fixed, problem: `WRONG: checksum: expected ${expected}, got ${got}` };
    const fastest = Math.min(...micros);
    return { ...fixed, value: isTime(quantity) ? fastest : work / fastest / 1e3, micros };
  } finally {
    plan.dispose();
  }
}

/** A plan of so many dispatches, or what the compiler says against the kernel. */
async function compiled(device: Device, probe: Probe, dispatches: number): Promise<Plan | string> {
  try {
    const graph = new Graph(device);
    graph.output('y', probe.record(graph, dispatches));
    return await Plan.create(graph);
  } catch (error) {
    if (!(error instanceof WgslError)) throw error;
    return error.message;
  }
}

/** Microseconds of one run: of timed passes from the first to the last, else the sum over the dispatches. */
function gpuMicros(quantity: Quantity, rows: readonly ProfileRow[]): number {
  const last = rows.at(-1)!;
  return quantity === 'passMicros' ? last.start + last.micros - rows[0]!.start : sum(rows.map(({ micros }) => micros));
}

function showProbe({ kernel, constants }: Probe): string {
  return [kernel.name, ...Object.entries(constants).map(([name, value]) => `${name}=${value}`)].join(' ');
}
