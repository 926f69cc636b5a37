import { type Device, type Owned, orAborted } from '../runtime/index.ts';

/** Steps that may be on their way to the host at a time. */
const COUNT = 4;

/** The buffers in which tokens come to the host. */
export class Staging {
  #free: GPUBuffer[];
  #waiting: (() => void)[] = [];

  constructor(device: Device, bytes: number, owned: Owned) {
    this.#free = Array.from({ length: COUNT }, () => owned.keep(device.readbackBuffer(bytes, 'token')));
  }

  /** A buffer, as soon as one is free; rejects with the signal's reason once it is aborted. */
  async take(signal: AbortSignal): Promise<GPUBuffer> {
    while (this.#free.length === 0) {
      await orAborted(new Promise<void>((resolve) => this.#waiting.push(resolve)), signal);
    }
    return this.#free.pop()!;
  }

  /** Gives a buffer back; all who wait look again, as some may have been told to stop waiting. */
  give(buffer: GPUBuffer): void {
    this.#free.push(buffer);
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
