import { cpus, loadavg } from 'node:os';
import type { Device } from '../runtime/index.ts';
import { type KnownCeilings, measureAgain } from './ceilings/cache.ts';
import type { Ceilings, MeasuredKernel } from './ceilings/measure.ts';
import { bestOf, QUANTITIES, UNITS } from './ceilings/probes.ts';
import { median } from './measure.ts';
import { openAdapter } from './open.ts';
import { digits, environment, JsonLines, Table } from './report.ts';

/** Options of `bench ceilings`. */
export interface CeilingsOptions {
  adapter?: string;
  json?: string;
}

/** Measures a device's ceilings and prints every kernel tried. Returns the exit code: 0 all count, 1 one does not. */
export async function ceilings(options: CeilingsOptions): Promise<number> {
  const device = await openAdapter(options.adapter);
  const json = new JsonLines(options.json);
  const measured = await measureAgain(device);
  printKernels(measured.kernels);
  console.log(showCeilings(measured));
  json.write(ceilingsRow(device, measured));
  return measured.kernels.every(({ problem }) => problem === undefined) ? 0 : 1;
}

/** Measures a device's ceilings once more, prints the best known and writes them as a row of a report. */
export async function reportCeilings(device: Device, json: JsonLines): Promise<Ceilings> {
  const measured = await measureAgain(device);
  console.log(showCeilings(measured));
  json.write(ceilingsRow(device, measured));
  return measured.best;
}

/** The best ceilings known in one line, and where there are several runs the worst in another; a word on a busy machine. */
export function showCeilings({ best, worst, runs }: KnownCeilings): string {
  const values = (ceilings: Ceilings) =>
    QUANTITIES.flatMap((quantity) => {
      const value = ceilings[quantity];
      return value === null ? [] : [`${Number.isNaN(value) ? 'no' : digits(value)} ${UNITS[quantity]}`];
    });
  const spread = runs > 1 ? [`best of ${runs} runs on this machine; the worst: ${values(worst).join(', ')}`] : [];
  const lines = [`ceilings (${best.clock} clock, dispatches wall): ${values(best).join(', ')}`, ...spread];
  return [...lines, ...busy(loadavg()[0]!, cpus().length)].join('\n');
}

/** A line where more processes want to run than there are cores. */
export function busy(load: number, cores: number): string[] {
  if (load <= cores) return [];
  return [`note: load average ${digits(load)} on ${cores} cores: other work slows what is measured now`];
}

function ceilingsRow(device: Device, { best, worst, runs, kernels }: Awaited<ReturnType<typeof measureAgain>>): object {
  const samples = Object.fromEntries(kernels.map(({ quantity, name, micros }) => [`${quantity} ${name}`, micros]));
  return { ...environment(device), bench: 'ceilings', ceilings: best, worst, runs, samples };
}

function printKernels(kernels: readonly MeasuredKernel[]): void {
  console.log(
    'The fastest sample of the kernel marked with * counts; one that writes what it should not has no time. Times are of one dispatch.',
  );
  const table = new Table({ ceiling: 15, value: 9, '': 1, 'least us': 9, 'median us': 9, kernel: 0 });
  for (const { quantity, name, value, micros, problem } of kernels) {
    const values = kernels.flatMap((other) => (other.quantity === quantity ? (other.value ?? []) : []));
    const mark = value === bestOf(quantity, values) ? '*' : '';
    const times = [digits(Math.min(...micros)), digits(median(micros))];
    const cells = problem ? [`${problem}  ${name}`] : [digits(value!), mark, ...times, name];
    table.row([UNITS[quantity], ...cells]);
  }
}
