import { execFileSync } from 'node:child_process';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { resolve } from 'node:path';
import { SingleBar } from 'cli-progress';
import { type Command, CommanderError, InvalidArgumentError } from 'commander';
import { DaybreakError, type Device, UsageError } from '../runtime/index.ts';

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
    webgpu: webgpuVersion(),
    cpu: `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}`,
    date: new Date().toISOString(),
  };
}

function commit(): string {
  try {
    const cwd = new URL('.', import.meta.url);
    return execFileSync('git', ['describe', '--always', '--dirty'], { cwd, encoding: 'utf8', stdio: 'pipe' }).trim();
  } catch {
    return 'unknown';
  }
}

function webgpuVersion(): string {
  const url = new URL('../node_modules/webgpu/package.json', import.meta.url);
  return JSON.parse(readFileSync(url, 'utf8')).version;
}

/** The line that says which adapter runs and why. */
export function printDevice(device: Device): void {
  console.log(`adapter: ${device.name} (${device.driver}): ${device.reason}`);
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

/** A progress bar with the time left. */
export interface ProgressBar {
  update(done: number, total: number): void;
  /** Prints lines above the bar. */
  above(print: () => void): void;
  stop(): void;
}

/** A progress bar on the terminal, with MB/s where it counts bytes; silent where the output is no terminal. */
export function progressBar(label: string, { bytes = false } = {}): ProgressBar {
  if (!process.stderr.isTTY) return { update() {}, above: (print) => print(), stop() {} };
  const bar = new SingleBar({
    format: `${label} {bar} {percentage}%${bytes ? ' {rate} MB/s' : ''} {eta_formatted} left`,
    hideCursor: true,
    clearOnComplete: true,
  });
  bar.start(1, 0, { rate: 0 });
  const start = performance.now();
  return {
    update(done, total) {
      bar.setTotal(total);
      bar.update(done, { rate: Math.round(done / (performance.now() - start) / 1000) });
    },
    above(print) {
      process.stderr.write('\r\x1b[K');
      print();
      bar.render();
    },
    stop: () => bar.stop(),
  };
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
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    console.error(
      `error: standard output: expected a place to write to, got ${error.message}; free space or choose another`,
    );
    process.exit(2);
  });
  try {
    process.exitCode = await body();
  } catch (error) {
    console.error(error instanceof DaybreakError ? `error: ${error.message}` : error);
    process.exitCode = 2;
  }
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
  const outputError = (text: string, write: (line: string) => void) => write(`${text.trim().replace(/\n/g, ' ')}\n`);
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({ outputError }).allowExcessArguments(false);
  }
  try {
    await program.parseAsync();
    return 0;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : 2;
  }
}
