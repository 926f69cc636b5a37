import { readFileSync, writeFileSync } from 'node:fs';
import { statFile } from '../model/checkpoint/json.ts';
import { UsageError } from '../runtime/index.ts';
import { reportPage } from './html/page.ts';
import { parseRow, type Row } from './html/rows.ts';

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
    rows.flatMap((row, i) => parseRow(JSON.stringify(row), `row ${i + 1}`)),
  );
}

function readRows(file: string): Row[] {
  const lines = readText(file).split('\n');
  return lines.flatMap((line, i) => (line.trim() === '' ? [] : parseRow(line, `${file}:${i + 1}`)));
}

function readText(file: string): string {
  try {
    statFile(file);
    return readFileSync(file, 'utf8');
  } catch (error) {
    const got = (error as Error).message;
    throw new UsageError(`report: expected a file of JSON lines, got ${got}; write one with --json`);
  }
}

function writePage(file: string, rows: readonly Row[]): void {
  if (rows.length === 0) {
    throw new UsageError('report: expected rows of e2e, ops, host or peers, got none; write some with --json');
  }
  try {
    writeFileSync(file, reportPage(rows));
  } catch (error) {
    const got = (error as NodeJS.ErrnoException).message;
    throw new UsageError(`--html: expected a file that can be written, got ${got}; choose another path`);
  }
  console.log(`report: ${file}`);
}
