import { closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { UsageError } from '../../runtime/errors.ts';

/**
 * A file that is written under a temporary name and gets its own only when it is whole and on the disk, so that a file
 * of that name is never a half-written one. What goes wrong is a UsageError that names the file.
 */
export class DurableFile {
  readonly path: string;
  #temporary: string;
  #fd: number;

  constructor(path: string) {
    this.path = path;
    this.#temporary = `${path}.${process.pid}.part`;
    this.#fd = attempt(path, () => openSync(this.#temporary, 'w'));
  }

  /** Writes bytes at a position. */
  write(bytes: Uint8Array, position: number): void {
    for (let done = 0; done < bytes.byteLength; ) {
      done += attempt(this.path, () => writeSync(this.#fd, bytes, done, bytes.byteLength - done, position + done));
    }
  }

  /** Waits for the disk to have everything, and gives the file its name. */
  finish(): void {
    attempt(this.path, () => fsyncSync(this.#fd));
    this.#close();
    attempt(this.path, () => renameSync(this.#temporary, this.path));
    syncFolder(dirname(this.path));
  }

  /** Gives up: nothing is left behind. */
  abort(): void {
    this.#close();
    rmSync(this.#temporary, { force: true });
  }

  #close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}

/** Writes a whole small file durably. */
export function writeDurably(path: string, bytes: Uint8Array): void {
  const file = new DurableFile(path);
  try {
    file.write(bytes, 0);
    file.finish();
  } catch (error) {
    file.abort();
    throw error;
  }
}

/** Throws UsageError where the disk of a folder has no room for so many bytes more. */
export function assertDiskRoom(dir: string, bytes: number): void {
  const { bavail, bsize, blocks } = statfsSync(dir);
  const free = bavail * bsize;
  if (blocks === 0 || free >= bytes) return;
  throw new UsageError(`${dir}: expected ${bytes} bytes free on the disk, got ${free}; choose another folder`);
}

/** Removes what killed processes have left half-written in a folder. */
export function removeParts(dir: string): void {
  for (const name of readdirSync(dir)) if (/\.\d+\.part$/.test(name)) rmSync(join(dir, name), { force: true });
}

function syncFolder(dir: string): void {
  if (process.platform === 'win32') return; // a folder cannot be opened there
  const fd = openSync(dir, 'r');
  fsyncSync(fd);
  closeSync(fd);
}

function attempt<T>(path: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const full = code === 'ENOSPC' || code === 'EDQUOT';
    const hint = full ? 'free space and run the same command again' : 'check the folder and its permissions';
    throw new UsageError(`${path}: expected a file that can be written, got ${message}; ${hint}`);
  }
}
