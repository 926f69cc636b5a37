import type { Case, OpSpec } from '../kernels/spec.ts';
import { planCase, runnable } from '../kernels/verify.ts';
import {
  type Device,
  type DeviceTensor,
  type DispatchStep,
  type HostTensor,
  OutOfMemoryError,
  Owned,
  type Plan,
} from '../runtime/index.ts';
import { sum } from './measure.ts';

/** The most work of a shape that is timed on a CPU. */
const CPU_FLOPS = 6e9;
/** Weights that runs go through before they come to the same ones: three times as much as the largest caches hold. */
const ROTATED_BYTES = 3 * 64 * 2 ** 20;
const MOST_COPIES = 64;

/** The bench shapes of a spec that a device can run; on a CPU, unless `all` is true, those of at most CPU_FLOPS. */
export function benchShapes(device: Device, spec: OpSpec, all: boolean): Case[] {
  const able = spec.bench.filter((c) => runnable(device, spec, c).length > 0);
  return able.filter((c) => all || !device.onCpu || (spec.flops?.(c) ?? 0) <= CPU_FLOPS);
}

/** Says how many bench shapes of some specs are left out on a CPU; nothing where none is. */
export function explainShapes(device: Device, specs: readonly OpSpec[], all: boolean): void {
  const count = (every: boolean) => sum(specs.map((spec) => benchShapes(device, spec, every).length));
  const left = count(true) - count(all);
  if (left > 0)
    console.log(`Not timed on a CPU: ${left} shapes of more than ${CPU_FLOPS / 1e9} GFLOP; --all times them too.`);
}

/** A case with one variant, planned over copies of its weights. */
export interface RotatedCase {
  dispatches: DispatchStep[];
  /** The tensors of the first copy. */
  given: Record<string, DeviceTensor>;
  /** The plan whose weights have not been read for the longest. */
  next(): Plan;
  dispose(): void;
}

/** Plans a case over copies of its inputs, so that its runs find no weights in a cache. */
export async function planRotated(
  device: Device,
  spec: OpSpec,
  c: Case,
  variant: string,
  inputs: Record<string, HostTensor>,
  constants = {},
): Promise<RotatedCase> {
  const owned = new Owned(device);
  return owned.orFree(async () => {
    const copies = copyInputs(device, spec, inputs, owned);
    const [given] = copies as [Record<string, DeviceTensor>];
    const options = { constants, given };
    const { plan, dispatches } = await planCase(device, spec, c, variant, inputs, options);
    const plans = [owned.keep(plan)];
    const result = plan.outputs.result!.storage!;
    for (const copy of copies.slice(1))
      plans.push(
        owned.keep((await planCase(device, spec, c, variant, inputs, { ...options, given: copy, result })).plan),
      );
    let runs = 0;
    return { dispatches, given, next: () => plans[runs++ % plans.length]!, dispose: () => owned.free() };
  });
}

/**
 * A case's inputs on the device so often that runs which take turns with them find no weights in a cache: more than three
 * times 64 MiB of weights or 64 copies, fewer where a quarter of the memory of a CPU or all of a GPU's is full. What is no
 * weight the copies share.
 */
export function copyInputs(
  device: Device,
  { weights = [] }: OpSpec,
  inputs: Record<string, HostTensor>,
  owned: Owned,
): Record<string, DeviceTensor>[] {
  const upload = (names: string[]) =>
    Object.fromEntries(names.map((name) => [name, owned.keep(device.upload(inputs[name]!, name))]));
  const rotated = Object.keys(inputs).filter((name) => weights.includes(name));
  const bytes = sum(rotated.map((name) => inputs[name]!.data.byteLength));
  const room = Math.min(ROTATED_BYTES, (device.available ?? Number.POSITIVE_INFINITY) / 4);
  const most = bytes > 0 ? Math.min(MOST_COPIES, Math.ceil(room / bytes)) : 1;
  const copies = [upload(Object.keys(inputs))];
  try {
    while (copies.length < most) copies.push({ ...copies[0], ...upload(rotated) });
  } catch (error) {
    if (!(error instanceof OutOfMemoryError)) throw error;
    const last = copies.length > 1 ? copies.pop()! : {}; // fewer copies then, and room for the plans
    for (const name of rotated) if (last[name]) device.free(last[name].storage);
  }
  return copies;
}
