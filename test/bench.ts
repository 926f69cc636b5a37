import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

/** The tiny reference checkpoint. */
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

/** Asks as a user would, in a process of its own. */
export function runAsk(...args: string[]): Ended {
  return run('../tools/ask.ts', args);
}

/** Quantises as a user would, in a process of its own. */
export function runQuantize(...args: string[]): Ended {
  return run('../tools/quantize.ts', args);
}

/** Tunes as a user would, in a process of its own. */
export function runTune(...args: string[]): Ended {
  return run('../tools/tune.ts', args);
}

function run(script: string, args: string[]): Ended {
  const command = ['--import', 'tsx', '--import', path('../tools/software_vulkan.ts'), path(script), ...args];
  return spawnSync(process.execPath, command, { encoding: 'utf8', timeout: 540_000 });
}

/** Expects one line on stderr that matches, exit code 2 and no stack trace; Dawn's own warnings do not count. */
export function fails({ status, stderr }: Ended, pattern: RegExp): void {
  const lines = stderr.split('\n').filter((line) => line && !/^Warning: max|XDG_RUNTIME_DIR/.test(line));
  assert.is(lines.length, 1, stderr);
  assert.match(lines[0]!, pattern);
  assert.is(status, 2);
}
