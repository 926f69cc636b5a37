import type { Device } from './device.ts';
import { requireTimestamps, Stopwatch } from './profiler.ts';
import type { HostSpan, PassTimes, ProfileRow, Recorder, Work } from './recorder.ts';

/** Everything a device did during a recording. */
export interface Recording<T> {
  result: T;
  spans: HostSpan[];
  /** The dispatches in the order in which they were encoded. */
  rows: ProfileRow[];
}

const CLOCK_TRIALS = 8;

/** The device's `timeline` while it records: every dispatch runs in a timed pass of its own, which costs time. */
export class Timeline implements Recorder {
  #device: Device;
  #spans: HostSpan[] = [];
  /** Dispatches of recordings that ended within this one. */
  #rows: ProfileRow[] = [];
  #passes: { stopwatch: Stopwatch; steps: readonly Work[] }[] = [];

  private constructor(device: Device) {
    this.#device = device;
  }

  /** Runs `body` and returns what the device did meanwhile; recordings may nest. Throws CapabilityError where it has no timestamps. */
  static async record<T>(device: Device, body: () => T | Promise<T>): Promise<Recording<T>> {
    requireTimestamps(device);
    const outer = device.timeline;
    const timeline = new Timeline(device);
    device.timeline = timeline;
    try {
      const result = await body();
      device.timeline = undefined;
      const recording = { result, spans: timeline.#spans, rows: [...timeline.#rows, ...(await timeline.#read())] };
      outer?.absorb(recording.spans, recording.rows);
      return recording;
    } finally {
      device.timeline = outer;
      for (const { stopwatch } of timeline.#passes) stopwatch.dispose();
    }
  }

  span<T>(name: HostSpan['name'], label: string, body: () => T, bytes?: number): T {
    const start = performance.now() * 1000;
    const end = () => {
      const micros = performance.now() * 1000 - start;
      this.#spans.push({ name, label, start, micros, ...(bytes !== undefined && { bytes }) });
    };
    const result = body();
    if (result instanceof Promise) result.then(end, end);
    else end();
    return result;
  }

  encode(encoder: GPUCommandEncoder, steps: readonly Work[], body: (times: PassTimes) => void): void {
    const stopwatch = new Stopwatch(this.#device, steps.length);
    this.#passes.push({ stopwatch, steps });
    this.span('encode', `${steps.length} dispatches`, () => body(stopwatch));
    stopwatch.resolve(encoder);
  }

  absorb(spans: readonly HostSpan[], rows: readonly ProfileRow[]): void {
    this.#spans.push(...spans);
    this.#rows.push(...rows);
  }

  async #read(): Promise<ProfileRow[]> {
    const rows: ProfileRow[] = [];
    for (const { stopwatch, steps } of this.#passes) {
      const laps = await stopwatch.read();
      rows.push(...steps.map((step, i) => ({ ...step, ...laps[i]! })));
    }
    return rows;
  }
}

/**
 * Microseconds to add to a time on the GPU's clock to place it on the host's, good to `uncertainty`: the shortest of
 * several round trips with one timed pass in the middle.
 */
export async function gpuClock(device: Device): Promise<{ offset: number; uncertainty: number }> {
  const trials: { offset: number; uncertainty: number }[] = [];
  for (let i = 0; i < CLOCK_TRIALS; i++) {
    const stopwatch = new Stopwatch(device, 1);
    const encoder = device.gpu.createCommandEncoder();
    encoder.beginComputePass({ timestampWrites: stopwatch.writes(0) }).end();
    stopwatch.resolve(encoder);
    const before = performance.now() * 1000;
    device.submit(encoder, 'clock');
    await device.idle();
    const after = performance.now() * 1000;
    const [lap] = await stopwatch.read();
    const middle = lap!.start + lap!.micros / 2;
    trials.push({ offset: (before + after) / 2 - middle, uncertainty: (after - before) / 2 });
  }
  return trials.reduce((best, trial) => (trial.uncertainty < best.uncertainty ? trial : best));
}
