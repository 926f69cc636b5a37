import { readFileSync } from 'node:fs';
import { CapabilityError, WgslError } from './errors.ts';
import { ceilDiv } from './shape.ts';
import { type Reflection, reflect } from './wgsl.ts';

/** A device feature that a kernel may need. */
export type Feature =
  | 'shader-f16'
  | 'subgroups'
  | 'subgroup-size-control'
  | 'chromium-experimental-subgroup-matrix'
  | 'timestamp-query';

/** One .wgsl file: a complete module with defaults. */
export interface Kernel {
  /** <op>/<file without .wgsl>: the name in profiles, errors and variant choices. */
  readonly name: string;
  readonly source: URL;
  /** Shared WGSL appended behind the source, so that line numbers of the source stay true. */
  readonly lib?: readonly URL[];
  readonly needs?: readonly Feature[];
}

/** Workgroups in x, y, z. */
export type Grid = readonly [number, number?, number?];

/** A kernel's text with its library, and what it declares. */
export interface LoadedKernel {
  text: string;
  reflection: Reflection;
}

const loaded = new WeakMap<Kernel, LoadedKernel>();

/** The text of a kernel and what it declares; read once. */
export function loadKernel(kernel: Kernel): LoadedKernel {
  const existing = loaded.get(kernel);
  if (existing) return existing;
  const text = [kernel.source, ...(kernel.lib ?? [])].map((url) => readFileSync(url, 'utf8')).join('\n');
  const result = { text, reflection: reflect(text, `${kernel.name}.wgsl`) };
  loaded.set(kernel, result);
  return result;
}

/** Variants of an op that were asked for by name, by op. */
export type ForcedVariants = Readonly<Record<string, string>>;

/**
 * The variant of an op to run on a device: the one forced by name, else the first whose features the device has.
 * `candidates` stand best first. Throws CapabilityError where the forced one, or all of them, cannot run.
 */
export function chooseVariant(
  device: { readonly name: string; readonly features: ReadonlySet<Feature> },
  op: string,
  candidates: readonly Kernel[],
  forced?: string,
): Kernel {
  const able = candidates.filter((kernel) => (kernel.needs ?? []).every((feature) => device.features.has(feature)));
  const names = candidates.map((kernel) => kernel.name).join(', ');
  const chosen = forced ? candidates.find((kernel) => kernel.name === forced) : able[0];
  if (forced && !chosen) throw new WgslError(`${op}: variant: expected one of ${names}, got '${forced}'`);
  if (chosen && able.includes(chosen)) return chosen;
  const needed = (chosen ? [chosen] : candidates).map(({ name, needs = [] }) => `${needs.join(', ')} for ${name}`);
  throw new CapabilityError(`${op}: expected features ${needed.join(' or ')}, got not all of them on '${device.name}'`);
}

/** Folds a number of workgroups into two dimensions of at most 65535; kernels undo it: group.x + group.y * groups.x. */
export function linearGrid(workgroups: number): Grid {
  const y = Math.max(1, ceilDiv(workgroups, 65535));
  return [ceilDiv(workgroups, y), y];
}
