// Preloaded by start.mjs, which reads what is written to file descriptor 2: what this process itself writes to process.stderr goes
// straight to where it should, in step with its standard output, and a terminal stays a terminal. Before all other modules, for
// once Node has opened file descriptor 2 it no longer blocks, and native code that finds it full loses what it writes.
import { fstatSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { Writable } from 'node:stream';
import { isatty, WriteStream } from 'node:tty';

const fd = Number(process.env.DAYBREAK_STDERR);
delete process.env.DAYBREAK_STDERR; // it is said to this process alone, not to those that it starts
if (fd) Object.defineProperty(process, 'stderr', { value: open(), configurable: true, enumerable: true });

/** A stream as Node itself makes one for a file descriptor that it is given. */
function open() {
  if (isatty(fd)) return new WriteStream(fd);
  const kind = fstatSync(fd);
  if (kind.isFIFO() || kind.isSocket()) return new Socket({ fd, readable: false, writable: true });
  return new Writable({
    write(chunk, _, done) {
      writeSync(fd, chunk);
      done();
    },
  });
}
