import { type Case, showCase } from '../../kernels/spec.ts';
import { median, sum } from '../measure.ts';
import { digits } from '../report.ts';
import {
  type BarFigure,
  type Cell,
  type Chart,
  type DataTable,
  type Figure,
  groupBy,
  type Point,
  type Series,
} from './plot.ts';
import type { Ceilings, E2eRow, OpsRow } from './rows.ts';

/** What dispatches do, as their op declares it. */
interface Work {
  flops: number;
  bytes: number;
}

/** Work, and the GPU time that it took. */
interface Timed extends Work {
  micros: number;
}

/** Dispatches of one phase that run the same kernel at the same place of some layer, summed. */
export interface DispatchGroup extends Timed {
  phase: string;
  kernel: string;
  /** With `*` for the layer. */
  scope: string;
  dispatches: Work[];
  /** Of the phase's GPU time. */
  share: number;
}

const PHASES = ['vision', 'prefill', 'decode'];
const SLOWEST = 8;
/** What the column of shares means. */
export const CEILING =
  'Ceiling: the time that the measured ceilings allow, max(flops / f32 rate, bytes / bandwidth) per dispatch, over the time taken; caches, int8 dots and f16 matrices can pass 100 %.';

/** The dispatches of a case, summed over layers; slowest first. */
export function dispatchGroups({ kernels }: E2eRow): DispatchGroup[] {
  const byPhase = groupBy(kernels, ({ phase }) => phase);
  return [...byPhase].flatMap(([phase, inPhase]) => {
    const total = sum(inPhase.map(({ micros }) => micros));
    const dispatches = inPhase.map((row) => ({ ...row, scope: row.scope.replace(/\d+/g, '*') }));
    const groups = groupBy(dispatches, ({ kernel, scope }) => JSON.stringify([kernel, scope]));
    return [...groups.values()]
      .map((rows) => {
        const { kernel, scope } = rows[0]!;
        const micros = sum(rows.map((row) => row.micros));
        const work = { flops: sum(rows.map((row) => row.flops)), bytes: sum(rows.map((row) => row.bytes)) };
        return { phase, kernel, scope, dispatches: rows, micros, ...work, share: micros / total };
      })
      .sort((a, b) => b.micros - a.micros);
  });
}

/** The kernels that take most of each phase's GPU time. */
export function slowestFigure(groups: readonly DispatchGroup[], ceilings: Ceilings | undefined): BarFigure {
  const bars = PHASES.flatMap((phase, color) => {
    const kernels = groupBy(
      groups.filter((group) => group.phase === phase),
      ({ kernel }) => kernel,
    );
    return [...kernels]
      .map(([name, own]) => ({
        name,
        parts: [{ name: phase, color, value: 100 * sum(own.map(({ share }) => share)) }],
      }))
      .sort((a, b) => b.parts[0]!.value - a.parts[0]!.value)
      .slice(0, SLOWEST);
  });
  return {
    title: 'Slowest kernels',
    note: `GPU clock: the share of its phase, at most ${SLOWEST} kernels each. Every dispatch has a timed pass of its own. ${CEILING}`,
    unit: '%',
    bars,
    table: {
      columns: ['phase', 'kernel', 'scope', 'dispatches', 'GPU ms', '% of phase', ...RATES],
      rows: groups.map((group) => {
        const { phase, kernel, scope, dispatches, micros, share } = group;
        return [
          phase,
          kernel,
          scope,
          dispatches.length,
          micros / 1e3,
          100 * share,
          ...rates(group, dispatches, ceilings),
        ];
      }),
    },
  };
}

/** GPU time of each phase beside the wall clock of the same run. */
export function phaseTable({ profile, kernels }: E2eRow): DataTable {
  return {
    columns: ['phase', 'dispatches', 'GPU ms', 'wall ms', 'GPU/wall %'],
    rows: Object.entries(profile).map(([phase, time]) => {
      const dispatches = kernels.filter((row) => row.phase === phase).length;
      return [phase, dispatches, time.gpuMicros / 1e3, time.wallMicros / 1e3, (100 * time.gpuMicros) / time.wallMicros];
    }),
  };
}

/** Achieved rate over arithmetic intensity of a case's dispatch groups, under the device's ceilings; by phase. */
export function caseRoofline(groups: readonly DispatchGroup[], ceilings: Ceilings | undefined): Figure {
  const points = PHASES.map((phase) => {
    const own = groups.filter((group) => group.phase === phase);
    return [phase, own.flatMap((group) => rooflinePoint(group, label(group), group.share))] as const;
  });
  const note =
    'GPU clock; a point is a kernel at one place of a layer, summed over layers, and larger where it takes more of its phase.';
  return rooflineFigure(note, points, ceilings);
}

function label({ kernel, scope, dispatches, share }: DispatchGroup): string {
  return `${kernel}\n${scope}\n${dispatches.length} dispatches, ${digits(100 * share)} % of the phase`;
}

