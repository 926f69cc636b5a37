import { type ChildProcess, spawn } from 'node:child_process';
import { watch } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Time for an editor to finish what it writes. */
const SETTLE_MILLIS = 50;

/**
 * Runs this command line without --watch in a child process, again after every change of the op's files or of
 * kernels/lib; resolves with exit code 0 on Ctrl-C. A new process costs 0.4 s and needs no reloading of modules.
 */
export function watchOp(op: string): Promise<number> {
  const folders = [op, 'lib'].map((name) => fileURLToPath(new URL(`../../kernels/${name}`, import.meta.url)));
  const shown = folders.map((folder) => relative('', folder)).join(' and ');
  const command = [...process.execArgv, ...process.argv.slice(1).filter((arg) => arg !== '--watch')];
  let child: ChildProcess | undefined;
  let timer: NodeJS.Timeout | undefined;

  const start = () => {
    child?.kill('SIGKILL');
    const started = performance.now();
    const mine = spawn(process.execPath, command, { stdio: 'inherit' });
    child = mine;
    mine.on('exit', (code) => {
      if (child !== mine) return;
      const seconds = ((performance.now() - started) / 1000).toFixed(2);
      console.log(`-- exit code ${code} after ${seconds} s; watching ${shown}, Ctrl-C ends --`);
    });
  };

  return new Promise((resolve) => {
    const watchers = folders.map((folder) =>
      watch(folder, (_, file) => {
        if (!/\.(ts|wgsl)$/.test(file ?? '')) return;
        clearTimeout(timer);
        timer = setTimeout(() => {
          console.log(`\n-- ${file} changed --`);
          start();
        }, SETTLE_MILLIS);
      }),
    );
    const stop = () => {
      clearTimeout(timer);
      for (const watcher of watchers) watcher.close();
      const last = child;
      child = undefined;
      last?.kill('SIGKILL');
      resolve(0);
    };
    process.once('SIGINT', stop).once('SIGTERM', stop);
    start();
  });
}
