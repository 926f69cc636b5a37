import { arch, cpus, platform, release } from 'node:os';
import { deviceLine, mebibytes, versionOf } from '../../bench/report.ts';
import { usualActivations } from '../../model/index.ts';
import {
  type AdapterEntry,
  cacheFolder,
  type Device,
  type DeviceInfo,
  listAdapters,
  type MatrixUnit,
  openDevice,
} from '../../runtime/index.ts';
import { FEATURES, LIMITS } from '../../runtime/webgpu_device.ts';
import { write } from './terminal.ts';
import { examineVariants, printVariants } from './variants.ts';

/** Options of `info`. */
export interface InfoCommand {
  adapter?: string;
  json?: boolean;
}

/**
 * Says what there is to compute on and what would be used: adapters, features, limits, versions, variants of kernels. Returns 1
 * where one of these was found wrong.
 */
export async function info({ adapter, json }: InfoCommand): Promise<number> {
  const versions = examineProgram();
  if (!json)
    show(
      `daybreak ${versions.daybreak}, node ${versions.node}, webgpu ${versions.webgpu} (Dawn), ${versions.system}, ${versions.cpu}`,
    );
  const device = await openDevice({ adapter });
  try {
    const adapters = await listAdapters();
    const variants = examineVariants(device);
    const examined = examineDevice(device);
    if (json) show(JSON.stringify({ ...versions, adapters, ...examined, variants }, undefined, 2));
    else {
      printDevice(device, examined, adapters);
      printVariants(variants);
    }
    return variants.wrong.length > 0 ? 1 : 0;
  } finally {
    device.dispose();
  }
}

/** What runs here, as JSON has it. */
function examineProgram() {
  const versions = { daybreak: versionOf('daybreak'), node: process.version, webgpu: versionOf('webgpu') };
  const system = `${platform()} ${release()} ${arch()}`;
  return { ...versions, system, cpu: `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}`, cache: cacheFolder() };
}

/** What an open device is, as JSON has it. */
function examineDevice(device: Device) {
  const { name, driver, reason, features, matrices, unusable, leastLanes, limits, onCpu, robustness, available } =
    device;
  return {
    ...{ adapter: name, driver, reason, onCpu, robustness, leastLanes },
    ...{ features: [...features], lacking: FEATURES.filter((feature) => !features.has(feature)) },
    ...{ matrices: matrices ?? null, unusable, available, activations: usualActivations(device) },
    limits: Object.fromEntries(LIMITS.map((limit) => [limit, limits[limit]])),
  };
}

/** The matrix units that a device computes right with, and those that it lists and that were left out, with the reason. */
export function unitLines({ matrices, unusable }: Pick<DeviceInfo, 'matrices' | 'unusable'>): string[] {
  const shown = ({ component, result, M, N, K }: Omit<MatrixUnit, 'lanes'>) =>
    `${M}x${N}x${K} of ${component} to ${result}`;
  const right = matrices?.map((unit) => `${shown(unit)} in ${unit.lanes} lanes`).join(', ');
  return [
    `Matrix units: ${matrices ? right || 'none' : 'any, as the null backend only compiles'}`,
    ...unusable.map((unit) => `  listed but not used: ${shown(unit)}: ${unit.reason}`),
  ];
}

/** Prints what a device is, and what follows from it. */
function printDevice(
  device: Device,
  { adapter, features, lacking, limits, robustness, available, activations }: ReturnType<typeof examineDevice>,
  adapters: readonly AdapterEntry[],
): void {
  show(deviceLine(device));
  show(`Adapters: ${adapters.map((entry) => `${entry.name} (${entry.backend})`).join(', ')}`);
  show(`Features of ${adapter}: ${features.join(', ') || 'none'}; lacking: ${lacking.join(', ') || 'none'}`);
  for (const line of unitLines(device)) show(line);
  show(
    `Limits: ${Object.entries(limits)
      .map(([limit, value]) => `${limit} ${value}`)
      .join(', ')}`,
  );
  show(
    `Memory: ${available === undefined ? 'WebGPU does not say what the GPU has' : `${mebibytes(available)} MiB free, which this adapter shares`}`,
  );
  show(`Guards in kernels (robustness): ${robustness ? 'on' : 'off'}`);
  const { dtype, int8Activations } = activations;
  const int8 = int8Activations ? ', int8 where weights are quantised' : '';
  show(`Activations: ${dtype}${int8}, unless --dtype or --int8-activations say otherwise`);
  show(`Cache folder: ${cacheFolder()}\n`);
}

function show(line: string): void {
  write(process.stdout, `${line}\n`);
}
