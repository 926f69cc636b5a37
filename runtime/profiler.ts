import type { Device } from './device.ts';
import { CapabilityError } from './errors.ts';
import { ceilDiv } from './shape.ts';

/** GPU time and declared work of one dispatch. */
export interface ProfileRow {
  scope: string;
  kernel: string;
  micros: number;
  flops: number;
  bytes: number;
}

const PAIRS_PER_SET = 2048;

/** GPU timestamps around `count` compute passes; throws CapabilityError where the adapter has no timestamps. */
export class Stopwatch {
  #device: Device;
  #count: number;
  #sets: GPUQuerySet[];
  #buffers: GPUBuffer[] = [];

  constructor(device: Device, count: number) {
    if (!device.features.has('timestamp-query')) {
      throw new CapabilityError(
        `profile: expected feature timestamp-query, got an adapter without it ('${device.name}')`,
      );
    }
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

  /** Microseconds of each pass, once the work is done. */
  async read(): Promise<number[]> {
    const nanos: bigint[] = [];
    for (const buffer of this.#buffers) {
      const bytes = await this.#device.read(buffer, 0, buffer.size);
      nanos.push(...new BigUint64Array(bytes.buffer));
      this.#device.free(buffer);
    }
    for (const set of this.#sets) set.destroy();
    return Array.from({ length: this.#count }, (_, i) => Number(nanos[2 * i + 1]! - nanos[2 * i]!) / 1000);
  }
}
