import { create, globals } from 'webgpu';
import { type AdapterChoice, type AdapterEntry, chooseAdapter, parseAdapterList } from './adapter.ts';
import { hostArray } from './dtype.ts';
import { CapabilityError, DaybreakError, DeviceLostError, NoDeviceError, OutOfMemoryError } from './errors.ts';
import type { Kernel, MatrixUnit } from './kernel.ts';
import { type Pipeline, PipelineCache } from './pipeline.ts';
import { elements, roundUp } from './shape.ts';
import { checkHost, type HostTensor, type Storage, type Tensor, tensorBytes } from './tensor.ts';
import type { HostSpan, Timeline } from './timeline.ts';
import type { Constants } from './wgsl.ts';

/** A device feature that a kernel may need. */
export type Feature =
  | 'shader-f16'
  | 'subgroups'
  | 'subgroup-size-control'
  | 'chromium-experimental-subgroup-matrix'
  | 'timestamp-query';

/** How to open a device; every field is optional. */
export interface DeviceOptions {
  /** Part of the adapter's name, any case; 'null' opens Dawn's null backend, which compiles but computes nothing. */
  adapter?: string;
  /** Largest block of a weight in bytes; by default what the adapter can bind at once. */
  maxBlockBytes?: number;
}

const FEATURES: Feature[] = [
  'shader-f16',
  'subgroups',
  'subgroup-size-control',
  'chromium-experimental-subgroup-matrix',
  'timestamp-query',
];

const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxComputeWorkgroupsPerDimension',
] as const;

const TOGGLES = [
  'enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia',
  'disable-dawn-features=timestamp_quantization',
];

const { GPUBufferUsage, GPUMapMode, GPUOutOfMemoryError, GPUShaderStage } = globals as unknown as {
  GPUBufferUsage: Record<'STORAGE' | 'UNIFORM' | 'COPY_SRC' | 'COPY_DST' | 'MAP_READ' | 'QUERY_RESOLVE', number>;
  GPUMapMode: { READ: number };
  GPUOutOfMemoryError: typeof globalThis.GPUOutOfMemoryError;
  GPUShaderStage: { COMPUTE: number };
};

const SMALLER = 'use a shorter context or smaller weights';

const READBACK_CHUNK = 64 * 2 ** 20;

/** Every object that create() returned, kept for the life of the process: Dawn crashes when one is collected. */
const instances = new Map<string, GPU>();

function instance(...flags: string[]): GPU {
  const key = flags.join(' ');
  const existing = instances.get(key);
  if (existing) return existing;
  const gpu = create(flags);
  instances.set(key, gpu);
  return gpu;
}

/** The adapters of this machine, in the driver's order. */
export async function listAdapters(): Promise<AdapterEntry[]> {
  try {
    await instance('adapter=__none__').requestAdapter();
    return [];
  } catch (error) {
    return parseAdapterList(String(error));
  }
}

/** Opens the adapter that `options.adapter`, else DAYBREAK_ADAPTER, else the ranking of chooseAdapter picks. */
export async function openDevice(options: DeviceOptions = {}): Promise<Device> {
  const wanted = options.adapter ?? process.env.DAYBREAK_ADAPTER;
  const choice: AdapterChoice =
    wanted === 'null'
      ? { backend: 'null', name: 'null', reason: 'asked for by name; it computes nothing' }
      : chooseAdapter(await listAdapters(), wanted);
  const adapter = await requestAdapter(choice);
  const requiredFeatures = FEATURES.filter((f) => adapter.features.has(f)) as GPUFeatureName[];
  const requiredLimits = Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]]));
  const gpu = await adapter.requestDevice({ requiredFeatures, requiredLimits });
  return new Device(gpu, adapter, choice, options);
}

async function requestAdapter(choice: AdapterChoice): Promise<GPUAdapter> {
  const flags = choice.backend === 'null' ? ['backend=null'] : [`backend=${choice.backend}`, `adapter=${choice.name}`];
  const adapter = await instance(...flags, ...TOGGLES).requestAdapter();
  if (!adapter) {
    throw new NoDeviceError(
      `device: expected adapter '${choice.name}' to open, got none; its driver is too old for Dawn or broken`,
    );
  }
  return adapter;
}

