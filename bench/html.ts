import { writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { UsageError } from '../runtime/index.ts';
import { reportPage } from './html/page.ts';
import { type OtherRow, parseRow, type Row, SHOWN } from './html/rows.ts';
import { readText } from './parse.ts';
import { assertWritable } from './report.ts';

/** Options of `bench report`. */
export interface ReportOptions {
  html: string;
}

/** Turns files of JSON lines into one HTML report. Returns the exit code 0. */
export function report(files: readonly string[], { html }: ReportOptions): number {
  writePage(html, files.flatMap(readRows));
  return 0;
}

/**
 * Writes rows of benches, as their JSON lines hold them, as one HTML page that needs no other file and no network.
 * UsageError where a row lacks something, or the file cannot be written.
 */
export function writeHtmlReport(file: string, rows: readonly object[]): void {
  writePage(
    file,
    rows.map((row, i) => parseRow(JSON.stringify(row), `row ${i + 1}`)),
  );
}

/** The rows of a file, each with the file's name; of two files with one name the second is called by its place. */
function readRows(path: string, index: number, files: readonly string[]): (Row | OtherRow)[] {
  const name = basename(path);
  const file = files.findIndex((other) => basename(other) === name) === index ? name : `${name} (${index + 1})`;
  const lines = readText(path, 'a file of JSON lines', { hint: 'write one with --json' }).split('\n');
  return lines.flatMap((line, i) => (line.trim() === '' ? [] : { ...parseRow(line, `${path}:${i + 1}`), file }));
}

function writePage(file: string, rows: readonly (Row | OtherRow)[]): void {
  if (!rows.some((row) => 'bench' in row)) {
    const others = [...new Set(rows.flatMap((row) => ('other' in row ? [row.other] : [])))].join(', ') || 'none';
    throw new UsageError(`report: expected rows of ${SHOWN.join(', ')}, got ${others}; write some with --json`);
  }
  assertWritable('--html', file);
  writeFileSync(file, reportPage(rows));
  console.log(`report: ${file}`);
}
