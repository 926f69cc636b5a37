import { median, quantile } from '../measure.ts';
import { ratio } from '../peers/side.ts';
import { shapeText } from './kernels.ts';
import { type Cell, type DataTable, groupBy } from './plot.ts';
import {
  type Ceilings,
  type CeilingsRow,
  type Environment,
  type HostRow,
  type PeersRow,
  type Row,
  rowsOf,
} from './rows.ts';

const MACHINE = ['adapter', 'driver', 'cpu'] as const;
const SOFTWARE = ['commit', 'node', 'webgpu'] as const;
const CEILINGS = {
  'copying, GB/s': 'copyGBs',
  'reading, GB/s': 'readGBs',
  'f32, GFLOP/s': 'f32Gflops',
  'f16, GFLOP/s': 'f16Gflops',
  'int8 dots, GOP/s': 'int8Gops',
  'dispatch, us (wall)': 'dispatchMicros',
  'timed pass, us': 'passMicros',
} as const;

/** A key of the machine that a row was measured on. */
export function machineOf(row: Environment): string {
  return JSON.stringify(MACHINE.map((key) => row[key]));
}

/** The best ceilings measured on the machine of a row, if any were. */
export function ceilingsOf(rows: readonly Row[], row: Environment): Ceilings | undefined {
  const own = rowsOf(rows, 'ceilings').filter((other) => machineOf(other) === machineOf(row));
  return own.length > 0 ? best(own.map(({ ceilings }) => ceilings)) : undefined;
}

function best(all: readonly Ceilings[]): Ceilings {
  const values = Object.values(CEILINGS).map((key) => {
    const measured = all.map((ceilings) => ceilings[key]).filter(Number.isFinite);
    if (measured.length === 0) return [key, Number.NaN];
    return [key, key.endsWith('Micros') ? Math.min(...measured) : Math.max(...measured)];
  });
  return { ...all[0]!, ...Object.fromEntries(values) };
}

/** Which machine and versions the rows come from, a column per environment. */
export function environmentTable(rows: readonly Row[]): DataTable {
  const key = (row: Row) => JSON.stringify([...MACHINE, ...SOFTWARE].map((name) => row[name]));
  const groups = [...groupBy(rows, key).values()];
  const facts = (['driver', 'cpu', ...SOFTWARE] as const).map((name) => [name, ...groups.map(([row]) => row![name])]);
  return {
    columns: ['', ...groups.map((_, i) => `environment ${groups.length > 1 ? i + 1 : ''}`)],
    rows: [
      ['adapter', ...groups.map(([row]) => row!.adapter + (row!.software ? ' (software)' : ''))],
      ...facts,
      ['date', ...groups.map(dates)],
    ],
  };
}

/** The first and the last date of rows. */
function dates(rows: readonly Row[]): string {
  const sorted = rows.map(({ date }) => date).sort();
  return [...new Set([sorted[0]!, sorted.at(-1)!])].join(' to ');
}

/** The best ceilings measured on each machine. */
export function ceilingsTable(rows: readonly CeilingsRow[]): DataTable {
  const machines = [...groupBy(rows, machineOf).values()];
  const measured = machines.map((own) => best(own.map(({ ceilings }) => ceilings)));
  return {
    columns: ['ceilings', ...machines.map(([row]) => row!.adapter)],
    rows: [
      ['clock of the rates', ...measured.map(({ clock }) => clock)],
      ...Object.entries(CEILINGS).map(([name, key]) => [name, ...measured.map((ceilings) => ceilings[key])]),
    ],
  };
}

/** The host's tasks, slowest first. */
export function hostTable(rows: readonly HostRow[]): DataTable {
  const tasks = rows.map(({ task, repeats }) => ({ task, samples: repeats.flat(), medians: repeats.map(median) }));
  return {
    columns: ['task', 'host us', 'p90', 'fastest repeat', 'slowest repeat', 'samples'],
    rows: tasks
      .map(({ task, samples, medians }): [string, ...number[]] => [
        task,
        median(medians),
        quantile(samples, 0.9),
        Math.min(...medians),
        Math.max(...medians),
        samples.length,
      ])
      .sort((a, b) => b[1]! - a[1]!),
  };
}

/** Our ops beside those of other runtimes; why there is no time where there is none. */
export function peersTable(rows: readonly PeersRow[]): DataTable {
  const names = [...new Set(rows.flatMap(({ peers }) => Object.keys(peers)))];
  return {
    columns: [
      'op',
      'dtype',
      'shape',
      'variant',
      'ours us',
      ...names.flatMap((name) => [`${name} us`, `${name} / ours`]),
    ],
    rows: rows.map(({ op, dtype, shape, ours, peers }) => [
      op,
      dtype,
      shapeText(shape),
      ours.variant,
      ours.error ?? median(ours.micros),
      ...names.flatMap((name): Cell[] => {
        const side = Object.hasOwn(peers, name) ? peers[name]! : undefined;
        if (!side) return ['', ''];
        return [side.error ?? median(side.micros), ratio(ours, side) ?? ''];
      }),
    ]),
  };
}