/** The same of ops at their bench shapes, by op. */
export function opsRoofline(rows: readonly OpsRow[], ceilings: Ceilings | undefined): Figure {
  const points = [...groupBy(rows, ({ kernel }) => kernel.split('/')[0]!)].map(
    ([op, own]) =>
      [op, own.flatMap((row) => rooflinePoint(timed(row), `${row.kernel}\n${shapeText(row.shape)}`, 0))] as const,
  );
  return rooflineFigure('GPU clock; a point is a kernel at one shape.', points, ceilings);
}

/** Every kernel at every shape, slowest first. */
export function opsTable(rows: readonly OpsRow[], ceilings: Ceilings | undefined): DataTable {
  const slowest = rows.map((row) => ({ row, time: timed(row) })).sort((a, b) => b.time.micros - a.time.micros);
  return {
    columns: ['kernel', 'shape', 'dispatches', 'GPU us', 'fastest repeat', 'slowest repeat', ...RATES],
    rows: slowest.map(({ row, time }) => {
      const medians = row.repeats.map(median);
      const spread = [time.micros, Math.min(...medians), Math.max(...medians)];
      return [row.kernel, shapeText(row.shape), row.dispatches, ...spread, ...rates(time, [row], ceilings)];
    }),
  };
}

/** The time is the median over repeats of each one's median. */
function timed({ repeats, flops, bytes }: OpsRow): Timed {
  return { micros: median(repeats.map(median)), flops, bytes };
}

/** Sizes as `K=5120, N=1280`, which fits into a narrow column. */
export function shapeText(shape: OpsRow['shape']): string {
  return showCase(shape as Case).replaceAll(',', ', ');
}

const RATES = ['flop/byte', 'GFLOP/s', 'GB/s', '% of ceiling'];

function rates({ micros, flops, bytes }: Timed, dispatches: readonly Work[], ceilings: Ceilings | undefined): Cell[] {
  const rates = [flops / bytes, flops / micros / 1e3, bytes / micros / 1e3];
  if (!ceilings) return [...rates, ''];
  const allowed = dispatches.map((work) => Math.max(work.flops / ceilings.f32Gflops, work.bytes / bandwidth(ceilings)));
  return [...rates, sum(allowed) / 10 / micros];
}

function bandwidth({ copyGBs, readGBs }: Ceilings): number {
  return Math.max(copyGBs, readGBs);
}

function rooflinePoint({ micros, flops, bytes }: Timed, text: string, share: number): Point[] {
  const [x, y] = [flops / bytes, flops / micros / 1e3];
  const drawable = [x, y].every((value) => value > 0 && Number.isFinite(value));
  return drawable ? [{ x, y, radius: 3 + 7 * Math.sqrt(share), label: text }] : [];
}

function rooflineFigure(
  note: string,
  points: readonly (readonly [string, Point[]])[],
  ceilings: Ceilings | undefined,
): Figure {
  const drawn = points.filter(([, own]) => own.length > 0);
  const intensities = drawn.flatMap(([, own]) => own.map(({ x }) => x));
  const limits = ceilings ? roofs(ceilings, intensities) : [];
  const source = ceilings
    ? 'The roofs were measured on this device.'
    : 'The ceilings of this device are not in the files.';
  return {
    title: 'Roofline',
    note: `${note} Flops and bytes as the op declares them; kernels without flops have no point. ${source}`,
    x: { title: 'arithmetic intensity (flop/byte)', log: true },
    y: { title: 'achieved rate (GFLOP/s)', log: true },
    charts: drawn.map(
      ([name, own]): Chart => ({ name, series: [...limits, { name: 'kernel', color: 0, points: own }] }),
    ),
  };
}

/** The slope of memory up to the highest rate, and each rate from where memory can feed it. */
function roofs(ceilings: Ceilings, intensities: readonly number[]): Series[] {
  const slope = bandwidth(ceilings);
  const rates = [
    ['f32 GFLOP/s', ceilings.f32Gflops, '6 3'],
    ['f16 GFLOP/s', ceilings.f16Gflops, '2 2'],
    ['int8 GOP/s', ceilings.int8Gops, '8 2 2 2'],
  ] as const;
  const measured = rates.filter(([, rate]) => rate > 0);
  const ridge = Math.max(...measured.map(([, rate]) => rate)) / slope;
  const left = Math.min(ridge / 4, ...intensities) / 2;
  const right = Math.max(ridge * 4, ...intensities) * 2;
  const memory = [left, ridge].map((x) => ({ x, y: x * slope }));
  const roof = (name: string, dash: string, points: Point[]): Series => ({ name, dash, line: 'straight', points });
  return [
    roof(`memory ${digits(slope)} GB/s`, '0', memory),
    ...measured.map(([name, rate, dash]) =>
      roof(`${digits(rate)} ${name}`, dash, [
        { x: rate / slope, y: rate },
        { x: right, y: rate },
      ]),
    ),
  ];
}
