import type { Case, OpSpec } from '../kernels/spec.ts';
import { planCase, runnable } from '../kernels/verify.ts';
import { type Device, type Dispatch, type HostTensor, OutOfMemoryError, Owned, type Plan } from '../runtime/index.ts';
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
  dispatches: Dispatch[];
  /** The plan whose weights have not been read for the longest. */
  next(): Plan;
  dispose(): void;
}

/**
 * Plans a case so that its runs find no weights in a cache: copies of the spec's weights, more than three times 64 MiB of
 * them or 64, fewer where a quarter of the memory of a CPU or all of a GPU's is full. Everything else they share.
 */
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
    const { plan, tensors, dispatches } = await planCase(device, spec, c, variant, inputs, { constants });
    const plans = [owned.keep(plan)];
    for (const { storage } of Object.values(tensors)) owned.keep({ storage: storage! });
    const { weights = [] } = spec;
    const given = Object.fromEntries(Object.entries(tensors).filter(([name]) => !weights.includes(name)));
    const bytes = sum(weights.map((name) => inputs[name]?.data.byteLength ?? 0));
    const room = Math.min(ROTATED_BYTES, (device.available ?? Number.POSITIVE_INFINITY) / 4);
    const copies = bytes > 0 ? Math.min(MOST_COPIES, Math.ceil(room / bytes)) : 1;
    const shared = { constants, given, result: plan.outputs.result!.storage! };
    try {
      while (plans.length < copies) {
        const copy = await planCase(device, spec, c, variant, inputs, shared);
        plans.push(owned.keep(copy.plan));
        for (const name of weights) if (name in copy.tensors) owned.keep({ storage: copy.tensors[name]!.storage! });
      }
    } catch (error) {
      if (!(error instanceof OutOfMemoryError)) throw error; // fewer copies then
    }
    let runs = 0;
    return { dispatches, next: () => plans[runs++ % plans.length]!, dispose: () => owned.free() };
  });
}
