import { orAborted } from './abort.ts';
import type { Device } from './device.ts';
import type { Cost } from './graph.ts';
import type { Plan } from './plan.ts';

/** How long a submit shall take on the device at most, in milliseconds: no watchdog fires, and cancelling is quick. */
const SUBMIT_MILLIS = 50;
/** Steps of the first submit of a run at most: the device shall begin while the host encodes the rest. */
const FIRST_STEPS = 32;
/** What a device is taken to do before anything was measured: flops and bytes in a millisecond. */
const FIRST_GUESS = { cpu: { flops: 2e7, bytes: 5e6 }, gpu: { flops: 2e9, bytes: 2e8 } };
/** The weight of a new measurement in the running mean. */
const NEWS = 0.3;

/** How long declared work takes on a device, learnt from what earlier submits took. */
export class Pace {
  #guess: Cost;
  #factor = 1;

  constructor(device: Device) {
    this.#guess = device.onCpu ? FIRST_GUESS.cpu : FIRST_GUESS.gpu;
  }

  /** Milliseconds that some work is expected to take. */
  estimate({ flops, bytes }: Cost): number {
    return this.#factor * (flops / this.#guess.flops + bytes / this.#guess.bytes);
  }

  /** Takes note of what work that was estimated at `expected` took. */
  learn(expected: number, taken: number): void {
    const ratio = Math.min(Math.max(taken / Math.max(expected, 1e-3), 0.1), 10);
    this.#factor *= ratio ** NEWS;
  }
}

/** How to run in pieces; every field is optional. */
export interface PieceOptions {
  /** Ends the run, which is rejected with the signal's reason; what is submitted by then drains. */
  signal?: AbortSignal;
  /** Told the share of the estimated work that is done, 0 to 1. */
  progress?: (share: number) => void;
}

/**
 * Submits a plan, whose scalars and inputs are set, in pieces of about SUBMIT_MILLIS, one ahead of the device; resolves when
 * all is done.
 */
export async function runInPieces(device: Device, plan: Plan, pace: Pace, options: PieceOptions = {}): Promise<void> {
  const { signal, progress } = options;
  const costs = plan.costs().map((cost) => pace.estimate(cost));
  const total = costs.reduce((sum, millis) => sum + millis, 0);
  let [before, finished, done]: [Promise<void>, number, number] = [Promise.resolve(), performance.now(), 0];
  for (let from = 0; from < costs.length; ) {
    signal?.throwIfAborted();
    let [to, expected] = [from, 0];
    const most = from === 0 ? Math.min(FIRST_STEPS, costs.length) : costs.length;
    do expected += costs[to++]!;
    while (to < most && expected + costs[to]! <= SUBMIT_MILLIS);
    const end = to;
    device.run('run', (encoder) => plan.encode(encoder, from, end));
    const [submitted, idle] = [performance.now(), device.idle()];
    const piece = idle.then(() => {
      const now = performance.now();
      pace.learn(expected, now - Math.max(submitted, finished));
      finished = now;
      done += expected;
      if (!signal?.aborted) progress?.(done / total);
    });
    piece.catch(() => {}); // awaited later
    await orAborted(before, signal);
    before = piece;
    from = to;
  }
  await orAborted(before, signal);
}
