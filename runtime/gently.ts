const NAP_MILLIS = 0.1;

const clock = new Int32Array(new SharedArrayBuffer(4));
let waiting = 0;
let napping = false;

/**
 * Waits for a promise of Dawn's without taking a core from an adapter that runs on the CPU: Dawn polls at every turn of
 * the event loop while a promise is pending, so every turn naps 0.1 ms, which costs as much latency.
 */
export async function gently<T>(promise: Promise<T>): Promise<T> {
  waiting++;
  if (!napping) setImmediate(nap);
  napping = true;
  try {
    return await promise;
  } finally {
    waiting--;
  }
}

function nap(): void {
  napping = waiting > 0;
  if (!napping) return;
  Atomics.wait(clock, 0, 0, NAP_MILLIS);
  setImmediate(nap);
}
