import type { DType } from './dtype.ts';
import type { Feature, Kernel, MatrixUnit } from './kernel.ts';
import type { UnusableUnit } from './matrix_units.ts';
import type { Pipeline } from './pipeline.ts';
import type { Recorder } from './recorder.ts';
import type { Shape } from './shape.ts';
import type { HostTensor, Storage, Tensor } from './tensor.ts';
import type { Constants } from './wgsl.ts';

/** A tensor on the device. */
export type DeviceTensor = Tensor & { storage: Storage };

/** What is known of an open adapter. */
export interface DeviceInfo {
  readonly name: string;
  /** Driver and version as the adapter describes them. */
  readonly driver: string;
  /** Why this adapter was taken. */
  readonly reason: string;
  readonly features: ReadonlySet<Feature>;
  /** The matrix units that were right when they were tried on this adapter; undefined on the null backend, which compiles for any. */
  readonly matrices: readonly MatrixUnit[] | undefined;
  /** Those that the adapter lists but that were not, and why. */
  readonly unusable: readonly UnusableUnit[];
  readonly limits: GPUSupportedLimits;
  /** Weights larger than this many bytes are cut into blocks of rows. */
  readonly maxBlockBytes: number;
  /** Whether the adapter runs on the CPU. */
  readonly onCpu: boolean;
  /** Whether Dawn guards kernels: see DeviceOptions. */
  readonly robustness: boolean;
}

/** An open device: buffers, uploads, downloads and pipelines. Sizes are bytes. */
export interface Device extends DeviceInfo {
  readonly gpu: GPUDevice;
  /** Whether this device only counts memory: see DryRunDevice. */
  readonly dryRun: boolean;
  /** Device bytes in use now and at most so far. */
  readonly memory: { current: number; peak: number };
  /** Bytes free on the machine, whose memory a software adapter uses; undefined for a GPU, as WebGPU does not tell. */
  readonly available: number | undefined;
  /** What records the device's work at the moment, if anything does; see Timeline.record. */
  timeline: Recorder | undefined;

  /** Throws DeviceLostError once the device is gone. */
  assertAlive(): void;
  /** Throws OutOfMemoryError where `bytes` more cannot fit on a software adapter. */
  assertRoom(bytes: number, what: string): void;
  /** Throws a DaybreakError, which begins with `what`, unless a buffer belongs to this device and is not freed. */
  assertUsable(storage: Storage, what: string): void;
  /** Runs calls to WebGPU and turns the error that one of them reports into an exception that names `what`. */
  guard<T>(what: string, body: () => T): T;

  /** A zeroed buffer that kernels can read and write and that can be copied from and to. */
  alloc(bytes: number, label: string): Storage;
  /** A tensor with storage of its own, zeroed. */
  tensor(name: string, shape: Shape, dtype: DType): DeviceTensor;
  /** A buffer that can be mapped for reading. */
  readbackBuffer(size: number, label: string): GPUBuffer;
  /** A buffer into which `count` timestamps can be resolved. */
  timestampBuffer(count: number): GPUBuffer;
  /** Gives a buffer's memory back; a second time does nothing. */
  free(target: Storage | GPUBuffer): void;
  /** Gives the memory of freed buffers back now, which Dawn does at the next submit. */
  reclaim(): void;

  /** Copies host bytes into device memory; lengths that are no multiple of 4 are padded with zeros. */
  write(storage: Storage, data: ArrayBufferView, byteOffset?: number): void;
  /** A device tensor with the contents of a host tensor. */
  upload(host: HostTensor, name: string): DeviceTensor;
  /** The contents of a device tensor, once all submitted work is done. */
  download(tensor: Tensor): Promise<HostTensor>;
  /** Bytes of a device buffer, read back in chunks. */
  read(buffer: GPUBuffer, offset: number, length: number): Promise<Uint8Array>;
  /** Maps a readback buffer; the caller keeps the buffer referenced and unmaps it. */
  map(buffer: GPUBuffer): Promise<Uint8Array>;

  /** The compiled pipeline of a kernel with these constants; compiled once. */
  pipeline(kernel: Kernel, constants: Constants): Promise<Pipeline>;
  /** Resolves when `count` more bind groups can be made; throws OutOfMemoryError where too many are in use. */
  roomForBindGroups(count: number): Promise<void>;
  /** A uniform buffer with these contents. */
  params(bytes: Uint8Array<ArrayBuffer>): GPUBuffer;
  /** Encodes commands and submits them. */
  run(what: string, encode: (encoder: GPUCommandEncoder) => void): void;
  /** Submits the commands of an encoder. */
  submit(encoder: GPUCommandEncoder, what: string): void;
  /** Resolves when all submitted work is done. */
  idle(): Promise<void>;
  /** Destroys the device and all its buffers. */
  dispose(): void;
}
