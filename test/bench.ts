import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

/** The trained checkpoint, and the tiny one of random weights. */
export const SPARK = path('../bench/reference/spark');
export const TINY = path('../bench/reference/tiny');

/** What a command printed, and how it ended. */
export interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs the bench as a user would, in a process of its own. */
export function runBench(...args: string[]): Ended {
  return run('../bench/main.ts', args);
}

/** Runs a command of daybreak as a user would, in a process of its own. */
export function runDaybreak(...args: string[]): Ended {
  return run('../tools/command/main.ts', args);
}

function run(script: string, args: string[]): Ended {
  const command = ['--import', 'tsx', '--import', path('../tools/software_vulkan.ts'), path(script), ...args];
  return spawnSync(process.execPath, command, { encoding: 'utf8', timeout: 540_000 });
}

/** Expects one line on stderr that matches, an exit code and no stack trace; which adapter runs, and Dawn's own warnings, do not count. */
export function fails({ status, stderr }: Ended, pattern: RegExp, code = 2): void {
  const lines = stderr.split('\n').filter((line) => line && !/^Warning: max|XDG_RUNTIME_DIR|^adapter: /.test(line));
  assert.is(lines.length, 1, stderr);
  assert.match(lines[0]!, pattern);
  assert.is(status, code);
}
