import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder } from '../../runtime/cache_folder.ts';
import { DaybreakError } from '../../runtime/index.ts';

/** The peer's package: it brings its binaries along, so no script of it needs to run. */
export const PACKAGE = { name: 'onnxruntime-node', version: '1.30.0' };

const MAX_MILLIS = 10 * 60_000;

/**
 * The folder into which ONNX Runtime is installed, in the user's cache and no part of this project: by npm on the first
 * call (300 MB), as it is on later ones. Throws a DaybreakError with what npm says where that fails.
 */
export async function installOnnxRuntime(): Promise<string> {
  const folder = resolve(cacheFolder(), `${PACKAGE.name}-${PACKAGE.version}`);
  if (isInstalled(folder)) return folder;
  const partial = `${folder}.${process.pid}`;
  if (process.stderr.isTTY) console.error(`installing ${PACKAGE.name} ${PACKAGE.version} (300 MB) into ${folder}`);
  try {
    mkdirSync(partial, { recursive: true });
    writeFileSync(join(partial, 'package.json'), JSON.stringify({ private: true }));
    await npmInstall(partial);
    if (!isInstalled(folder)) renameSync(partial, folder);
  } catch (error) {
    const got = (error as Error).message;
    const hint = 'run it once with a network, or copy that folder from a machine that has it';
    throw new DaybreakError(`peers: expected npm to install ${PACKAGE.name} into ${folder}, got ${got}; ${hint}`);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  return folder;
}

/** Whether a folder holds the package: it appears whole or not at all. */
function isInstalled(folder: string): boolean {
  const file = join(folder, 'node_modules', PACKAGE.name, 'package.json');
  return existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).version === PACKAGE.version;
}

/** Installs the package into a folder; the error tells the last line that npm wrote, or how it ended. */
async function npmInstall(folder: string): Promise<void> {
  const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-update-notifier', '--loglevel=error'];
  const args = ['install', '--prefix', '.', ...options, `${PACKAGE.name}@${PACKAGE.version}`];
  const how = { cwd: folder, timeout: MAX_MILLIS, shell: process.platform === 'win32' };
  await promisify(execFile)('npm', args, how).catch(({ code, signal, stderr = '', message }) => {
    if (code === 'ENOENT') throw new Error(`no npm to run (${message})`);
    throw new Error(npmReason(stderr) || `${signal ?? `exit code ${code}`} from npm`);
  });
}

/** npm's own words without its log marks, paths of its logs left out. */
function npmReason(said: string): string {
  const lines = said.split('\n').map((line) => line.replace(/^npm (error|ERR!) ?/, '').trim());
  return lines.filter((line) => line && !/^npm warn|complete log/i.test(line)).join(' ');
}
