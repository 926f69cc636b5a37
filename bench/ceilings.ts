import type { Device } from '../runtime/index.ts';
import { saveCeilings } from './ceilings/cache.ts';
import { type Ceilings, type MeasuredKernel, measureCeilings } from './ceilings/measure.ts';
import { median } from './measure.ts';
import { openAdapter } from './open.ts';
import { digits, environment, JsonLines, Table } from './report.ts';

/** Options of `bench ceilings`. */
export interface CeilingsOptions {
  adapter?: string;
  json?: string;
}

const UNITS = {
  copyGBs: 'GB/s copy',
  readGBs: 'GB/s read',
  f32Gflops: 'GFLOP/s f32',
  f16Gflops: 'GFLOP/s f16',
  int8Gops: 'GOP/s int8 dots',
  dispatchMicros: 'us/dispatch',
  passMicros: 'us/timed pass',
};

/** Measures a device's ceilings and prints every kernel tried. Returns the exit code: 0 all count, 1 one does not. */
export async function ceilings(options: CeilingsOptions): Promise<number> {
  const device = await openAdapter(options.adapter);
  const json = new JsonLines(options.json);
  const measured = await measureCeilings(device);
  saveCeilings(device, measured.ceilings);
  printKernels(measured.kernels, measured.ceilings);
  console.log(showCeilings(measured.ceilings));
  json.write(ceilingsRow(device, measured));
  return measured.kernels.every(({ problem }) => problem === undefined) ? 0 : 1;
}

/** Measures a device's ceilings, prints them in one line and writes them as a row of a report. */
export async function reportCeilings(device: Device, json: JsonLines): Promise<Ceilings> {
  const measured = await measureCeilings(device);
  console.log(showCeilings(measured.ceilings));
  json.write(ceilingsRow(device, measured));
  return measured.ceilings;
}

/** Ceilings in one line. */
export function showCeilings(ceilings: Ceilings): string {
  const values = Object.entries(UNITS).flatMap(([quantity, unit]) => {
    const value = ceilings[quantity as keyof typeof UNITS];
    return value === null ? [] : [`${Number.isNaN(value) ? 'no' : digits(value)} ${unit}`];
  });
  return `ceilings (${ceilings.clock} clock, dispatches wall): ${values.join(', ')}`;
}

function ceilingsRow(device: Device, { ceilings, kernels }: Awaited<ReturnType<typeof measureCeilings>>): object {
  const samples = Object.fromEntries(kernels.map(({ quantity, name, micros }) => [`${quantity} ${name}`, micros]));
  return { ...environment(device), bench: 'ceilings', ceilings, samples };
}

function printKernels(kernels: readonly MeasuredKernel[], ceilings: Ceilings): void {
  console.log(
    'The fastest sample of the kernel marked with * counts; one that writes what it should not has no time. Times are of one dispatch.',
  );
  const table = new Table({ ceiling: 15, value: 9, '': 1, 'least us': 9, 'median us': 9, kernel: 0 });
  for (const { quantity, name, value, micros, problem } of kernels) {
    const mark = value !== undefined && value === ceilings[quantity] ? '*' : '';
    const times = [digits(Math.min(...micros)), digits(median(micros))];
    const cells = problem ? [`${problem}  ${name}`] : [digits(value!), mark, ...times, name];
    table.row([UNITS[quantity], ...cells]);
  }
}
