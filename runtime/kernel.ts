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

/** Products of matrices that a subgroup of so many lanes computes at once: result [M, N] += component [M, K] component [K, N]. */
export interface MatrixUnit {
  readonly component: string;
  readonly result: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
  /** The least and the largest size of a subgroup. */
  readonly lanes: readonly [number, number];
}

/** A WGSL text, or the file that holds it. */
export type WgslSource = string | URL;

/** One .wgsl file: a complete module with defaults. */
export interface Kernel {
  /** <op>/<file without .wgsl>: the name in profiles, errors and variant choices. */
  readonly name: string;
  readonly source: WgslSource;
  /** Shared WGSL appended behind the source, so that line numbers of the source stay true. */
  readonly lib?: readonly WgslSource[];
  readonly needs?: readonly Feature[];
  /** The matrix unit that it is written for. */
  readonly matrix?: MatrixUnit;
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
  const text = [kernel.source, ...(kernel.lib ?? [])].map(read).join('\n');
  const result = { text, reflection: reflect(text, `${kernel.name}.wgsl`) };
  loaded.set(kernel, result);
  return result;
}

function read(source: WgslSource): string {
  if (typeof source === 'string') return source;
  try {
    return readFileSync(source, 'utf8');
  } catch (error) {
    throw new WgslError(`kernel: file: expected a readable one, got ${(error as Error).message}; check the URL`);
  }
}

/** What kernel() makes a kernel of. */
export interface KernelOptions extends Omit<Kernel, 'source'> {
  /** The text, or the URL of its file. */
  readonly wgsl: WgslSource;
}

/** A kernel of your own; throws a WgslError where its text does not declare what a kernel must, or its file cannot be read. */
export function kernel({ wgsl, ...rest }: KernelOptions): Kernel {
  const made: Kernel = { ...rest, source: wgsl };
  if (!/^[\w./-]+$/.test(made.name ?? ''))
    throw new WgslError(`kernel: name: expected <op>/<variant>, got ${JSON.stringify(made.name)}; name it so`);
  loadKernel(made);
  return made;
}

/** Variants of an op that were asked for by name, by op. */
export type ForcedVariants = Readonly<Record<string, string>>;

/** What of a device decides which kernels it can run. */
interface Capable {
  readonly features: ReadonlySet<Feature>;
  readonly matrices: readonly MatrixUnit[] | undefined;
}

/** Whether a device has all that a kernel needs: features, and a matrix unit of its sizes. */
export function canRun({ features, matrices }: Capable, kernel: Kernel): boolean {
  const { needs = [], matrix } = kernel;
  if (!needs.every((feature) => features.has(feature))) return false;
  return !matrix || !matrices || matrices.some((unit) => provides(unit, matrix));
}

function provides(unit: MatrixUnit, wanted: MatrixUnit): boolean {
  const keys = ['component', 'result', 'M', 'N', 'K'] as const;
  const [least, most] = unit.lanes;
  return keys.every((key) => unit[key] === wanted[key]) && least <= wanted.lanes[0] && wanted.lanes[1] <= most;
}

/**
 * The variant of an op to run on a device: the one forced by name, else the first whose needs the device meets.
 * `candidates` stand best first. Throws CapabilityError where the forced one, or all of them, cannot run.
 */
export function chooseVariant(
  device: Capable & { readonly name: string },
  op: string,
  candidates: readonly Kernel[],
  forced?: string,
): Kernel {
  const able = candidates.filter((kernel) => canRun(device, kernel));
  const names = candidates.map((kernel) => kernel.name).join(', ');
  const chosen = forced ? candidates.find((kernel) => kernel.name === forced) : able[0];
  if (forced && !chosen) throw new WgslError(`${op}: variant: expected one of ${names}, got '${forced}'`);
  if (chosen && able.includes(chosen)) return chosen;
  const needed = (chosen ? [chosen] : candidates).map((kernel) => `${needsOf(kernel).join(', ')} for ${kernel.name}`);
  throw new CapabilityError(`${op}: expected features ${needed.join(' or ')}, got not all of them on '${device.name}'`);
}

/** What a kernel needs of a device, in words. */
export function needsOf({ needs = [], matrix }: Kernel): string[] {
  if (!matrix) return [...needs];
  const { component, result, M, N, K, lanes } = matrix;
  return [...needs, `${M}x${N}x${K} matrices of ${component} to ${result} in ${lanes[0]} lanes`];
}

/** Folds a number of workgroups into two dimensions of at most 65535; kernels undo it: group.x + group.y * groups.x. */
export function linearGrid(workgroups: number): Grid {
  const y = Math.max(1, ceilDiv(workgroups, 65535));
  return [ceilDiv(workgroups, y), y];
}
