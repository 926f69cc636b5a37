// Starts a program, `node tools/start.mjs [--import MODULE] PROGRAM [ARGUMENT...]`, and keeps two lines of Dawn out of its standard error.
// Plain JavaScript: in a folder with a ? in its name, tsx cannot translate anything.
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { withoutLimitWarnings } from './limit_warnings.mjs';

if (import.meta.url.includes('%3F')) {
  const folder = decodeURIComponent(new URL('..', import.meta.url).pathname);
  console.error(`error: checkout: expected a path without ?, got ${folder}; rename the folder`);
  process.exit(2);
}

const loaders = ['./direct_stderr.mjs', 'tsx'].flatMap((module) => ['--import', import.meta.resolve(module)]);
const filters = process.platform === 'linux'; // elsewhere Dawn is not known to write these lines
const child = spawn(process.execPath, [...loaders, ...process.argv.slice(2)], {
  stdio: filters ? ['inherit', 'inherit', 'pipe', 2] : 'inherit',
  env: filters ? { ...process.env, DAYBREAK_STDERR: '3' } : process.env,
});
if (filters) {
  process.stderr.on('error', () => {}); // nobody reads on
  withoutLimitWarnings(child.stderr.setEncoding('latin1'), (text) => process.stderr.write(text, 'latin1'));
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => {
  process.exitCode = code ?? 128 + constants.signals[signal];
  if (filters) closeWhenIdle(child.stderr);
});

/** Reads what the ended program left, and does not wait for others that hold its standard error open. */
function closeWhenIdle(stream) {
  let idle = true;
  stream.once('data', () => {
    idle = false;
  });
  // What has come is read between a timer and an immediate, however late they are.
  setTimeout(() => setImmediate(() => (idle ? stream.destroy() : closeWhenIdle(stream))), 100).unref();
}
