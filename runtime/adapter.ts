import { NoDeviceError, UsageError } from './errors.ts';
import type { MatrixTypes, MatrixUnit } from './kernel.ts';

/** One adapter as Dawn lists it. */
export interface AdapterEntry {
  backend: string;
  name: string;
}

/** An adapter together with the reason why it was taken. */
export interface AdapterChoice extends AdapterEntry {
  reason: string;
}

/** What Dawn would open for most speed and for least power, as GPUAdapterInfo.device names them. */
export interface Preferences {
  fast?: string;
  frugal?: string;
}

const SOFTWARE = [/llvmpipe|lavapipe/i, /swiftshader/i, /basic render driver|warp/i];

/** Reads the adapter list out of the message with which Dawn refuses an adapter name that nobody has. */
export function parseAdapterList(message: string): AdapterEntry[] {
  return [...message.matchAll(/backend: '([^']*)', name: '([^']*)'/g)].map(([, backend, name]) => ({
    backend: backend!,
    name: name!,
  }));
}

/** Whether an adapter's name is that of one that runs on the CPU. */
export function isSoftware({ name }: AdapterEntry): boolean {
  return SOFTWARE.some((pattern) => pattern.test(name));
}

/**
 * Whether Dawn is to guard kernels on an adapter: as asked, else as DAYBREAK_ROBUSTNESS (on, off) says, else where it runs
 * on the CPU. Throws UsageError.
 */
export function wantsRobustness(entry: AdapterEntry, asked?: boolean, word = process.env.DAYBREAK_ROBUSTNESS): boolean {
  if (asked !== undefined) return asked;
  if (!word) return isSoftware(entry);
  if (word === 'on' || word === 'off') return word === 'on';
  throw new UsageError(`device: DAYBREAK_ROBUSTNESS: expected on or off, got '${word}'`);
}

/**
 * Chooses an adapter: of those whose name contains `wanted` (any case) a discrete GPU before an integrated one before
 * lavapipe before SwiftShader; where `wanted` ends in #N, the Nth of them as they are listed.
 * Throws NoDeviceError that lists what there is, or says what to install where there is nothing.
 */
export function chooseAdapter(
  available: readonly AdapterEntry[],
  wanted = '',
  preferences: Preferences = {},
): AdapterChoice {
  if (available.length === 0)
    throw new NoDeviceError(`device: expected a GPU or software adapter, got none; ${INSTALL}`);
  const [, name = '', position] = /^(.*?)(?:#(\d+))?$/.exec(wanted)!;
  const matching = available.filter((entry) => entry.name.toLowerCase().includes(name.toLowerCase()));
  const byRank = matching
    .filter((entry) => opensFirst(available, entry) === entry)
    .sort((a, b) => rank(a, preferences) - rank(b, preferences));
  const chosen = position ? matching[Number(position) - 1] : byRank[0];
  if (!chosen) {
    const expected = position ? `at least ${position} names` : 'a name';
    throw new NoDeviceError(
      `device: adapter: expected ${expected} containing '${name}', got ${list(available)}; ${CHOOSE}`,
    );
  }
  if (opensFirst(available, chosen) !== chosen) throw cannotOpen(available, chosen);
  const others = available.filter((entry) => entry !== chosen);
  const reason = wanted ? `asked for as '${wanted}'` : REASONS[Number(isSoftware(chosen))]!;
  return { ...chosen, reason: others.length > 0 ? `${reason}; not taken: ${list(others)}` : `${reason}; no other` };
}

/** 0 to 2 for GPUs, 3 for lavapipe, 4 and above for slower software adapters. */
function rank(entry: AdapterEntry, { fast, frugal }: Preferences): number {
  const software = SOFTWARE.findIndex((pattern) => pattern.test(entry.name));
  if (software >= 0) return 3 + software;
  const device = entry.name.toLowerCase().replace(/[^a-z0-9]+/g, '-');
  if (device === fast) return 0;
  return device === frugal ? 2 : 1;
}

/** The adapter that Dawn opens when asked for another by its name: the first that contains it. */
function opensFirst(available: readonly AdapterEntry[], { backend, name }: AdapterEntry): AdapterEntry {
  return available.find((entry) => entry.backend === backend && entry.name.includes(name))!;
}

function cannotOpen(available: readonly AdapterEntry[], { name }: AdapterEntry): NoDeviceError {
  return new NoDeviceError(
    `device: adapter: expected a name that no adapter before it contains, as Dawn opens the first that does, got the second '${name}' of ${list(available)}; ${REORDER}`,
  );
}

function list(entries: readonly AdapterEntry[]): string {
  return entries.map(({ name }) => `'${name}'`).join(', ');
}

const REASONS = ['a GPU comes first, a discrete one before an integrated one', 'no GPU found, software adapter'];

const CHOOSE = "choose one with --adapter or DAYBREAK_ADAPTER: a part of its name, 'NAME#2' for the second of several";

const REORDER =
  'let the driver list it first, or alone: with DRI_PRIME=pci-... (lspci -D) where Mesa selects devices, or in a container that has only this one';

const INSTALL =
  process.platform === 'linux'
    ? 'install the Vulkan driver of your GPU (NVIDIA: the proprietary driver; AMD, Intel: mesa-vulkan-drivers) and libvulkan1; ' +
      'for software rendering mesa-vulkan-drivers 24 or newer brings lavapipe'
    : 'update the graphics driver of this machine';

/** A matrix unit as an adapter lists it: with the least and the largest size of a subgroup. */
export interface ListedUnit extends Omit<MatrixUnit, 'lanes'> {
  readonly lanes: readonly [number, number];
}

/** The matrix units that an adapter lists, of the types and sizes that kernels are written for; none where it has no list. */
export function matrixUnits(info: Partial<GPUAdapterInfo>): ListedUnit[] {
  const { subgroupMatrixConfigs = [], subgroupMinSize = 0, subgroupMaxSize = 0 } = info as MatrixInfo;
  const units = subgroupMatrixConfigs.map(({ componentType, resultComponentType, M, N, K }) => ({
    component: componentType as MatrixTypes['component'],
    result: resultComponentType as MatrixTypes['result'],
    ...{ M, N, K },
    lanes: [subgroupMinSize, subgroupMaxSize] as const,
  }));
  return units.filter(
    ({ component, result, M, N, K }) =>
      RESULTS[component]?.includes(result) && SIDES.includes(M) && SIDES.includes(N) && DEPTHS.includes(K),
  );
}

const RESULTS: Record<string, string[]> = { f16: ['f32', 'f16'], i8: ['i32'] };
const SIDES = [8, 16];
const DEPTHS = [8, 16, 32];

/** What Dawn adds to an adapter's information. */
type MatrixInfo = Partial<GPUAdapterInfo> & {
  subgroupMatrixConfigs?: readonly {
    componentType: string;
    resultComponentType: string;
    M: number;
    N: number;
    K: number;
  }[];
};
