import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { OutOfMemoryError } from './errors.ts';

/** Bind groups made before those that nothing holds any more are collected. */
const COLLECT_EVERY = 16384;

/** Bind groups in use at most on a software adapter: lavapipe maps memory for each, and Linux allows 65530 maps a process. */
const MOST = 49152;

/** Bind groups of this process that are not collected yet. */
let alive = 0;
let collectAt = COLLECT_EVERY;
const collected = new FinalizationRegistry(() => alive--);

/** Counts a bind group until it is collected. */
export function countBindGroup(group: GPUBindGroup): void {
  alive++;
  collected.register(group, undefined);
}

/**
 * Makes room for `count` more bind groups, which nothing frees but the garbage collector, and it knows nothing of their
 * weight: collects where many were made since the last time. `release` lets Dawn free them. Throws OutOfMemoryError
 * where too many are still in use, if the adapter runs on the CPU.
 */
export async function roomForBindGroups(count: number, onCpu: boolean, release: () => void): Promise<void> {
  const most = onCpu ? MOST : Number.POSITIVE_INFINITY;
  if (alive + count <= Math.min(collectAt, most)) return;
  await collectGarbage();
  release();
  collectAt = alive + count + COLLECT_EVERY;
  if (alive + count <= most) return;
  throw new OutOfMemoryError(
    `device: plan: expected at most ${most} kernel calls in all plans, got ${alive} in use and ${count} more; dispose sessions and plans`,
  );
}

let collect: (() => void) | undefined;

/** Takes some tens of milliseconds. */
export async function collectGarbage(): Promise<void> {
  collect ??= exposedCollector();
  collect();
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve)); // finalizers run between turns
}

/** The collector, which only a context that is made under the flag shows. */
function exposedCollector(): () => void {
  setFlagsFromString('--expose-gc');
  const gc: () => void = runInNewContext('gc');
  setFlagsFromString('--no-expose-gc');
  return gc;
}
