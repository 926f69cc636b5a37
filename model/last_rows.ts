import { type Device, type DeviceTensor, type DType, type Owned, PromptError, tensorBytes } from '../runtime/index.ts';

/** Sequences that may have a prompt at a time. */
const MOST = 256;

/** The last row of every sequence's prompt, with which its answer begins: one slot each. */
export class LastRows {
  /** Where a chunk of a prompt leaves its last row, and where the first token of an answer reads one, [1, hidden]. */
  readonly written: DeviceTensor;
  readonly read: DeviceTensor;
  #rows: DeviceTensor;
  #rowBytes: number;
  #free = Array.from({ length: MOST }, (_, i) => i);

  constructor(device: Device, hidden: number, dtype: DType, owned: Owned) {
    this.written = owned.keep(device.tensor('prompted', [1, hidden], dtype));
    this.read = owned.keep(device.tensor('normed', [1, hidden], dtype));
    this.#rows = owned.keep(device.tensor('normed_rows', [MOST, hidden], dtype));
    this.#rowBytes = tensorBytes(this.written);
  }

  /** A slot; throws PromptError where too many sequences have one. */
  take(): number {
    const slot = this.#free.pop();
    if (slot !== undefined) return slot;
    throw new PromptError(
      `session: expected at most ${MOST} sequences with a prompt at a time, got one more; dispose of some`,
    );
  }

  give(slot: number): void {
    this.#free.push(slot);
  }

  /** Appends a copy of the latest chunk's last row into a slot. */
  keep(encoder: GPUCommandEncoder, slot: number): void {
    this.#copy(encoder, this.written, 0, this.#rows, slot);
  }

  /** Appends a copy of a slot to where the first token of an answer reads it. */
  place(encoder: GPUCommandEncoder, slot: number): void {
    this.#copy(encoder, this.#rows, slot, this.read, 0);
  }

  /** Appends a copy of a slot into another one; through `read`, as no buffer is copied within itself. */
  fork(encoder: GPUCommandEncoder, from: number, to: number): void {
    this.place(encoder, from);
    this.#copy(encoder, this.read, 0, this.#rows, to);
  }

  #copy(encoder: GPUCommandEncoder, from: DeviceTensor, row: number, to: DeviceTensor, target: number): void {
    const bytes = this.#rowBytes;
    encoder.copyBufferToBuffer(from.storage.buffer, row * bytes, to.storage.buffer, target * bytes, bytes);
  }
}
