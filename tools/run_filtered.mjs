import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { withoutLimitWarnings } from './limit_warnings.mjs';

/** Runs node with these arguments, keeps two lines of Dawn out of its standard error, and ends as it does. */
export function runFiltered(args) {
  const filters = process.platform === 'linux'; // elsewhere Dawn is not known to write these lines
  const direct = new URL('./direct_stderr.mjs', import.meta.url).href;
  const child = spawn(process.execPath, ['--import', direct, ...args], {
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
}

/** Reads what the ended program left, and does not wait for others that hold its standard error open. */
function closeWhenIdle(stream) {
  let idle = true;
  stream.once('data', () => {
    idle = false;
  });
  // What has come is read between a timer and an immediate, however late they are.
  setTimeout(() => setImmediate(() => (idle ? stream.destroy() : closeWhenIdle(stream))), 100).unref();
}
