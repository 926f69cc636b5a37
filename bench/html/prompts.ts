import { median, quantile } from '../measure.ts';
import { mebibytes } from '../report.ts';
import { namesOf } from './names.ts';
import { type BarFigure, type Cell, type DataTable, type Figure, groupBy, type Point, type Series } from './plot.ts';
import type { E2eRow } from './rows.ts';

/** A prompt's row under a name that no other row has. */
export interface Case {
  name: string;
  row: E2eRow;
}

/** Names rows by their prompts and, while that is ambiguous, by what else differs between them. */
export function namedCases(rows: readonly E2eRow[]): Case[] {
  const keys = ['dtype', 'model', 'adapter', 'driver', 'commit', 'file'] as const;
  const names = namesOf(rows, ({ prompt }) => prompt, keys);
  return rows.map((row, i) => ({ name: names[i]!, row }));
}

/** Whether each case is right; one that is wrong shows no time. `href` is where its details are. */
export function verdictTable(cases: readonly Case[], href: (index: number) => string): DataTable {
  return {
    columns: [
      'case',
      'positions',
      'verdict',
      'tokens matched',
      'ties',
      'max error / std',
      'mean error / std',
      'TTFT ms',
      'ms/token p50',
      'p90',
      'peak device MiB',
    ],
    rows: cases.map(({ name, row }, i) => [
      { text: name, href: href(i) },
      row.positions,
      ...agreement(row),
      ...(row.ok === false ? ['', '', '', ''] : times(row)),
    ]),
  };
}

function agreement({ ok, tokens, divergedAt, maxErrorStd, meanErrorStd }: E2eRow): Cell[] {
  if (ok === undefined) return ['not compared', '', '', '', ''];
  const verdict: Cell = ok ? { text: 'right', mark: 'ok' } : { text: `WRONG from ${divergedAt}`, mark: 'wrong' };
  return [verdict, `${tokens.matched}/${tokens.total}`, tokens.ties, maxErrorStd, meanErrorStd];
}

function times({ repeats, peakBytes }: E2eRow): number[] {
  const over = (value: (t: E2eRow['repeats'][number]) => number) => median(repeats.map(value));
  return [
    over((t) => t.ttftMillis),
    over((t) => median(t.stepMillis)),
    over((t) => quantile(t.stepMillis, 0.9)),
    mebibytes(peakBytes),
  ];
}

/** How far stages are from the reference. */
export function stageTable({ stages }: Pick<E2eRow, 'stages'>): DataTable {
  return {
    columns: ['stage', 'max|got - ref| / max|ref|', 'verdict'],
    rows: stages.map(({ stage, relative, ok }) => [
      stage,
      relative,
      ok ? { text: 'right', mark: 'ok' } : { text: 'WRONG', mark: 'wrong' },
    ]),
  };
}

/** The largest error of each step's logits and its bound, by case; a line per continuation. */
export function errorFigure(cases: readonly Case[]): Figure {
  const line = (errors: readonly number[], style: Omit<Series, 'points'>): Series => ({
    ...style,
    points: errors.map((y, i) => ({ x: i + 1, y })).filter(({ y }) => y > 0),
  });
  return {
    title: 'Logit error per step',
    note: 'max|got - ref| over the standard deviation of the reference logits. The bound is the tightest of all continuations at that step. An error of exactly 0 has no point.',
    x: { title: 'step (tokens)' },
    y: { title: 'error / standard deviation', log: true },
    charts: cases.map(({ name, row: { runs } }) => ({
      name,
      series: [
        ...Object.entries(runs).map(([run, { stepErrors }], color) =>
          line(stepErrors, { name: run, color, line: 'straight' }),
        ),
        line(tightest(Object.values(runs).map(({ stepBounds }) => stepBounds)), {
          name: 'bound',
          line: 'straight',
          dash: '4 3',
        }),
      ],
    })),
    table: {
      columns: ['case', 'continuation', 'step', 'error / std', 'bound / std'],
      rows: cases.flatMap(({ name, row: { runs } }) =>
        Object.entries(runs).flatMap(([run, { stepErrors, stepBounds }]) =>
          stepErrors.map((error, i) => [name, run, i + 1, error, stepBounds[i]!]),
        ),
      ),
    },
  };
}

