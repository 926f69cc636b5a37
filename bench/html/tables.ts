import { bestOf, QUANTITIES, UNITS } from '../ceilings/probes.ts';
import { median, quantile, sum } from '../measure.ts';
import { ratio } from '../peers/side.ts';
import { mebibytes } from '../report.ts';
import { shapeText } from './kernels.ts';
import type { Origin } from './names.ts';
import type { Cell, DataTable } from './plot.ts';
import {
  type AccuracyRow,
  type Ceilings,
  type CeilingsRow,
  type FullRow,
  type HostRow,
  type PeersRow,
  type QualityRow,
  type Row,
  rowsOf,
  type SpeedRow,
} from './rows.ts';

const MACHINE = ['adapter', 'driver', 'cpu'] as const;
/** The best ceilings measured on the machine of a row, if any were. */
export function ceilingsOf(rows: readonly Row[], row: Row): Ceilings | undefined {
  const own = rowsOf(rows, 'ceilings').filter((other) => MACHINE.every((key) => other[key] === row[key]));
  return own.length > 0 ? best(own) : undefined;
}

function best(rows: readonly CeilingsRow[]): Ceilings {
  const values = QUANTITIES.map((quantity) => {
    const measured = rows.map(({ ceilings }) => ceilings[quantity]).filter(Number.isFinite);
    return [quantity, bestOf(quantity, measured)];
  });
  return { ...rows[0]!.ceilings, ...Object.fromEntries(values) };
}

/** Which files, machines and versions the rows come from. */
export function originTable(origins: readonly Origin[]): DataTable {
  const firsts = origins.map(({ rows }) => rows[0]!);
  const facts = (['driver', 'cpu', 'commit', 'node', 'webgpu'] as const).filter((key) =>
    firsts.some((row) => row[key]),
  );
  return {
    columns: ['file', 'adapter', ...facts, 'date'],
    rows: origins.map((origin, i) => {
      const { adapter, software, file = '', ...row } = firsts[i]!;
      return [file, adapter + (software ? ' (software)' : ''), ...facts.map((key) => row[key]), dates(origin)];
    }),
  };
}

/** The first and the last date of rows, to the minute. */
function dates({ rows }: Origin): string {
  const sorted = rows.map(({ date }) => date.slice(0, 16).replace('T', ' ')).sort();
  return [...new Set([sorted[0]!, sorted.at(-1)!])].join(' to ');
}

/** The best ceilings of each file and machine that has some. */
export function ceilingsTable(origins: readonly Origin[]): DataTable {
  const measured = origins.map(({ name, rows }) => ({ name, own: rowsOf(rows, 'ceilings') }));
  return {
    columns: ['ceilings of', 'clock of the rates', ...Object.values(UNITS)],
    rows: measured
      .filter(({ own }) => own.length > 0)
      .map(({ name, own }) => {
        const ceilings = best(own);
        return [name || own[0]!.adapter, ceilings.clock, ...QUANTITIES.map((quantity) => ceilings[quantity])];
      }),
  };
}

/** Tokens per second as llama-bench counts them, or why there are none. */
export function speedTable(rows: readonly SpeedRow[]): DataTable {
  return {
    columns: ['model', 'activations', 'test', 'tokens/s', 'slowest', 'fastest', 'repeats'],
    rows: rows.map(({ model, dtype, activations = dtype, name, samples, problem }) => [
      ...[model, activations, name],
      ...(problem ? [problem, '', ''] : [median(samples), Math.min(...samples), Math.max(...samples)]),
      samples.length,
    ]),
  };
}

/** Full-size runs; one that is wrong shows no time. */
export function fullTable(rows: readonly FullRow[]): DataTable {
  const rate = ({ bytes, millis }: FullRow['disk']) => bytes / millis / 1e3;
  return {
    columns: [
      ...['model', 'verdict', 'largest error of a stage', 'positions', 'vision s', 'prefill s', 'TTFT s', 'ms/token'],
      ...['loaded MB/s', 'only read MB/s', 'checkpoint MiB', 'resident MiB', 'device MiB'],
    ],
    rows: rows.map(({ model, stages, positions, disk, load, memory, ...row }): Cell[] => {
      const wrong = stages.find(({ ok }) => !ok);
      const verdict: Cell = wrong
        ? { text: `WRONG from ${wrong.stage}`, mark: 'wrong' }
        : { text: 'right', mark: 'ok' };
      const seconds = [row.visionMillis, row.prefillMillis, row.ttftMillis].map((millis) => millis / 1e3);
      const times = [...seconds, median(row.stepMillis), rate(load), rate(disk)];
      return [
        ...[model, verdict, Math.max(...stages.map(({ relative }) => relative)), positions],
        ...(wrong ? times.map(() => '') : times),
        ...[disk.bytes, memory.resident, memory.device].map(mebibytes),
      ];
    }),
  };
}

/** What quantised weights cost. */
export function qualityTable(rows: readonly QualityRow[]): DataTable {
  return {
    columns: ['model', 'weights', 'activations', 'MiB', 'mean KL', 'largest KL', 'same token %', 'steps'],
    rows: rows.map(({ model, label, activations, bytes, meanKl, maxKl, top1, steps }) => [
      ...[model, label, activations],
      ...[mebibytes(bytes), meanKl, maxKl, 100 * top1, steps],
    ]),
  };
}

/** How many answers are right, by weights, task and mode. */
export function accuracyTable(rows: readonly AccuracyRow[]): DataTable {
  return {
    columns: [
      ...['model', 'tasks', 'weights', 'activations', 'task', 'right', 'of', '%', 'low %', 'high %'],
      ...['reference %', 'same as reference', 'ties'],
    ],
    rows: rows.flatMap(({ model, tasks, weights, activations, groups }) =>
      groups.map(({ name, right, all, low, high, compared, referenceRight, same, ties }): Cell[] => [
        ...[model, tasks, weights, activations, name],
        ...[right, all, 100 * (right / all), 100 * low, 100 * high],
        ...(compared > 0 ? [100 * (referenceRight / compared), `${same}/${compared}`, ties] : ['', '', '']),
      ]),
    ),
  };
}

/** The host's tasks, slowest first. */
export function hostTable(rows: readonly HostRow[]): DataTable {
  const tasks = rows.map(({ task, repeats }): [string, ...number[]] => {
    const medians = repeats.map(median);
    const spread = [Math.min(...medians), Math.max(...medians), sum(repeats.map((samples) => samples.length))];
    return [task, median(medians), quantile(repeats.flat(), 0.9), ...spread];
  });
  return {
    columns: ['task', 'host us', 'p90', 'fastest repeat', 'slowest repeat', 'samples'],
    rows: tasks.sort((a, b) => b[1]! - a[1]!),
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
      ...[op, dtype, shapeText(shape), ours.variant],
      ours.error ?? median(ours.micros),
      ...names.flatMap((name): Cell[] => {
        const side = Object.hasOwn(peers, name) ? peers[name]! : undefined;
        if (!side) return ['', ''];
        return [side.error ?? median(side.micros), ratio(ours, side) ?? ''];
      }),
    ]),
  };
}
