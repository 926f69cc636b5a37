import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

let collect: (() => void) | undefined;

/**
 * Collects garbage and lets what it held be released: for Dawn's objects that nothing else can free, and of whose weight
 * the collector knows nothing. Takes tens of milliseconds.
 */
export async function collectGarbage(): Promise<void> {
  collect ??= exposed();
  collect();
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve)); // finalizers run between turns
}

/** The collector, which only a context that is made under the flag shows. */
function exposed(): () => void {
  setFlagsFromString('--expose-gc');
  const gc: () => void = runInNewContext('gc');
  setFlagsFromString('--no-expose-gc');
  return gc;
}
