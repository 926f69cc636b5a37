import { type BufferKind, CountingDevice } from './counting_device.ts';
import type { Device, DeviceTensor } from './device.ts';
import type { DType } from './dtype.ts';
import { DaybreakError } from './errors.ts';
import { type Kernel, loadKernel } from './kernel.ts';
import type { Pipeline } from './pipeline.ts';
import type { Recorder } from './recorder.ts';
import type { Shape } from './shape.ts';
import { checkHost, type HostTensor } from './tensor.ts';

/** A buffer that is not freed yet; of a tensor also its dtype. */
export interface BufferInUse {
  label: string;
  bytes: number;
  dtype?: DType;
}

/**
 * A device with the name, limits and features of a real one that takes no memory and computes nothing: what runs on it
 * records the same graphs and asks for the same buffers, so that `memory` says what it would take there.
 */
export class DryRunDevice extends CountingDevice implements Device {
  readonly dryRun = true;
  readonly available = undefined;
  timeline: Recorder | undefined;
  #dtypes = new WeakMap<GPUBuffer, DType>();

  /** There is none: throws a DaybreakError. */
  get gpu(): GPUDevice {
    throw noResult();
  }

  /** The buffers that a real device would hold now, in the order in which they were made. */
  inUse(): BufferInUse[] {
    return [...this.buffers].map((buffer) => ({
      label: buffer.label,
      bytes: buffer.size,
      dtype: this.#dtypes.get(buffer),
    }));
  }

  override tensor(name: string, shape: Shape, dtype: DType): DeviceTensor {
    const tensor = super.tensor(name, shape, dtype);
    this.#dtypes.set(tensor.storage.buffer, dtype);
    return tensor;
  }

  upload(host: HostTensor, name: string): DeviceTensor {
    checkHost(host, `upload: ${name}`);
    return this.tensor(name, host.shape, host.dtype);
  }

  async pipeline(kernel: Kernel): Promise<Pipeline> {
    return { reflection: loadKernel(kernel).reflection, bind: () => () => {} };
  }

  params(bytes: Uint8Array): GPUBuffer {
    return this.uniformBuffer(bytes);
  }

  async download(): Promise<never> {
    throw noResult();
  }
  async read(): Promise<never> {
    throw noResult();
  }
  async map(): Promise<never> {
    throw noResult();
  }

  guard<T>(_what: string, body: () => T): T {
    return body();
  }

  assertAlive(): void {}
  /** Lets everything pass: no memory is taken. */
  assertRoom(): void {}
  reclaim(): void {}
  write(): void {}
  run(): void {}
  submit(): void {}
  async roomForBindGroups(): Promise<void> {}
  async idle(): Promise<void> {}
  dispose(): void {}

  /** A handle that says its size and label: all that is asked of it. */
  protected create(size: number, _kind: BufferKind, label: string): GPUBuffer {
    return { size, label, destroy: () => {} } as GPUBuffer;
  }
}

function noResult(): DaybreakError {
  return new DaybreakError('dry run: expected a device that computes, got one that only counts memory; use a real one');
}
