import { type Case, type OpSpec, Random, showCase } from '../../kernels/spec.ts';
import { specs } from '../../kernels/specs.ts';
import { chosenVariant, runnable, verifyQuick } from '../../kernels/verify.ts';
import type { Device, HostTensor, Variant } from '../../runtime/index.ts';
import { sum } from '../measure.ts';
import { benchShapes, planRotated } from '../shapes.ts';
import { type Clock, wallMicros } from '../time_case.ts';

/** Something to time, on one side; name and shape together are unique, and equal ones mean equal work. */
export interface Unit {
  name: string;
  shape: string;
  clock: Clock;
  /** What is wrong with its results; empty when they are right. */
  check(): Promise<string>;
  prepare(): Promise<Prepared>;
}

/** A unit with everything that its runs need. */
export interface Prepared {
  /** What runs: the kernel, or the model's phase. */
  kernel: string;
  /** Runs once; returns microseconds of the unit's clock. */
  run(): Promise<number>;
  dispose(): void;
}

/** The bench shapes of ops, each with the variant that the device would choose; a name 'op/variant' forces that one. */
export function opUnits(device: Device, names: readonly string[]): Unit[] {
  const checks = new Map<Variant, Promise<string>>();
  return names.flatMap((name) => {
    const spec = specs.find((candidate) => candidate.name === name.split('/')[0]);
    if (!spec) return [];
    const able = (c: Case) => runnable(device, spec, c).filter((variant) => [spec.name, variant.name].includes(name));
    const shapes = benchShapes(device, spec, false).filter((c) => able(c).length > 0);
    return shapes.map((c) => opUnit(device, spec, c, name, able(c), checks));
  });
}

function opUnit(
  device: Device,
  spec: OpSpec,
  c: Case,
  name: string,
  able: readonly Variant[],
  checks: Map<Variant, Promise<string>>,
): Unit {
  const clock = device.features.has('timestamp-query') ? 'gpu' : 'wall';
  const inputs = () => spec.inputs(c, new Random(1));
  const choose = (given: Record<string, HostTensor>) => {
    const used = chosenVariant(device, spec, c, given);
    return able.find((variant) => variant === used) ?? able[0]!;
  };
  return {
    name,
    shape: showCase(c),
    clock,
    check() {
      const variant = choose(inputs());
      if (!checks.has(variant)) checks.set(variant, checkVariant(device, spec, variant));
      return checks.get(variant)!;
    },
    async prepare() {
      const given = inputs();
      const kernel = choose(given).name;
      const { next, dispose } = await planRotated(device, spec, c, kernel, given);
      const gpuMicros = async () => sum((await next().profile()).map(({ micros }) => micros));
      return { kernel, run: clock === 'gpu' ? gpuMicros : () => wallMicros(device, next()), dispose };
    },
  };
}

async function checkVariant(device: Device, spec: OpSpec, variant: Variant): Promise<string> {
  const wrong = (await verifyQuick(device, spec, variant)).find(({ ok }) => !ok);
  return wrong ? `${variant.name} ${wrong.case}: ${wrong.problem}` : '';
}
