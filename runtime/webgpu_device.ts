import { isSharedArrayBuffer } from 'node:util/types';
import { create, globals } from 'webgpu';
import {
  type AdapterChoice,
  type AdapterEntry,
  chooseAdapter,
  isSoftware,
  matrixUnits,
  type Preferences,
  parseAdapterList,
  wantsRobustness,
} from './adapter.ts';
import { countBindGroup, roomForBindGroups } from './bind_groups.ts';
import { type BufferKind, CountingDevice } from './counting_device.ts';
import type { Device, DeviceInfo, DeviceTensor } from './device.ts';
import { hostArray } from './dtype.ts';
import { DaybreakError, DeviceLostError, NoDeviceError, OutOfMemoryError } from './errors.ts';
import { gently } from './gently.ts';
import type { Feature, Kernel, MatrixUnit } from './kernel.ts';
import { checkUnits } from './matrix_units.ts';
import { type Pipeline, PipelineCache } from './pipeline.ts';
import type { HostSpan, Recorder } from './recorder.ts';
import { elements, roundUp } from './shape.ts';
import { checkHost, type HostTensor, type Storage, type Tensor } from './tensor.ts';
import type { Constants } from './wgsl.ts';

/** How to open a device; every field is optional. */
export interface DeviceOptions {
  /** Part of the adapter's name, any case, with #2 behind it for the second of several; 'null' opens Dawn's null backend, which compiles but computes nothing. */
  adapter?: string;
  /** Largest block of a weight in bytes; by default what the adapter can bind at once. */
  maxBlockBytes?: number;
  /**
   * Whether Dawn guards kernels against their own mistakes: it clamps indices, ends endless loops, zeroes workgroup
   * memory and defines division by zero. Else DAYBREAK_ROBUSTNESS (on or off) says so, else only software adapters do.
   */
  robustness?: boolean;
}

/** What a device is opened with where its adapter has it. */
export const FEATURES: readonly Feature[] = [
  'shader-f16',
  'subgroups',
  'subgroup-size-control',
  'chromium-experimental-subgroup-matrix',
  'timestamp-query',
];

/** What a device is opened with as much of as its adapter has. */
export const LIMITS = [
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

const ENABLED = ['allow_unsafe_apis', 'vulkan_enable_f16_on_nvidia'];

/** What takes Dawn's guards out of kernels. */
const UNGUARDED = ['disable_robustness', 'disable_workgroup_init', 'disable_polyfills_on_integer_div_and_mod'];

/** What a kernel for matrix units may use. */
const MATRIX_WORKGROUP_BYTES = 32768;

const { GPUBufferUsage, GPUMapMode, GPUOutOfMemoryError } = globals as unknown as {
  GPUBufferUsage: Record<'STORAGE' | 'UNIFORM' | 'COPY_SRC' | 'COPY_DST' | 'MAP_READ' | 'QUERY_RESOLVE', number>;
  GPUMapMode: { READ: number };
  GPUOutOfMemoryError: typeof globalThis.GPUOutOfMemoryError;
};

const USAGE: Readonly<Record<BufferKind, number>> = {
  storage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  uniform: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
  readback: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  timestamps: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
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

/** What Dawn would take for speed and for little power, where there are several GPUs to choose from. */
async function findPreferences(available: readonly AdapterEntry[]): Promise<Preferences> {
  const gpus = available.filter((entry) => !isSoftware(entry));
  if (gpus.length < 2) return {};
  const { backend } = gpus[0]!;
  const preferred = async (powerPreference: GPUPowerPreference) =>
    (await instance(`backend=${backend}`).requestAdapter({ powerPreference }))?.info.device;
  return { fast: await preferred('high-performance'), frugal: await preferred('low-power') };
}

/** Opens the adapter that `options.adapter`, else DAYBREAK_ADAPTER, else the ranking of chooseAdapter picks. */
export async function openDevice(options: DeviceOptions = {}): Promise<Device> {
  const wanted = options.adapter ?? process.env.DAYBREAK_ADAPTER;
  const choice = wanted === 'null' ? NULL : await choose(wanted);
  const robustness = wantsRobustness(choice, options.robustness);
  const adapter = await requestAdapter(choice, robustness);
  const enough = adapter.limits.maxComputeWorkgroupStorageSize >= MATRIX_WORKGROUP_BYTES;
  const listed = choice.backend !== 'null' && enough ? matrixUnits(adapter.info) : [];
  const checked = await checkUnits(choice, adapter.info.description, listed);
  return open(adapter, choice, { ...options, ...checked, robustness });
}

/** Opens an adapter without looking at its matrix units: what looks at them needs a device. */
export async function openUnchecked(entry: AdapterEntry): Promise<Device> {
  const choice = { ...entry, reason: 'to try its matrix units' };
  const robustness = wantsRobustness(choice);
  return open(await requestAdapter(choice, robustness), choice, { matrices: [], unusable: [], robustness });
}

type OpenOptions = DeviceOptions & Pick<DeviceInfo, 'unusable' | 'robustness'> & { matrices: readonly MatrixUnit[] };

async function open(adapter: GPUAdapter, choice: AdapterChoice, options: OpenOptions): Promise<Device> {
  const requiredFeatures = FEATURES.filter((f) => adapter.features.has(f)) as GPUFeatureName[];
  const requiredLimits = Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]]));
  const gpu = await adapter.requestDevice({ requiredFeatures, requiredLimits });
  return new WebGpuDevice(gpu, adapter, choice, options);
}

