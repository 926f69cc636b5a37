import { isObject, show } from '../../model/checkpoint/json.ts';
import { UsageError } from '../../runtime/index.ts';
import type { PromptResult } from '../e2e/result.ts';
import type { OurSide } from '../peers/peers_report.ts';
import type { Side } from '../peers/side.ts';

/** What every row says of where it was measured. */
export interface Environment {
  bench: string;
  adapter: string;
  driver: string;
  software: boolean;
  commit: string;
  node: string;
  webgpu: string;
  cpu: string;
  date: string;
}

/** Measured limits of a device and the clock of the rates; NaN for what it does not have. */
export type Ceilings = Record<keyof typeof RATES, number> & { clock: string };

/** Bounds of each step's error over the logits' deviation are in newer files. */
type Verdict = PromptResult['runs'][string];
type Sizes = Record<string, string | number | boolean>;

export type CeilingsRow = Environment & { bench: 'ceilings'; ceilings: Ceilings };
export type E2eRow = Environment &
  PromptResult & { bench: 'e2e'; model: string; dtype: string; runs: Record<string, Verdict> };
export type OpsRow = Environment & {
  bench: 'ops';
  kernel: string;
  shape: Sizes;
  repeats: number[][];
  flops: number;
  bytes: number;
  dispatches: number;
};
export type HostRow = Environment & { bench: 'host'; task: string; repeats: number[][] };
export type PeersRow = Environment & {
  bench: 'peers';
  op: string;
  shape: Sizes;
  dtype: string;
  ours: OurSide;
  peers: Record<string, Side>;
};
export type Row = CeilingsRow | E2eRow | OpsRow | HostRow | PeersRow;

/** The rows of one bench. */
export function rowsOf<B extends Row['bench']>(rows: readonly Row[], bench: B): Extract<Row, { bench: B }>[] {
  return rows.filter((row): row is Extract<Row, { bench: B }> => row.bench === bench);
}

/** Throws a Mismatch where a value is not what a row has at this path. */
type Check = (value: unknown, path: string) => void;

class Mismatch extends Error {}

const is =
  (what: string, test: (value: unknown) => boolean): Check =>
  (value, path) => {
    if (!test(value)) throw new Mismatch(`${path}: expected ${what}, got ${show(value).slice(0, 80)}`);
  };
const number = is('a number', (value) => typeof value === 'number');
const text = is('a text', (value) => typeof value === 'string');
const flag = is('true or false', (value) => typeof value === 'boolean');
const array = is('an array', Array.isArray);
const object = is('an object', isObject);
const size = is('a number, text, true or false', (value) => ['number', 'string', 'boolean'].includes(typeof value));

const optional =
  (check: Check): Check =>
  (value, path) => {
    if (value !== undefined) check(value, path);
  };
const list =
  (item: Check): Check =>
  (value, path) => {
    array(value, path);
    for (const [i, element] of (value as unknown[]).entries()) item(element, `${path}[${i}]`);
  };
const record =
  (item: Check): Check =>
  (value, path) => {
    object(value, path);
    for (const [key, element] of Object.entries(value as object)) item(element, `${path}.${key.slice(0, 80)}`);
  };
const fields =
  (checks: Record<string, Check>): Check =>
  (value, path) => {
    object(value, path);
    for (const [key, check] of Object.entries(checks)) check((value as Record<string, unknown>)[key], `${path}.${key}`);
  };

const ENVIRONMENT = {
  adapter: text,
  driver: text,
  software: flag,
  commit: text,
  node: text,
  webgpu: text,
  cpu: text,
  date: text,
};
const numbers = list(number);
const RATES = {
  copyGBs: number,
  readGBs: number,
  f32Gflops: number,
  f16Gflops: number,
  int8Gops: number,
  dispatchMicros: number,
  passMicros: number,
};
const VERDICT = {
  steps: number,
  matched: number,
  ties: number,
  wrong: numbers,
  relative: number,
  stepErrors: numbers,
  stepBounds: numbers,
  ok: flag,
};
const TIMES = {
  imageMillis: number,
  visionMillis: number,
  sessionMillis: number,
  prefillMillis: number,
  ttftMillis: number,
  stepMillis: numbers,
};
const SIDE = { micros: numbers, error: optional(text) };
const DISPATCH = { phase: text, scope: text, kernel: text, micros: number, flops: number, bytes: number };

/** What the rows of each bench must hold. */
const ROWS: Record<Row['bench'], Check> = {
  ceilings: fields({ ...ENVIRONMENT, ceilings: fields({ clock: text, ...RATES }) }),
  e2e: fields({
    ...ENVIRONMENT,
    model: text,
    dtype: text,
    prompt: text,
    positions: number,
    ok: optional(flag),
    tokens: fields({ matched: number, ties: number, total: number }),
    maxErrorStd: number,
    meanErrorStd: number,
    stages: list(fields({ stage: text, relative: number, ok: flag })),
    runs: record(fields(VERDICT)),
    divergedAt: optional(text),
    repeats: list(fields(TIMES)),
    memory: list(fields({ millis: number, device: number, resident: number })),
    peakBytes: number,
    kernels: list(fields(DISPATCH)),
    profile: record(fields({ gpuMicros: number, wallMicros: number })),
  }),
  ops: fields({
    ...ENVIRONMENT,
    kernel: text,
    shape: record(size),
    repeats: list(numbers),
    flops: number,
    bytes: number,
    dispatches: number,
  }),
  host: fields({ ...ENVIRONMENT, task: text, repeats: list(numbers) }),
  peers: fields({
    ...ENVIRONMENT,
    op: text,
    shape: record(size),
    dtype: text,
    ours: fields({ ...SIDE, variant: text, gpuMicros: numbers }),
    peers: record(fields(SIDE)),
  }),
};

/**
 * The row that a line of JSON holds; none for a bench that the report does not show. JSON has no NaN and writes null,
 * which is read back as NaN. UsageError `<place>: ...` for a line that is no such row.
 */
export function parseRow(line: string, place: string): Row[] {
  try {
    const row: unknown = JSON.parse(line, (_, value) => (value === null ? Number.NaN : value));
    fields({ bench: text })(row, 'row');
    const { bench } = row as Row;
    if (!Object.hasOwn(ROWS, bench)) return [];
    ROWS[bench](row, bench);
    return [row as Row];
  } catch (error) {
    const { message } = error as Error;
    const problem = error instanceof Mismatch ? message : `expected a line of JSON, got ${message}`;
    const hint = 'run the bench again, or take the line out';
    throw new UsageError(`${place}: ${problem}; ${hint}`.replace(/\p{Cc}/gu, '?'));
  }
}