/** The smallest of the bounds at each step. */
function tightest(bounds: readonly number[][]): number[] {
  const length = Math.max(0, ...bounds.map((steps) => steps.length));
  return Array.from({ length }, (_, i) => Math.min(...bounds.map((steps) => steps[i] ?? Number.POSITIVE_INFINITY)));
}

const PARTS: Record<string, (times: E2eRow['repeats'][number]) => number> = {
  vision: (t) => t.visionMillis,
  session: (t) => t.sessionMillis,
  prefill: (t) => t.prefillMillis,
  'first token': (t) => t.ttftMillis - t.visionMillis - t.sessionMillis - t.prefillMillis,
};

/** Where the time to the first token goes, by case. */
export function latencyFigure(cases: readonly Case[]): BarFigure {
  const parts = Object.entries(PARTS);
  const bars = cases.map(({ name, row }) => ({
    name,
    parts: parts.map(([name, part], color) => ({ name, color, value: median(row.repeats.map(part)) })),
  }));
  return {
    title: 'Time to first token (TTFT)',
    note: 'Wall clock; each part is the median over repeats. Before it: loading the model, compiling, reading pictures.',
    unit: 'ms',
    bars,
    table: {
      columns: ['case', ...parts.map(([name]) => `${name} ms`), 'TTFT ms', 'fastest', 'slowest', 'repeats'],
      rows: cases.map(({ name, row: { repeats } }, i) => {
        const ttft = repeats.map(({ ttftMillis }) => ttftMillis);
        const spread = [median(ttft), Math.min(...ttft), Math.max(...ttft), ttft.length];
        return [name, ...bars[i]!.parts.map(({ value }) => value), ...spread];
      }),
    },
  };
}

/** Milliseconds of each token after the first over its position, by case. */
export function tokenFigure(cases: readonly Case[]): Figure {
  const points = cases.map(({ row }) => tokenPoints(row));
  return {
    title: 'Time per token',
    note: 'Wall clock from one token to the next; the median over repeats and continuations. Tokens are decoded a few ahead and may arrive together. Not timed: the first token, which is in the TTFT.',
    x: { title: 'tokens after the prompt' },
    y: { title: 'ms per token' },
    charts: cases.map(({ name, row: { positions } }, i) => ({
      name: `${name}, ${positions} positions`,
      series: [{ name: 'median', color: 0, line: 'straight', points: points[i]! }],
    })),
    table: {
      columns: ['case', 'token', 'ms per token'],
      rows: cases.flatMap(({ name }, i) => points[i]!.map(({ x, y }) => [name, x, y])),
    },
  };
}

/** Every continuation begins again at the end of the prompt. */
function tokenPoints({ runs, repeats }: E2eRow): Point[] {
  const steps = Object.values(runs).flatMap(({ stepErrors }) => stepErrors.slice(1).map((_, i) => i));
  const samples = repeats.flatMap(({ stepMillis }) =>
    stepMillis.map((millis, i) => ({ token: 2 + (steps[i] ?? i), millis })),
  );
  const byToken = groupBy(samples, ({ token }) => token);
  return [...byToken].map(([x, group]) => ({ x, y: median(group.map(({ millis }) => millis)) }));
}

/** Device and resident memory over a run, in figures of their own: their sizes differ. */
export function memoryFigures({ memory }: E2eRow): Figure[] {
  const figure = (title: string, note: string, key: 'device' | 'resident', line: Series['line']): Figure => {
    const points = memory.map((sample) => ({ x: sample.millis, y: sample[key] / 2 ** 20 }));
    return {
      title,
      note: `${note} From reading the pictures to the last token of the first repeat.`,
      x: { title: 'ms since the prompt began' },
      y: { title: 'MiB' },
      charts: [{ name: '', series: [{ name: key, color: 0, line, points }] }],
      table: { columns: ['ms', 'MiB'], rows: points.map(({ x, y }) => [x, y]) },
    };
  };
  return [
    figure('Device memory', 'Buffers of the device: the most since the sample before.', 'device', 'step'),
    figure(
      'Resident memory',
      'Resident bytes of the whole process, on a software adapter with the device.',
      'resident',
      'straight',
    ),
  ];
}
