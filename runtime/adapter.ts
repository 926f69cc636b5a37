import { NoDeviceError } from './errors.ts';

/** One adapter as Dawn lists it. */
export interface AdapterEntry {
  backend: string;
  name: string;
}

/** An adapter together with the reason why it was taken. */
export interface AdapterChoice extends AdapterEntry {
  reason: string;
}

const SOFTWARE = [/llvmpipe|lavapipe/i, /swiftshader/i, /basic render driver|warp/i];

/** 0 for a GPU, 1 for lavapipe, 2 and above for slower software adapters. */
function rank(name: string): number {
  return SOFTWARE.findIndex((pattern) => pattern.test(name)) + 1;
}

/** Reads the adapter list out of the message with which Dawn refuses an adapter name that nobody has. */
export function parseAdapterList(message: string): AdapterEntry[] {
  return [...message.matchAll(/backend: '([^']*)', name: '([^']*)'/g)].map(([, backend, name]) => ({
    backend: backend!,
    name: name!,
  }));
}

/**
 * Chooses an adapter: the one whose name contains `wanted` (any case), else a GPU before lavapipe before SwiftShader.
 * Throws NoDeviceError that lists what there is, or says what to install where there is nothing.
 */
export function chooseAdapter(available: AdapterEntry[], wanted?: string): AdapterChoice {
  if (available.length === 0)
    throw new NoDeviceError(`device: expected a GPU or software adapter, got none; ${INSTALL}`);
  const ranked = available
    .filter((entry) => !wanted || entry.name.toLowerCase().includes(wanted.toLowerCase()))
    .sort((a, b) => rank(a.name) - rank(b.name));
  const best = ranked[0];
  const names = available.map((entry) => `'${entry.name}'`).join(', ');
  if (!best) {
    throw new NoDeviceError(
      `device: adapter: expected a name containing '${wanted}', got ${names}; choose one of these with --adapter or DAYBREAK_ADAPTER`,
    );
  }
  return { ...best, reason: wanted ? `its name contains '${wanted}'` : reasonFor(best, available.length) };
}

function reasonFor(entry: AdapterEntry, count: number): string {
  const kind = rank(entry.name) === 0 ? 'a GPU comes first' : 'no GPU found, software adapter';
  return count === 1 ? `${kind}, the only adapter` : `${kind}, best of ${count} adapters`;
}

const INSTALL =
  process.platform === 'linux'
    ? 'install the Vulkan driver of your GPU (NVIDIA: the proprietary driver; AMD, Intel: mesa-vulkan-drivers) and libvulkan1; ' +
      'for software rendering mesa-vulkan-drivers 24 or newer brings lavapipe'
    : 'update the graphics driver of this machine';
