import type { Device } from '../runtime/index.ts';

const NAP_MILLIS = 0.1;

/**
 * Makes waiting gentler on software adapters: Dawn polls with setImmediate and so takes a core from the adapter's own
 * threads while a promise is pending. Here every poll naps 0.1 ms, which costs as much latency. Benches only.
 */
export function waitGently(device: Device): void {
  if (!device.onCpu) return;
  const poll = globalThis.setImmediate;
  const cell = new Int32Array(new SharedArrayBuffer(4));
  globalThis.setImmediate = ((...args: Parameters<typeof setImmediate>) => {
    Atomics.wait(cell, 0, 0, NAP_MILLIS);
    return poll(...args);
  }) as typeof setImmediate;
}
