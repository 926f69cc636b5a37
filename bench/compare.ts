import { writeFileSync } from 'node:fs';
import { interleave } from './compare/interleave.ts';
import { ALPHA, LOOKS, MIN_CHANGE } from './compare/statistics.ts';
import { isRegression, markdown, printTable } from './compare/table.ts';
import { assertWritable, JsonLines } from './report.ts';

/** Options of `bench compare`. */
export interface CompareOptions {
  /** The commit. */
  interleave: string;
  ops?: string[];
  e2e?: true | string[];
  minutes: number;
  adapter?: string;
  json?: string;
  markdown?: string;
}

const CHANGE = `${Math.round((MIN_CHANGE - 1) * 100)} %`;

/**
 * Compares the working tree with the commit `options.interleave` in one run, and prints a verdict per kernel, shape and
 * phase. Returns the exit code: 0 no regression, 1 something slower or wrong. Throws UsageError.
 */
export async function compare(options: CompareOptions): Promise<number> {
  const { interleave: ref, ops, e2e, adapter, minutes } = options;
  const json = openOutputs(options);
  const prompts = e2e === true ? [] : e2e;
  const { environment, unmatched, rows, samples, sides } = await interleave({ ref, ops, prompts, adapter, minutes });
  const [old, now] = sides;
  for (const unit of unmatched) console.log(`note: only ${unit}`);
  for (const [i, row] of rows.entries())
    json.write({ ...environment, bench: 'compare', commit: now.commit, old: old.commit, ...row, samples: samples[i] });
  const method =
    `Both sides took turns, sample by sample. All ${rows.filter(({ timing }) => timing).length} intervals hold together at ${100 * (1 - ALPHA)} %, over ` +
    `${LOOKS} looks. Changed where all of the interval is past ${CHANGE}, same where none is, else undecided: fewer --ops, more ` +
    `--minutes or a quieter machine tell.`;
  const heading = {
    sides: [`${old.commit} (${old.name})`, `${now.commit} (${now.name})`] as const,
    adapter: `${environment.adapter} (${environment.driver})`,
    method,
  };
  printTable(heading, rows);
  if (options.markdown === '-') console.log(`\n${markdown(heading, rows)}`);
  else if (options.markdown) writeFileSync(options.markdown, markdown(heading, rows));
  return rows.some(isRegression) ? 1 : 0;
}

/** Throws UsageError at once, and not after all measurements, where a file cannot be written. */
function openOutputs({ json, markdown: table }: CompareOptions): JsonLines {
  if (table && table !== '-') assertWritable('--markdown', table);
  return new JsonLines(json);
}
