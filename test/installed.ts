import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** A new folder that goes away with the process. */
export function temporaryFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `daybreak-${name}-`));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Runs a command in a folder, expects it to succeed, and returns what it printed on standard output. */
export function runIn(cwd: string, command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8', timeout: 300_000 });
  assert.is(status, 0, `${command} ${args.join(' ')}\n${stdout}${stderr}`);
  return stdout;
}

/** Adds a package to a folder's node_modules. */
export function install(folder: string, name: string): void {
  runIn(folder, 'npm', 'install', '--no-audit', '--no-fund', '--prefer-offline', name);
}

/** Builds and packs the project and installs it into a new folder, as a consumer does; the files are those of the tarball. */
export function installPackage(): { app: string; files: string[] } {
  const app = temporaryFolder('app');
  runIn(ROOT, 'npm', 'run', '--silent', 'build');
  const packed = runIn(ROOT, 'npm', 'pack', '--ignore-scripts', '--json', '--pack-destination', app);
  const [{ filename, files }] = JSON.parse(packed) as [{ filename: string; files: { path: string }[] }];
  writeFileSync(join(app, 'package.json'), '{"private":true}');
  install(app, `./${filename}`);
  return { app, files: files.map(({ path }) => path) };
}
