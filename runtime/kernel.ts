import { readFileSync } from 'node:fs';
import { WgslError } from './errors.ts';
import { ceilDiv } from './shape.ts';
import { type Constants, type Reflection, reflect } from './wgsl.ts';

/** A device feature that a kernel may need. */
export type Feature =
  | 'shader-f16'
  | 'subgroups'
  | 'subgroup-size-control'
  | 'chromium-experimental-subgroup-matrix'
  | 'timestamp-query';

/** What matrices are made of: the elements that are multiplied, and those of the sums. */
export interface MatrixTypes {
  readonly component: 'f16' | 'i8';
  readonly result: 'f32' | 'f16' | 'i32';
}

/** Products of matrices that a subgroup computes at once: result [M, N] += component [M, K] component [K, N]. */
export interface MatrixUnit extends MatrixTypes {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  /** The size of the subgroup. */
  readonly lanes: number;
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
  /** The most lanes that the smallest subgroup may have: with more, most of its workgroup would idle. */
  readonly mostLanes?: number;
  /** The matrices that it multiplies; their sizes are its constants: see unitConstants. */
  readonly matrix?: MatrixTypes;
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
  if (!(source instanceof URL))
    throw new WgslError(
      `kernel: wgsl: expected a text or the URL of a file, got ${source}; pass new URL(FILE, import.meta.url)`,
    );
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

/** One way to compute an op: a kernel, and values of its constants that tune it. */
export interface Variant {
  /** The kernel's name, and behind it the constants: 'matmul/matmul_matrix:DOWN=2,ACROSS=2'. */
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
  readonly leastLanes: number;
  readonly limits: Pick<GPUSupportedLimits, 'maxStorageBuffersPerShaderStage'>;
}

/** Whether a device has all that a kernel needs: features, small enough subgroups, a matrix unit of its types, and room for its bindings. */
export function canRun(device: Capable, kernel: Kernel): boolean {
  const { needs = [], mostLanes = Number.POSITIVE_INFINITY, matrix } = kernel;
  if (!needs.every((feature) => device.features.has(feature)) || device.leastLanes > mostLanes) return false;
  if (matrix && !matrixUnit(device, matrix)) return false;
  return bindingsOf(kernel) <= device.limits.maxStorageBuffersPerShaderStage;
}

const bindingsOf = (kernel: Kernel) => loadKernel(kernel).reflection.bindings.length;

/**
 * The unit with which a device multiplies matrices of these types: of several the largest; on the null backend, which
 * compiles for any, one of 8 x 8 x 8, with which tiles need least workgroup memory.
 */
export function matrixUnit(
  { matrices }: Pick<Capable, 'matrices'>,
  { component, result }: MatrixTypes,
): MatrixUnit | undefined {
  if (!matrices) return { component, result, M: 8, N: 8, K: 8, lanes: 32 };
  const size = ({ M, N, K }: MatrixUnit) => M * N * K;
  const fitting = matrices.filter((unit) => unit.component === component && unit.result === result);
  return fitting.sort((a, b) => size(b) - size(a))[0];
}

/** The constants that specialise a kernel for a matrix unit. */
export function unitConstants({ M, N, K, lanes }: MatrixUnit): Constants {
  return { M, N, K, LANES: lanes };
}

/** Storage buffers that a stage can bind on every device. */
const LEAST_BINDINGS = 8;

/** What a kernel needs of a device, in words. */
export function needsOf(kernel: Kernel): string[] {
  const { needs = [], mostLanes, matrix } = kernel;
  const bindings = bindingsOf(kernel);
  return [
    ...needs,
    ...(mostLanes ? [`${mostLanes} lanes or fewer`] : []),
    ...(matrix ? [`matrices of ${matrix.component} to ${matrix.result}`] : []),
    ...(bindings > LEAST_BINDINGS ? [`${bindings} storage buffers`] : []),
  ];
}

/** Folds a number of workgroups into two dimensions of at most 65535; kernels undo it: group.x + group.y * groups.x. */
export function linearGrid(workgroups: number): Grid {
  const y = Math.max(1, ceilDiv(workgroups, 65535));
  return [ceilDiv(workgroups, y), y];
}
