import { type OpSpec, showCase } from '../../kernels/spec.ts';
import { verifyCase } from '../../kernels/verify.ts';
import { CapabilityError, type Device, OutOfMemoryError, type Variant, WgslError } from '../../runtime/index.ts';
import { checkOf, type Problem } from './problems.ts';

/** What is wrong with a variant in small cases of a problem; an empty text, or undefined where the device has no room for one. */
export async function findFault(
  device: Device,
  spec: OpSpec,
  problem: Problem,
  variant: Variant,
): Promise<string | undefined> {
  try {
    for (const c of problem.cases) {
      const verdict = await verifyCase(device, spec, checkOf(problem, c), variant.name);
      if (!verdict.ok) return `${verdict.case}: ${verdict.problem}`;
    }
    return '';
  } catch (error) {
    if (error instanceof WgslError) return error.message;
    return unlessTooLarge(error);
  }
}

/** A problem, or a variant's check, that the device has no room for is left out. */
export function unlessTooLarge(error: unknown): undefined {
  if (!(error instanceof OutOfMemoryError || error instanceof CapabilityError)) throw error;
}

/** A spec that makes inputs and references once for all variants that are checked on a case, whatever the seed. */
export function madeOnce(spec: OpSpec): OpSpec {
  const [makeInputs, makeReference] = [once(spec.inputs), once(spec.reference)];
  return {
    ...spec,
    inputs: (c, random) => makeInputs(showCase(c), c, random),
    reference(inputs, c, variant) {
      const { kernel } = spec.variants.find(({ name }) => name === variant)!;
      return makeReference(`${kernel.matrix?.component} ${showCase(c)}`, inputs, c, variant);
    },
  };
}

/** A function whose results are kept by a key. */
function once<A extends unknown[], R>(make: (...args: A) => R): (key: string, ...args: A) => R {
  const known = new Map<string, R>();
  return (key, ...args) => {
    if (!known.has(key)) known.set(key, make(...args));
    return known.get(key)!;
  };
}
