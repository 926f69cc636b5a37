import { readFileSync } from 'node:fs';
import { ceilDiv } from './shape.ts';
import { type Constants, type Reflection, reflect } from './wgsl.ts';

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

/** One .wgsl file: a complete module with defaults. */
export interface Kernel {
  /** <op>/<file without .wgsl>: the name in profiles, errors and variant choices. */
  readonly name: string;
  readonly source: URL;
  /** Shared WGSL appended behind the source, so that line numbers of the source stay true. */
  readonly lib?: readonly URL[];
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
  const text = [kernel.source, ...(kernel.lib ?? [])].map((url) => readFileSync(url, 'utf8')).join('\n');
  const result = { text, reflection: reflect(text, `${kernel.name}.wgsl`) };
  loaded.set(kernel, result);
  return result;
}

/** One way to compute an op: a kernel, and values of its constants that tune it. */
export interface Variant {
  /** The kernel's name, and behind it the constants: 'matmul/gemv_dot:LANES=8'. */
  readonly name: string;
  readonly kernel: Kernel;
  readonly constants: Constants;
}

/** The variant of a kernel with these constants, the others as its file and the op have them. */
export function variant(kernel: Kernel, constants: Constants = {}): Variant {
  const shown = Object.entries(constants).map(([key, value]) => `${key}=${value}`);
  return { name: [kernel.name, ...(shown.length > 0 ? [shown.join(',')] : [])].join(':'), kernel, constants };
}

/**
 * Variants to use wherever they can compute the problem, by op: names, with or without the op's in front, the preferred
 * first.
 */
export type ForcedVariants = Readonly<Record<string, string | readonly string[]>>;

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
