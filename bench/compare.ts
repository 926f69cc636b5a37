import { writeFileSync } from 'node:fs';
import { UsageError } from '../runtime/index.ts';
import { interleave } from './compare/interleave.ts';
import { ALPHA, LOOKS, MIN_CHANGE } from './compare/statistics.ts';
import { compareStored } from './compare/stored.ts';
import { type Heading, isRegression, markdown, printTable, type Row } from './compare/table.ts';
import { assertWritable, JsonLines } from './report.ts';

/** Options of `bench compare`. */
export interface CompareOptions {
  interleave?: string;
  ops?: string[];
  e2e?: true | string[];
  minutes: number;
  adapter?: string;
  json?: string;
  markdown?: string;
}

const CHANGE = `${Math.round((MIN_CHANGE - 1) * 100)} %`;

/**
 * Compares the working tree with the commit `options.interleave` in one run, or two stored files, and prints a verdict
 * per kernel, shape and phase. Returns the exit code: 0 no regression, 1 something slower or wrong. Throws UsageError.
 */
export async function compare(files: readonly string[], options: CompareOptions): Promise<number> {
  const { interleave: ref } = options;
  if (files.length !== (ref === undefined ? 2 : 0)) {
    const got = [...files, ...(ref === undefined ? [] : [`--interleave ${ref}`])].join(' ') || 'nothing';
    throw new UsageError(`compare: expected OLD.jsonl NEW.jsonl or --interleave REF, got ${got}; see compare --help`);
  }
  const { heading, rows } = ref === undefined ? compareFiles(files, options) : await compareCommits(ref, options);
  printTable(heading, rows);
  if (options.markdown === '-') console.log(`\n${markdown(heading, rows)}`);
  else if (options.markdown) writeFileSync(options.markdown, markdown(heading, rows));
  return rows.some(isRegression) ? 1 : 0;
}

interface Compared {
  heading: Heading;
  rows: readonly Row[];
}

function compareFiles([old, now]: readonly string[], options: CompareOptions): Compared {
  const { adapter, commits, rows, notes } = compareStored(old!, now!);
  const json = openOutputs(options); // not before the files are read: it may be told to overwrite one
  for (const note of notes) console.log(`note: ${note}`);
  for (const row of rows) json.write({ bench: 'compare', old, new: now, ...row });
  const method =
    `Stored repeats, measured apart: the interval is from the fastest new over the slowest old repeat to the slowest over ` +
    `the fastest. Changed where all of it is past ${CHANGE}, same where none is, else undecided: more --repeats or --interleave tell.`;
  return { heading: { sides: [`${old} (${commits[0]})`, `${now} (${commits[1]})`], adapter, method }, rows };
}

async function compareCommits(ref: string, options: CompareOptions): Promise<Compared> {
  const { ops, e2e, adapter, minutes } = options;
  const json = openOutputs(options);
  const prompts = e2e === true ? [] : e2e;
  const compared = await interleave({ ref, ops, prompts, adapter, minutes });
  const { environment, unmatched, rows, samples } = compared;
  const [old, now] = compared.sides;
  for (const unit of unmatched) console.log(`note: only ${unit}`);
  for (const [i, row] of rows.entries())
    json.write({ ...environment, bench: 'compare', commit: now.commit, old: old.commit, ...row, samples: samples[i] });
  const method =
    `Both sides took turns, sample by sample. All ${rows.filter(({ timing }) => timing).length} intervals hold together at ${100 * (1 - ALPHA)} %, over ` +
    `${LOOKS} looks. Changed where all of the interval is past ${CHANGE}, same where none is, else undecided: fewer --ops, more ` +
    `--minutes or a quieter machine tell.`;
  const sides = [`${old.commit} (${old.name})`, `${now.commit} (${now.name})`] as const;
  return { heading: { sides, adapter: `${environment.adapter} (${environment.driver})`, method }, rows };
}

/** Throws UsageError at once, and not after all measurements, where a file cannot be written. */
function openOutputs({ json, markdown: table }: CompareOptions): JsonLines {
  if (table && table !== '-') assertWritable('--markdown', table);
  return new JsonLines(json);
}
