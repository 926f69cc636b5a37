import * as v from 'valibot';
import { QUANTITIES } from '../ceilings/probes.ts';
import { type Kind, parseAs } from '../parse.ts';
import { folderName } from '../report.ts';

/** JSON has no NaN and writes null, which is read back as NaN. */
const number = v.pipe(
  v.nullable(v.number()),
  v.transform((value) => value ?? Number.NaN),
);
const numbers = v.array(number);
const text = v.string();
const flag = v.boolean();
/** Missing in rows of before it was told. */
const activations = v.optional(text);
const folder = v.pipe(v.string(), v.transform(folderName));
/** So many numbers, by these names. */
const each = <K extends string>(...keys: readonly K[]) =>
  Object.fromEntries(keys.map((key) => [key, number])) as Record<K, typeof number>;
const sizes = v.record(v.string(), v.union([v.string(), v.number(), v.boolean()]));

/** What every row says of where it was measured. */
const ENVIRONMENT = {
  adapter: v.optional(text, 'no adapter'),
  driver: v.optional(text, ''),
  software: v.optional(flag, false),
  commit: text,
  node: text,
  webgpu: text,
  cpu: text,
  date: text,
};
const VERDICT = {
  ...each('steps', 'matched', 'ties', 'relative'),
  wrong: numbers,
  stepErrors: numbers,
  stepBounds: numbers,
  ok: flag,
};
const TIMES = {
  ...each('imageMillis', 'visionMillis', 'sessionMillis', 'prefillMillis', 'ttftMillis'),
  stepMillis: numbers,
};
const SIDE = { micros: numbers, waitMicros: numbers, error: v.optional(text) };
const DISPATCH = { phase: text, scope: text, kernel: text, ...each('micros', 'flops', 'bytes') };
const RATE = v.object(each('bytes', 'millis'));
const TALLY = each('all', 'right', 'low', 'high', 'compared', 'referenceRight', 'same', 'ties');
const PICTURE = v.pipe(v.string(), v.regex(/^data:image\/\w+;base64,[\w+/=]+$/, 'a data: URL of a picture'));
const stages = v.array(v.object({ stage: text, relative: number, ok: flag }));

const row = <B extends string, E extends v.ObjectEntries>(bench: B, entries: E) =>
  v.object({ bench: v.literal(bench), ...ENVIRONMENT, ...entries });

/** What the rows of each bench must hold; what else they hold is left out. */
const ROWS = {
  ceilings: row('ceilings', { ceilings: v.object({ clock: text, ...each(...QUANTITIES) }) }),
  e2e: row('e2e', {
    model: folder,
    dtype: text,
    activations,
    prompt: text,
    ...each('positions', 'maxErrorStd', 'meanErrorStd', 'peakBytes'),
    ok: v.optional(flag),
    tokens: v.object(each('matched', 'ties', 'total')),
    stages,
    runs: v.record(v.string(), v.object(VERDICT)),
    divergedAt: v.optional(text),
    repeats: v.array(v.object(TIMES)),
    memory: v.array(v.object(each('millis', 'device', 'resident'))),
    kernels: v.array(v.object(DISPATCH)),
    profile: v.record(v.string(), v.object(each('gpuMicros', 'wallMicros'))),
  }),
  speed: row('speed', {
    model: folder,
    dtype: text,
    activations,
    name: text,
    samples: numbers,
    problem: v.optional(text),
  }),
  full: row('full', {
    model: folder,
    activations,
    ...each('positions', 'visionMillis', 'prefillMillis', 'ttftMillis'),
    stepMillis: numbers,
    disk: RATE,
    load: RATE,
    memory: v.object(each('resident', 'device')),
    stages,
  }),
  quality: row('quality', {
    model: folder,
    label: text,
    activations: text,
    ...each('bytes', 'steps', 'meanKl', 'maxKl', 'top1'),
  }),
  accuracy: row('accuracy', {
    model: folder,
    tasks: text,
    weights: text,
    activations: text,
    bytes: number,
    groups: v.array(v.object({ name: text, ...TALLY })),
    wrong: v.array(
      v.object({ task: text, mode: text, question: text, answer: text, text, pictures: v.array(PICTURE) }),
    ),
  }),
  ops: row('ops', {
    kernel: text,
    shape: sizes,
    repeats: v.array(numbers),
    ...each('flops', 'bytes', 'dispatches'),
  }),
  host: row('host', { task: text, repeats: v.array(numbers) }),
  peers: row('peers', {
    op: text,
    shape: sizes,
    dtype: text,
    ours: v.object({ ...SIDE, variant: text, gpuMicros: numbers }),
    peers: v.record(v.string(), v.object(SIDE)),
  }),
};

/** Names of the benches that the report shows. */
export const SHOWN = Object.keys(ROWS) as (keyof typeof ROWS)[];

type RowOf<B extends keyof typeof ROWS> = v.InferOutput<(typeof ROWS)[B]> & { file?: string };
export type CeilingsRow = RowOf<'ceilings'>;
export type E2eRow = RowOf<'e2e'>;
export type SpeedRow = RowOf<'speed'>;
export type FullRow = RowOf<'full'>;
export type QualityRow = RowOf<'quality'>;
export type AccuracyRow = RowOf<'accuracy'>;
export type OpsRow = RowOf<'ops'>;
export type HostRow = RowOf<'host'>;
export type PeersRow = RowOf<'peers'>;
export type Row = { [B in keyof typeof ROWS]: RowOf<B> }[keyof typeof ROWS];
/** Measured limits of a device and the clock of the rates; NaN for what it does not have. */
export type Ceilings = CeilingsRow['ceilings'];
/** The row of a bench that the report does not show. */
export interface OtherRow {
  other: string;
}

/** The rows of one bench. */
export function rowsOf<B extends Row['bench']>(rows: readonly Row[], bench: B): Extract<Row, { bench: B }>[] {
  return rows.filter((row): row is Extract<Row, { bench: B }> => row.bench === bench);
}

const KIND: Kind = { text: 'a line of JSON', root: 'row', hint: 'run the bench again, or take the line out' };

/** The row that a line of JSON holds. UsageError `<place>: ...` for a line that is no such row. */
export function parseRow(line: string, place: string): Row | OtherRow {
  const { bench } = parseAs(v.object({ bench: text }), line, place, KIND);
  if (!Object.hasOwn(ROWS, bench)) return { other: bench };
  return parseAs(ROWS[bench as Row['bench']], line, `${place}: ${bench}`, KIND);
}
