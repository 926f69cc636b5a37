import { homedir } from 'node:os';
import { join } from 'node:path';

/** The folder of the user where everything is kept that is long to make: what was measured, synthetic checkpoints, peers. */
export function cacheFolder(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'daybreak');
}