const NULL: AdapterChoice = { backend: 'null', name: 'null', reason: 'asked for by name; it computes nothing' };

async function choose(wanted: string | undefined): Promise<AdapterChoice> {
  const available = await listAdapters();
  return chooseAdapter(available, wanted, await findPreferences(available));
}

async function requestAdapter(choice: AdapterChoice, robustness: boolean): Promise<GPUAdapter> {
  const flags = choice.backend === 'null' ? ['backend=null'] : [`backend=${choice.backend}`, `adapter=${choice.name}`];
  const enabled = robustness ? ENABLED : [...ENABLED, ...UNGUARDED];
  flags.push(`enable-dawn-features=${enabled}`, 'disable-dawn-features=timestamp_quantization');
  const adapter = await instance(...flags).requestAdapter();
  if (!adapter) {
    throw new NoDeviceError(
      `device: expected adapter '${choice.name}' to open, got none; its driver is too old for Dawn or broken`,
    );
  }
  return adapter;
}

/** A device that Dawn opened. */
class WebGpuDevice extends CountingDevice implements Device {
  readonly gpu: GPUDevice;
  readonly dryRun = false;
  timeline: Recorder | undefined;

  #pipelines: PipelineCache;
  #fault: GPUError | undefined;
  /** Why the device is gone, once it is. */
  #gone: string | undefined;

  constructor(gpu: GPUDevice, { info }: GPUAdapter, choice: AdapterChoice, options: OpenOptions) {
    const { limits } = gpu;
    super({
      name: choice.name,
      driver: info.description,
      reason: choice.reason,
      features: new Set(FEATURES.filter((f) => gpu.features.has(f))),
      matrices: choice.backend === 'null' ? undefined : options.matrices,
      unusable: options.unusable,
      leastLanes: info.subgroupMinSize ?? 0,
      limits,
      maxBlockBytes: Math.min(options.maxBlockBytes ?? Number.POSITIVE_INFINITY, limits.maxStorageBufferBindingSize),
      onCpu: info.isFallbackAdapter,
      robustness: options.robustness,
    });
    this.gpu = gpu;
    this.#pipelines = new PipelineCache(gpu, (...made) => this.#bindGroup(...made));
    gpu.lost.then(({ reason, message }) => {
      this.#gone ??= `lost (${reason}): ${message}`;
    });
    gpu.addEventListener('uncapturederror', (event) => {
      event.preventDefault();
      this.#fault ??= (event as GPUUncapturedErrorEvent).error;
    });
  }

  get available(): number | undefined {
    return this.onCpu ? process.availableMemory() : undefined;
  }