/** The matrix units that an adapter lists; none where it has no list. */
export function matrixUnits(info: Partial<GPUAdapterInfo>): MatrixUnit[] {
  const { subgroupMatrixConfigs = [], subgroupMinSize = 0, subgroupMaxSize = 0 } = info as MatrixInfo;
  return subgroupMatrixConfigs.map(({ componentType, resultComponentType, M, N, K }) => ({
    component: componentType,
    result: resultComponentType,
    ...{ M, N, K },
    lanes: [subgroupMinSize, subgroupMaxSize],
  }));
}

/** What Dawn adds to an adapter's information. */
type MatrixInfo = Partial<GPUAdapterInfo> & {
  subgroupMatrixConfigs?: readonly {
    componentType: string;
    resultComponentType: string;
    M: number;
    N: number;
    K: number;
  }[];
};

/** An open device: buffers, uploads, downloads and pipelines. Sizes are bytes. */
export class Device {
  readonly gpu: GPUDevice;
  readonly name: string;
  /** Driver and version as the adapter describes them. */
  readonly driver: string;
  readonly reason: string;
  readonly features: ReadonlySet<Feature>;
  /** The matrix units of the adapter; undefined on the null backend, which compiles for any. */
  readonly matrices: readonly MatrixUnit[] | undefined;
  readonly limits: GPUSupportedLimits;
  /** Weights larger than this many bytes are cut into blocks of rows. */
  readonly maxBlockBytes: number;
  /** Whether the adapter runs on the CPU. */
  readonly onCpu: boolean;
  /** Whether this device only counts memory: see DryRunDevice. */
  readonly dryRun: boolean = false;
  /** Device bytes in use now and at most so far. */
  readonly memory = { current: 0, peak: 0 };
  /** What records the device's work at the moment, if anything does; see Timeline.record. */
  timeline: Timeline | undefined;

  /** Layout of @group(1) of every kernel: one uniform buffer, shown through a window at a dynamic offset. */
  readonly paramsLayout: GPUBindGroupLayout;

  #pipelines = new PipelineCache(this);
  #buffers = new Set<GPUBuffer>();
  #fault: GPUError | undefined;
  #lost: GPUDeviceLostInfo | undefined;

  constructor(gpu: GPUDevice, adapter: GPUAdapter, choice: AdapterChoice, options: DeviceOptions) {
    this.gpu = gpu;
    this.name = choice.name;
    this.driver = adapter.info.description;
    this.reason = choice.reason;
    this.features = new Set(FEATURES.filter((f) => gpu.features.has(f)));
    this.matrices = choice.backend === 'null' ? undefined : matrixUnits(adapter.info);
    this.limits = gpu.limits;
    this.maxBlockBytes = Math.min(
      options.maxBlockBytes ?? Number.POSITIVE_INFINITY,
      gpu.limits.maxStorageBufferBindingSize,
    );
    this.onCpu = adapter.info.isFallbackAdapter;
    const buffer = { type: 'uniform', hasDynamicOffset: true } as const;
    const entries = [{ binding: 0, visibility: GPUShaderStage.COMPUTE, buffer }];
    this.paramsLayout = gpu.createBindGroupLayout({ entries });
    gpu.lost.then((info) => {
      this.#lost = info;
    });
    gpu.addEventListener('uncapturederror', (event) => {
      event.preventDefault();
      this.#fault ??= (event as GPUUncapturedErrorEvent).error;
    });
  }

