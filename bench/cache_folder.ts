import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where the benches keep what is long to make: measured ceilings, synthetic checkpoints, peers. */
export function cacheFolder(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'daybreak');
}