  assertAlive(): void {
    if (!this.#gone) return;
    throw new DeviceLostError(`device: expected '${this.name}' to be usable, got ${this.#gone}; open it again`);
  }

  guard<T>(what: string, body: () => T): T {
    this.assertAlive();
    const result = body();
    const fault = this.#takeFault();
    if (fault) throw new DaybreakError(`device: ${what}: ${fault.message}`);
    return result;
  }

  run(what: string, encode: (encoder: GPUCommandEncoder) => void): void {
    this.assertAlive();
    const encoder = this.gpu.createCommandEncoder();
    encode(encoder);
    this.submit(encoder, what);
  }

  submit(encoder: GPUCommandEncoder, what: string): void {
    this.#spanned('submit', what, () => this.guard(what, () => this.gpu.queue.submit([encoder.finish()])));
  }

  /** A software adapter's driver hands memory out before it is there; GPUs report for themselves, in create(). */
  assertRoom(bytes: number, what: string): void {
    const free = this.available;
    if (free === undefined || bytes <= free) return;
    throw new OutOfMemoryError(
      `device: ${what}: expected at most ${free} bytes free on this machine, got ${bytes}; ${SMALLER}`,
    );
  }

  roomForBindGroups(count: number): Promise<void> {
    return roomForBindGroups(count, this.onCpu, () => this.reclaim());
  }

  params(bytes: Uint8Array<ArrayBuffer>): GPUBuffer {
    const buffer = this.uniformBuffer(bytes);
    this.guard('params', () => this.#write(buffer, 0, bytes));
    return buffer;
  }

  write(storage: Storage, data: ArrayBufferView, byteOffset = 0): void {
    const label = storage.buffer.label;
    this.assertUsable(storage, `upload: ${label}`);
    const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    const own = isSharedArrayBuffer(data.buffer) ? bytes.slice() : bytes; // Dawn dies of shared memory
    const upload = () => this.guard('upload', () => this.#write(storage.buffer, storage.offset + byteOffset, own));
    this.#spanned('upload', label, upload, bytes.byteLength);
  }

  upload(host: HostTensor, name: string): DeviceTensor {
    checkHost(host, `upload: ${name}`);
    const tensor = this.tensor(name, host.shape, host.dtype);
    this.write(tensor.storage, host.data);
    return tensor;
  }

  async download(tensor: Tensor): Promise<HostTensor> {
    const { name, storage } = tensor;
    if (!storage) throw new DaybreakError(`download: ${name}: expected a device tensor, got a temporary`);
    this.assertAlive();
    this.assertUsable(storage, `download: ${name}`);
    const data = hostArray(tensor.dtype, elements(tensor.shape));
    const bytes = await this.read(storage.buffer, storage.offset, data.byteLength);
    new Uint8Array(data.buffer).set(bytes);
    return { shape: tensor.shape, dtype: tensor.dtype, data };
  }

  async read(buffer: GPUBuffer, offset: number, length: number): Promise<Uint8Array> {
    const result = new Uint8Array(length);
    const chunk = Math.min(roundUp(Math.max(length, 4), 4), READBACK_CHUNK);
    const staging = this.readbackBuffer(chunk, 'readback');
    try {
      for (let at = 0; at < length; at += chunk) {
        const count = Math.min(chunk, length - at);
        this.run('read back', (encoder) => {
          encoder.copyBufferToBuffer(buffer, offset + at, staging, 0, roundUp(count, 4));
        });
        result.set((await this.map(staging)).subarray(0, count), at);
        staging.unmap();
      }
    } finally {
      this.free(staging);
    }
    return result;
  }

  async map(buffer: GPUBuffer): Promise<Uint8Array> {
    try {
      const wait = () => this.#wait(buffer.mapAsync(GPUMapMode.READ));
      await this.#spanned('read back', buffer.label, wait, buffer.size);
    } catch (error) {
      await Promise.resolve();
      this.assertAlive();
      throw new DeviceLostError(`device: expected to map '${buffer.label}', got ${error}; open the device again`);
    }
    this.assertAlive();
    return new Uint8Array(buffer.getMappedRange());
  }

  async pipeline(kernel: Kernel, constants: Constants): Promise<Pipeline> {
    this.assertAlive();
    return this.#wait(this.#pipelines.get(kernel, constants));
  }

  reclaim(): void {
    this.gpu.queue.submit([]);
  }

  async idle(): Promise<void> {
    this.assertAlive();
    await this.#spanned('idle', 'queue', () => this.#wait(this.gpu.queue.onSubmittedWorkDone()));
    this.assertAlive();
  }

  dispose(): void {
    this.#gone ??= 'one that was disposed';
    this.gpu.destroy();
  }

  protected create(size: number, kind: BufferKind, label: string): GPUBuffer {
    this.assertAlive();
    const buffer = this.gpu.createBuffer({ size, usage: USAGE[kind], label });
    const fault = this.#takeFault();
    if (!fault) return buffer;
    const outOfMemory = fault instanceof GPUOutOfMemoryError;
    if (!outOfMemory) throw new DaybreakError(`device: ${label}: ${fault.message}`);
    const got = `none with ${this.memory.current} in use: ${fault.message}`;
    throw new OutOfMemoryError(`device: ${label}: expected ${size} bytes, got ${got}; ${SMALLER}`);
  }

  #bindGroup(label: string, layout: GPUBindGroupLayout, entries: readonly GPUBindGroupEntry[]): GPUBindGroup {
    const group = this.guard(label, () => this.gpu.createBindGroup({ layout, entries: [...entries] }));
    countBindGroup(group);
    return group;
  }

  #takeFault(): GPUError | undefined {
    const fault = this.#fault;
    this.#fault = undefined;
    return fault;
  }

  #wait<T>(promise: Promise<T>): Promise<T> {
    return this.onCpu ? gently(promise) : promise;
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
