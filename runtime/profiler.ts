import type { Device } from './device.ts';
import { CapabilityError } from './errors.ts';
import type { Lap, PassTimes } from './recorder.ts';
import { ceilDiv } from './shape.ts';

const PAIRS_PER_SET = 2048;

/** Throws CapabilityError where the adapter has no timestamps. */
export function requireTimestamps(device: Device): void {
  if (device.features.has('timestamp-query')) return;
  throw new CapabilityError(`profile: expected feature timestamp-query, got an adapter without it ('${device.name}')`);
}

/** GPU timestamps around `count` compute passes; throws CapabilityError where the adapter has no timestamps. */
export class Stopwatch implements PassTimes {
  #device: Device;
  #count: number;
  #sets: GPUQuerySet[];
  #buffers: GPUBuffer[] = [];

  constructor(device: Device, count: number) {
    requireTimestamps(device);
    this.#device = device;
    this.#count = count;
    this.#sets = Array.from({ length: ceilDiv(count, PAIRS_PER_SET) }, (_, i) =>
      device.gpu.createQuerySet({ type: 'timestamp', count: 2 * Math.min(PAIRS_PER_SET, count - i * PAIRS_PER_SET) }),
    );
  }

  /** The timestamp writes of pass `index`. */
  writes(index: number): GPUComputePassTimestampWrites {
    const first = 2 * (index % PAIRS_PER_SET);
    const querySet = this.#sets[Math.floor(index / PAIRS_PER_SET)]!;
    return { querySet, beginningOfPassWriteIndex: first, endOfPassWriteIndex: first + 1 };
  }

  /** Appends the resolution of all timestamps. */
  resolve(encoder: GPUCommandEncoder): void {
    this.#buffers = this.#sets.map((set) => {
      const buffer = this.#device.timestampBuffer(set.count);
      encoder.resolveQuerySet(set, 0, set.count, buffer, 0);
      return buffer;
    });
  }

  /** The laps of the passes on the GPU's clock, once the work is done; the stopwatch is gone then. */
  async read(): Promise<Lap[]> {
    const nanos: bigint[] = [];
    for (const buffer of this.#buffers) {
      const bytes = await this.#device.read(buffer, 0, buffer.size);
      nanos.push(...new BigUint64Array(bytes.buffer));
    }
    this.dispose();
    return Array.from({ length: this.#count }, (_, i) => {
      const [begin, end] = [nanos[2 * i]!, nanos[2 * i + 1]!];
      return { start: Number(begin) / 1000, micros: Number(end - begin) / 1000 };
    });
  }

  /** Gives the query sets and buffers back; a second time does nothing. */
  dispose(): void {
    for (const buffer of this.#buffers.splice(0)) this.#device.free(buffer);
    for (const set of this.#sets.splice(0)) set.destroy();
  }
}
