/** Naps are a share of the time waited so far, so that they add no more than it to any wait, and within these bounds. */
const SHARE = 1 / 8;
const LEAST_MILLIS = 0.1;
const MOST_MILLIS = 2;

const clock = new Int32Array(new SharedArrayBuffer(4));
let waiting = 0;
let napping = false;
/** When a promise was last waited for or kept. */
let since = 0;

/**
 * Waits for a promise of Dawn's without taking a core from an adapter that runs on the CPU: Dawn polls at every turn of
 * the event loop while a promise is pending, so every turn naps; an eighth of the time waited so far, which costs as much latency.
 */
export async function gently<T>(promise: Promise<T>): Promise<T> {
  waiting++;
  since = performance.now();
  if (!napping) setImmediate(nap);
  napping = true;
  try {
    return await promise;
  } finally {
    waiting--;
    since = performance.now();
  }
}

function nap(): void {
  napping = waiting > 0;
  if (!napping) return;
  Atomics.wait(clock, 0, 0, Math.min(MOST_MILLIS, Math.max(LEAST_MILLIS, SHARE * (performance.now() - since))));
  setImmediate(nap);
}
