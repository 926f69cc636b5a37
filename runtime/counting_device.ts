import type { DeviceInfo, DeviceTensor } from './device.ts';
import type { DType } from './dtype.ts';
import { CapabilityError, DaybreakError } from './errors.ts';
import type { Feature, MatrixUnit } from './kernel.ts';
import type { UnusableUnit } from './matrix_units.ts';
import { roundUp, type Shape } from './shape.ts';
import { checkTensor, type Storage, tensorBytes } from './tensor.ts';

/** What a buffer is for. */
export type BufferKind = 'storage' | 'uniform' | 'readback' | 'timestamps';

/** The buffers of a device and what they take, however they are made. */
export abstract class CountingDevice implements DeviceInfo {
  readonly name: string;
  readonly driver: string;
  readonly reason: string;
  readonly features: ReadonlySet<Feature>;
  readonly matrices: readonly MatrixUnit[] | undefined;
  readonly unusable: readonly UnusableUnit[];
  readonly limits: GPUSupportedLimits;
  readonly maxBlockBytes: number;
  readonly onCpu: boolean;
  readonly robustness: boolean;
  readonly memory = { current: 0, peak: 0 };
  /** The buffers that are not freed yet, the oldest first. */
  protected readonly buffers = new Set<GPUBuffer>();

  constructor(info: DeviceInfo) {
    const { name, driver, reason, features, matrices, unusable, limits, maxBlockBytes, onCpu, robustness } = info;
    this.name = name;
    this.driver = driver;
    this.reason = reason;
    this.features = features;
    this.matrices = matrices;
    this.unusable = unusable;
    this.limits = limits;
    this.maxBlockBytes = maxBlockBytes;
    this.onCpu = onCpu;
    this.robustness = robustness;
  }

  /** Makes a buffer of `size` bytes; throws OutOfMemoryError. */
  protected abstract create(size: number, kind: BufferKind, label: string): GPUBuffer;

  alloc(bytes: number, label: string): Storage {
    const size = roundUp(Math.max(bytes, 16), 16);
    if (size > this.limits.maxBufferSize) {
      throw new CapabilityError(
        `device: ${label}: expected at most ${this.limits.maxBufferSize} bytes in one buffer, got ${size}`,
      );
    }
    return { buffer: this.buffer(size, 'storage', label), offset: 0, bytes };
  }

  tensor(name: string, shape: Shape, dtype: DType): DeviceTensor {
    checkTensor({ shape, dtype }, `device: ${name}`);
    return { name, shape, dtype, storage: this.alloc(tensorBytes({ shape, dtype }), name) };
  }

  readbackBuffer(size: number, label: string): GPUBuffer {
    return this.buffer(size, 'readback', label);
  }

  timestampBuffer(count: number): GPUBuffer {
    return this.buffer(count * 8, 'timestamps', 'timestamps');
  }

  free(target: Storage | GPUBuffer): void {
    const buffer = 'buffer' in target ? target.buffer : target;
    if (!this.buffers.delete(buffer)) return;
    this.memory.current -= buffer.size;
    buffer.destroy();
  }

  assertUsable({ buffer }: Storage, what: string): void {
    if (this.buffers.has(buffer)) return;
    throw new DaybreakError(
      `${what}: expected memory in use on this device ('${this.name}'), got '${buffer.label}', which is freed or another device's; upload it here`,
    );
  }

  /** A buffer, counted in `memory`. */
  protected buffer(size: number, kind: BufferKind, label: string): GPUBuffer {
    const buffer = this.create(size, kind, label);
    this.buffers.add(buffer);
    this.memory.current += size;
    this.memory.peak = Math.max(this.memory.peak, this.memory.current);
    return buffer;
  }

  /** The uniform buffer behind the parameters of a plan. */
  protected uniformBuffer(bytes: Uint8Array): GPUBuffer {
    return this.buffer(roundUp(Math.max(bytes.byteLength, 16), 16), 'uniform', 'params');
  }
}
