import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { showCase } from '../../kernels/spec.ts';
import { statFile } from '../../model/checkpoint/json.ts';
import { UsageError } from '../../runtime/index.ts';
import { type E2eRow, parseRow, type Row as StoredRow } from '../html/rows.ts';
import { median } from '../measure.ts';
import { judge } from './statistics.ts';
import type { Row } from './table.ts';

/** Fewest repeats, each with fresh pipelines, whose medians show how far a time spreads by itself. */
export const LEAST_REPEATS = 5;

/** Fields of the environment without which times cannot be compared, and those that only deserve a word. */
const SAME = ['adapter', 'driver', 'cpu'] as const;
const TOLD = ['webgpu', 'node'] as const;
/** Encoding no picture at all takes less. */
const NO_PICTURE_MILLIS = 0.1;

/** The times of one unit in one file. */
interface StoredUnit extends Pick<Row, 'kernel' | 'shape' | 'clock'> {
  /** Median microseconds of each repeat. */
  medians: number[];
  problem: string;
}

interface StoredFile {
  path: string;
  /** A row of the file; all are of one adapter, driver and processor. */
  environment: StoredRow;
  units: Map<string, StoredUnit>;
}

/** Two stored files compared. */
export interface StoredComparison {
  adapter: string;
  commits: readonly [string, string];
  rows: Row[];
  /** What else the reader should know. */
  notes: string[];
}

/**
 * Compares two files of JSON lines of `bench ops`, `e2e` or `host`: the ratio of the medians of the repeats' medians, and
 * from the fastest new over the slowest old repeat to the slowest new over the fastest old one. Throws UsageError for a
 * damaged file, other adapters, drivers or processors, no unit in common, and fewer than LEAST_REPEATS repeats.
 */
export function compareStored(oldPath: string, newPath: string): StoredComparison {
  const [old, now] = [readStored(oldPath), readStored(newPath)];
  const [a, b] = [old.environment, now.environment];
  const other = SAME.find((field) => a[field] !== b[field]);
  if (other)
    throw wrong(
      newPath,
      `${other}: expected '${a[other]}' as in ${oldPath}, got '${b[other]}'`,
      'measure both on one machine',
    );
  const shared = [...now.units].filter(([key]) => old.units.has(key));
  if (shared.length === 0)
    throw wrong(newPath, `expected a unit that ${oldPath} has too, got none`, 'measure the same ops, prompts or tasks');
  const alone = (file: StoredFile, { units }: StoredFile) =>
    [...file.units.keys()].filter((key) => !units.has(key)).map((key) => `only in ${file.path}: ${key}`);
  const changed = TOLD.filter((field) => a[field] !== b[field]).map((field) => `${field}: ${a[field]} -> ${b[field]}`);
  return {
    adapter: `${b.adapter} (${b.driver})`,
    commits: [a.commit, b.commit],
    rows: shared.map(([key, unit]) => compareUnit(old.units.get(key)!, unit)),
    notes: [...changed, ...alone(old, now), ...alone(now, old)],
  };
}

function compareUnit(old: StoredUnit, { kernel, shape, clock, medians, problem }: StoredUnit): Row {
  const problems = [old.problem, problem] as const;
  if (problems.join('') !== '') return { kernel, shape, clock, problems };
  const [before, after] = [median(old.medians), median(medians)];
  const low = Math.min(...medians) / Math.max(...old.medians);
  const high = Math.max(...medians) / Math.min(...old.medians);
  const estimate = { ratio: after / before, low, high };
  return { kernel, shape, clock, problems, timing: { old: before, now: after, ...estimate, verdict: judge(estimate) } };
}

function readStored(path: string): StoredFile {
  const units = new Map<string, StoredUnit>();
  let environment: StoredRow | undefined;
  for (const [i, line] of readText(path).split('\n').entries()) {
    const place = `${path}:${i + 1}`;
    for (const row of line.trim() === '' ? [] : [parseRow(line, place)]) {
      if ('other' in row) continue;
      environment ??= row;
      const other = SAME.find((field) => row[field] !== environment![field]);
      if (other)
        throw wrong(
          place,
          `${other}: expected '${environment[other]}' as before, got '${row[other]}'`,
          'use one file per machine',
        );
      for (const unit of unitsOf(row)) {
        const key = [unit.kernel, unit.shape].filter(Boolean).join(' ');
        if (units.has(key)) throw wrong(place, `${key}: expected one row, got a second one`, 'measure into a new file');
        if (unit.problem === '')
          checkTimes(place, key, unit, `npm run bench -- ${row.bench} --repeats ${LEAST_REPEATS} --json ${path}`);
        units.set(key, unit);
      }
    }
  }
  if (!environment || units.size === 0)
    throw wrong(path, 'expected rows of bench ops, e2e or host, got none', 'write some with --json');
  return { path, environment, units };
}

/** The units that a row holds; none where its bench is not compared. */
function unitsOf(row: StoredRow): StoredUnit[] {
  const problem = '';
  const medians = (repeats: readonly (readonly number[])[]) => repeats.map((samples) => median(samples));
  switch (row.bench) {
    case 'ops':
      return [{ kernel: row.kernel, shape: showCase(row.shape), clock: 'gpu', medians: medians(row.repeats), problem }];
    case 'host':
      return [{ kernel: row.task, shape: '', clock: 'host', medians: medians(row.repeats), problem }];
    case 'e2e':
      return phasesOf(row);
    default:
      return [];
  }
}

function phasesOf({ prompt, model, dtype, ok, divergedAt, repeats }: E2eRow): StoredUnit[] {
  const shape = `prompt=${prompt},model=${basename(model)},dtype=${dtype}`;
  const problem = ok === false ? `diverges from ${divergedAt}` : '';
  const pictures = repeats.some(({ visionMillis }) => visionMillis > NO_PICTURE_MILLIS);
  const phases = {
    ...(pictures && { vision: repeats.map(({ visionMillis }) => visionMillis) }),
    prefill: repeats.map(({ prefillMillis }) => prefillMillis),
    ttft: repeats.map(({ ttftMillis }) => ttftMillis),
    decode: repeats.map(({ stepMillis }) => median(stepMillis)),
  };
  return Object.entries(phases).map(([kernel, millis]) => {
    return { kernel, shape, clock: 'wall', medians: millis.map((value) => value * 1000), problem };
  });
}

function checkTimes(place: string, key: string, { medians }: StoredUnit, command: string): void {
  if (medians.length < LEAST_REPEATS)
    throw wrong(
      place,
      `${key}: expected ${LEAST_REPEATS} repeats or more, got ${medians.length}`,
      `make them with: ${command}`,
    );
  const odd = medians.find((micros) => !(micros > 0 && micros < Number.POSITIVE_INFINITY));
  if (odd !== undefined) throw wrong(place, `${key}: expected times above 0, got ${odd}`, `measure again: ${command}`);
}

function readText(path: string): string {
  try {
    statFile(path);
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw wrong(path, `expected a file of JSON lines, got ${(error as Error).message}`, 'write one with --json');
  }
}

function wrong(place: string, problem: string, hint: string): UsageError {
  return new UsageError(`${place}: ${problem}; ${hint}`.replace(/\p{Cc}/gu, '?'));
}
