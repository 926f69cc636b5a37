import { digits, Table } from '../report.ts';
import type { Estimate, Verdict } from './statistics.ts';

/** How a unit came out on both sides. */
export interface Row {
  kernel: string;
  shape: string;
  clock: 'gpu' | 'wall' | 'host';
  /** What is wrong with the results of the old and of the new side; empty where they are right. */
  problems: readonly [string, string];
  /** Microseconds of both sides and what they say; without it the unit is wrong, or the time was over before its turn. */
  timing?: Estimate & { old: number; now: number; verdict: Verdict };
}

/** What the rows are about. */
export interface Heading {
  /** The old and the new side, as commits or files. */
  sides: readonly [string, string];
  adapter: string;
  /** How the verdicts come about. */
  method: string;
}

const COLUMNS = { kernel: 34, clock: 5, 'old us': 9, 'new us': 9, 'new/old': 8, interval: 15, verdict: 9, shape: 0 };

/** Whether the new side is slower, or wrong. */
export function isRegression({ problems, timing }: Row): boolean {
  return problems[1] !== '' || timing?.verdict === 'slower';
}

/** Prints the rows as a table for the terminal. */
export function printTable({ sides: [old, now], adapter, method }: Heading, rows: readonly Row[]): void {
  console.log(`adapter: ${adapter}\nold: ${old}\nnew: ${now}\n${method}`);
  const table = new Table(COLUMNS);
  for (const row of rows) {
    const { kernel, clock, shape } = row;
    table.row(isWrong(row) ? [kernel, clock, wrong(row), shape] : [kernel, clock, ...figures(row), shape]);
  }
  console.log(summary(rows));
}

/** The rows as GitHub markdown. */
export function markdown({ sides: [old, now], adapter, method }: Heading, rows: readonly Row[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replace(/\|/g, '\\|')).join(' | ')} |`;
  const body = rows.map((row) => {
    const { kernel, shape, clock } = row;
    const cells = isWrong(row) ? ['', '', '', '', `**${wrong(row)}**`] : figures(row);
    if (isRegression(row) && !isWrong(row)) cells.push(`**${cells.pop()}**`);
    return line([kernel, shape, clock, ...cells]);
  });
  const head = ['kernel', 'shape', 'clock', 'old µs', 'new µs', 'new / old', 'interval', 'verdict'];
  const rule = '| --- | --- | --- | ---: | ---: | ---: | ---: | --- |';
  return [`${old} → ${now} on ${adapter}: ${summary(rows)}`, '', line(head), rule, ...body, '', method, ''].join('\n');
}

function isWrong({ problems }: Row): boolean {
  return problems.some((problem) => problem !== '');
}

function wrong({ problems }: Row): string {
  const told = problems.map((problem, side) => problem && `${side === 0 ? 'old' : 'new'} ${problem}`);
  return `WRONG: ${told.filter(Boolean).join('; ')}`.replace(/\s+/g, ' ');
}

function figures({ timing }: Row): string[] {
  if (!timing) return ['-', '-', '-', '-', 'undecided'];
  const { old, now, ratio, low, high, verdict } = timing;
  const change = low > 0 ? [ratio.toFixed(3), `${low.toFixed(3)}..${high.toFixed(3)}`] : ['-', 'too few'];
  return [digits(old), digits(now), ...change, verdict];
}

/** How many rows came out how. */
export function summary(rows: readonly Row[]): string {
  const count = (name: string) =>
    rows.filter((row) => (isWrong(row) ? 'wrong' : (row.timing?.verdict ?? 'undecided')) === name).length;
  const counts = ['wrong', 'slower', 'faster', 'same', 'undecided'].map((name) => [name, count(name)] as const);
  const text = counts.filter(([, n]) => n > 0).map(([name, n]) => `${n} ${name}`);
  return `${text.join(', ')} of ${rows.length}`;
}
