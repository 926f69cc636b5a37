import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** The user's folder for what is long to make: measured ceilings, checked matrix units, synthetic checkpoints, peers. */
export function cacheFolder(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'daybreak');
}

/** What writeCached kept under a name; undefined where there is nothing or no JSON. */
export function readCached(name: string): unknown {
  try {
    return JSON.parse(readFileSync(join(cacheFolder(), `${name}.json`), 'utf8'));
  } catch {
    return undefined;
  }
}

/** Keeps a value as JSON in the cache folder; does nothing where the user has none that can be written. */
export function writeCached(name: string, value: unknown): void {
  const file = join(cacheFolder(), `${name}.json`);
  try {
    mkdirSync(cacheFolder(), { recursive: true, mode: 0o700 });
    writeFileSync(`${file}.${process.pid}`, JSON.stringify(value));
    renameSync(`${file}.${process.pid}`, file);
  } catch {
    return;
  }
}
