import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

/** The tiny reference checkpoint. */
export const TINY = path('../bench/reference/tiny');

/** Runs the bench as a user would, in a process of its own. */
export function runBench(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const command = [
    '--import',
    'tsx',
    '--import',
    path('../tools/software_vulkan.ts'),
    path('../bench/main.ts'),
    ...args,
  ];
  return spawnSync(process.execPath, command, { encoding: 'utf8', timeout: 540_000 });
}
