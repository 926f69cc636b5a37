import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { resolve } from 'node:path';
import { type Command, CommanderError, InvalidArgumentError } from 'commander';
import { DaybreakError, UsageError } from '../runtime/errors.ts';
import type { Device } from '../runtime/index.ts';

/** What a row of results needs to be compared later: code, versions, and the device where one is used. */
export function environment(device?: Device): Record<string, string | boolean> {
  return {
    ...(device && {
      adapter: device.name,
      driver: device.driver,
      software: device.onCpu,
      robustness: device.robustness,
    }),
    commit: commit(),
    node: process.version,
    webgpu: versionOf('webgpu'),
    cpu: `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}`,
    date: new Date().toISOString(),
  };
}

const { resolve: moduleOf } = createRequire(import.meta.url);

/** The commit of a checkout; in the installed package its version. */
function commit(): string {
  if (!existsSync(new URL('../.git', import.meta.url))) return `v${versionOf('daybreak')}`;
  try {
    const cwd = new URL('.', import.meta.url);
    return execFileSync('git', ['describe', '--always', '--dirty'], { cwd, encoding: 'utf8', stdio: 'pipe' }).trim();
  } catch {
    return 'unknown';
  }
}

/** The version of this package or of one that it uses. */
export function versionOf(name: 'daybreak' | 'webgpu'): string {
  return JSON.parse(readFileSync(moduleOf(`${name}/package.json`), 'utf8')).version;
}

/** The line that says which adapter runs and why. */
export function deviceLine({ name, driver, reason }: Pick<Device, 'name' | 'driver' | 'reason'>): string {
  return `adapter: ${name} (${driver}): ${reason}`;
}

/** Appends results to a JSON lines file, or does nothing without one. */
export class JsonLines {
  /** What has been written, file or not. */
  readonly rows: object[] = [];
  #file: string | undefined;

  constructor(file: string | undefined) {
    this.#file = file;
    if (file) assertWritable('--json', file);
  }

  write(row: object): void {
    this.rows.push(row);
    if (this.#file) appendFileSync(this.#file, `${JSON.stringify(row)}\n`);
  }
}

/** Makes an empty file of a path that an option names, before long work; throws UsageError. */
export function assertWritable(option: string, file: string): void {
  try {
    writeFileSync(file, '');
  } catch (error) {
    const got = (error as Error).message;
    throw new UsageError(`${option}: expected a file that can be written, got ${got}; choose another path`);
  }
}

/** A table with one header and rows printed as they come; columns are as wide as told. */
export class Table {
  #widths: number[];

  constructor(columns: Record<string, number>) {
    this.#widths = Object.values(columns);
    this.row(Object.keys(columns));
  }

  row(cells: readonly (string | number)[]): void {
    const padded = cells.map((cell, i) =>
      i === 0 ? String(cell).padEnd(this.#widths[i]!) : String(cell).padStart(this.#widths[i]!),
    );
    console.log(padded.join('  ').trimEnd());
  }
}

/** A folder's name without the path to it, of this or another system, for rows that are sent to others. */
export function folderName(dir: string): string {
  return resolve(dir).split(/[\\/]/).at(-1)!;
}

/** Bytes as whole MiB. */
export function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}

/** A number with three significant digits. */
export function digits(value: number): string {
  return Number(value.toPrecision(3)).toString();
}

/**
 * Runs a command; an expected error becomes one line on stderr, any other its stack, and both exit code 2. A reader that
 * has seen enough (| head) ends the process quietly; any other failure to write is said.
 */
export async function main(body: () => Promise<number>): Promise<void> {
  watchOutput(2);
  try {
    process.exitCode = await body();
  } catch (error) {
    console.error(error instanceof DaybreakError ? `error: ${error.message}` : error);
    process.exitCode = 2;
  }
}

/** Ends the process quietly when nobody reads its standard output on, and with a sentence and this exit code when it cannot be written. */
export function watchOutput(failed: number): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    console.error(
      `error: standard output: expected a place to write to, got ${error.message}; free space or choose another`,
    );
    process.exit(failed);
  });
  process.stderr.on('error', () => {}); // who does not read what is said beside the output still gets that
}

/** A parser of an option's value: an integer of at least so much. */
export function integerFrom(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text !== '' && Number.isInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`expected an integer from ${least} on`);
  };
}

/** Parses the command line and runs what it asks for; returns 2 after a usage error, which is printed as one line. */
export async function runCommands(program: Command): Promise<number> {
  try {
    await oneLine(program).parseAsync();
    return 0;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : 2;
  }
}

/** A program that prints each usage error in one line and then throws it. */
export function oneLine(program: Command): Command {
  const outputError = (text: string, write: (line: string) => void) => write(`${text.trim().replace(/\n/g, ' ')}\n`);
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({ outputError }).allowExcessArguments(false);
  }
  return program;
}