  /** Throws DeviceLostError once the device is gone. */
  assertAlive(): void {
    if (!this.#lost) return;
    throw new DeviceLostError(
      `device: expected '${this.name}' to be usable, got lost (${this.#lost.reason}): ${this.#lost.message}; open it again`,
    );
  }

  /** Runs calls to Dawn and turns the error that one of them reports into an exception that names `what`. */
  guard<T>(what: string, body: () => T): T {
    this.assertAlive();
    const result = body();
    const fault = this.#fault;
    if (!fault) return result;
    this.#fault = undefined;
    throw new DaybreakError(`device: ${what}: ${fault.message}`);
  }

  /** Submits the commands of an encoder. */
  submit(encoder: GPUCommandEncoder, what: string): void {
    this.#spanned('submit', what, () => this.guard(what, () => this.gpu.queue.submit([encoder.finish()])));
  }

  /** A zeroed buffer that kernels can read and write and that can be copied from and to. */
  alloc(bytes: number, label: string): Storage {
    const size = roundUp(Math.max(bytes, 16), 16);
    if (size > this.limits.maxBufferSize) {
      throw new CapabilityError(
        `device: ${label}: expected at most ${this.limits.maxBufferSize} bytes in one buffer, got ${size}`,
      );
    }
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    return { buffer: this.buffer(size, usage, label), offset: 0, bytes };
  }

  /** A tensor with storage of its own, zeroed. */
  tensor(name: string, shape: readonly number[], dtype: Tensor['dtype']): Tensor & { storage: Storage } {
    return { name, shape, dtype, storage: this.alloc(tensorBytes({ shape, dtype }), name) };
  }

  /** Bytes free on the machine, whose memory a software adapter uses; undefined for a GPU, as WebGPU does not tell. */
  get available(): number | undefined {
    return this.onCpu ? process.availableMemory() : undefined;
  }

  /**
   * Throws OutOfMemoryError where `bytes` more cannot fit on a software adapter: its driver hands memory out before it is
   * there. GPUs report for themselves, in buffer().
   */
  assertRoom(bytes: number, what: string): void {
    const free = this.available;
    if (free === undefined || bytes <= free) return;
    throw new OutOfMemoryError(
      `device: ${what}: expected at most ${free} bytes free on this machine, got ${bytes}; ${SMALLER}`,
    );
  }

  /** A raw buffer with the given usage, counted in `memory`; throws OutOfMemoryError. */
  buffer(size: number, usage: number, label: string): GPUBuffer {
    this.assertAlive();
    const buffer = this.gpu.createBuffer({ size, usage, label });
    const fault = this.#fault;
    this.#fault = undefined;
    if (fault) {
      const outOfMemory = fault instanceof GPUOutOfMemoryError;
      if (!outOfMemory) throw new DaybreakError(`device: ${label}: ${fault.message}`);
      const got = `none with ${this.memory.current} in use: ${fault.message}`;
      throw new OutOfMemoryError(`device: ${label}: expected ${size} bytes, got ${got}; ${SMALLER}`);
    }
    this.#buffers.add(buffer);
    this.memory.current += size;
    this.memory.peak = Math.max(this.memory.peak, this.memory.current);
    return buffer;
  }

  /** Gives a buffer's memory back; a second time does nothing. */
  free(target: Storage | GPUBuffer): void {
    const buffer = 'buffer' in target ? target.buffer : target;
    if (!this.#buffers.delete(buffer)) return;
    this.memory.current -= buffer.size;
    buffer.destroy();
  }

  /** A uniform buffer holding `words`. */
  uniform(words: Uint8Array, label: string): GPUBuffer {
    const buffer = this.buffer(
      roundUp(Math.max(words.byteLength, 16), 16),
      GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
      label,
    );
    this.guard(label, () => this.gpu.queue.writeBuffer(buffer, 0, words));
    return buffer;
  }

  /** The bind group that shows `window` bytes of a uniform buffer at a dynamic offset. */
  paramsGroup(uniform: GPUBuffer, window: number): GPUBindGroup {
    const entries = [{ binding: 0, resource: { buffer: uniform, size: window } }];
    return this.guard('params', () => this.gpu.createBindGroup({ layout: this.paramsLayout, entries }));
  }

  /** Copies host bytes into device memory; lengths that are no multiple of 4 are padded with zeros. */
  write(storage: Storage, data: ArrayBufferView, byteOffset = 0): void {
    const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    const upload = () => this.guard('upload', () => this.#write(storage.buffer, storage.offset + byteOffset, bytes));
    this.#spanned('upload', storage.buffer.label, upload, bytes.byteLength);
  }

  /** A device tensor with the contents of a host tensor. */
  upload(host: HostTensor, name: string): Tensor & { storage: Storage } {
    checkHost(host, `upload: ${name}`);
    const tensor = this.tensor(name, host.shape, host.dtype);
    this.write(tensor.storage, host.data);
    return tensor;
  }

  /** The contents of a device tensor, once all submitted work is done. */
  async download(tensor: Tensor): Promise<HostTensor> {
    if (!tensor.storage) throw new DaybreakError(`download: ${tensor.name}: expected a device tensor, got a temporary`);
    const data = hostArray(tensor.dtype, elements(tensor.shape));
    const bytes = await this.read(tensor.storage.buffer, tensor.storage.offset, data.byteLength);
    new Uint8Array(data.buffer).set(bytes);
    return { shape: tensor.shape, dtype: tensor.dtype, data };
  }

  /** Bytes of a device buffer, read back in chunks. */
  async read(buffer: GPUBuffer, offset: number, length: number): Promise<Uint8Array> {
    const result = new Uint8Array(length);
    const chunk = Math.min(roundUp(Math.max(length, 4), 4), READBACK_CHUNK);
    const staging = this.readbackBuffer(chunk, 'readback');
    try {
      for (let at = 0; at < length; at += chunk) {
        const count = Math.min(chunk, length - at);
        const encoder = this.gpu.createCommandEncoder();
        encoder.copyBufferToBuffer(buffer, offset + at, staging, 0, roundUp(count, 4));
        this.submit(encoder, 'read back');
        result.set((await this.map(staging)).subarray(0, count), at);
        staging.unmap();
      }
    } finally {
      this.free(staging);
    }
    return result;
  }

  /** A buffer that can be mapped for reading. */
  readbackBuffer(size: number, label: string): GPUBuffer {
    return this.buffer(size, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST, label);
  }

  /** A buffer into which `count` timestamps can be resolved. */
  timestampBuffer(count: number): GPUBuffer {
    return this.buffer(count * 8, GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC, 'timestamps');
  }

  /** Maps a readback buffer; the caller keeps the buffer referenced and unmaps it. */
  async map(buffer: GPUBuffer): Promise<Uint8Array> {
    try {
      await this.#spanned('read back', buffer.label, () => buffer.mapAsync(GPUMapMode.READ), buffer.size);
    } catch (error) {
      await Promise.resolve();
      this.assertAlive();
      throw new DeviceLostError(`device: expected to map '${buffer.label}', got ${error}; open the device again`);
    }
    this.assertAlive();
    return new Uint8Array(buffer.getMappedRange());
  }

  /** The compiled pipeline of a kernel with these constants; compiled once. */
  pipeline(kernel: Kernel, constants: Constants): Promise<Pipeline> {
    return this.#pipelines.get(kernel, constants);
  }

  /** Gives the memory of freed buffers back now, which Dawn does at the next submit. */
  reclaim(): void {
    this.gpu.queue.submit([]);
  }

  /** Resolves when all submitted work is done. */
  async idle(): Promise<void> {
    this.assertAlive();
    await this.#spanned('idle', 'queue', () => this.gpu.queue.onSubmittedWorkDone());
    this.assertAlive();
  }

  /** Destroys the device and all its buffers. */
  dispose(): void {
    this.gpu.destroy();
  }

  #spanned<T>(name: HostSpan['name'], label: string, body: () => T, bytes?: number): T {
    return this.timeline ? this.timeline.span(name, label, body, bytes) : body();
  }

  #write(buffer: GPUBuffer, offset: number, bytes: Uint8Array<ArrayBuffer>): void {
    const whole = bytes.byteLength & ~3;
    if (whole > 0) this.gpu.queue.writeBuffer(buffer, offset, bytes, 0, whole);
    if (whole === bytes.byteLength) return;
    const tail = new Uint8Array(4);
    tail.set(bytes.subarray(whole));
    this.gpu.queue.writeBuffer(buffer, offset + whole, tail);
  }
}
