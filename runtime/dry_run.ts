import { Device } from './device.ts';
import type { DType } from './dtype.ts';
import { type Kernel, loadKernel } from './kernel.ts';
import type { Pipeline } from './pipeline.ts';
import type { Shape } from './shape.ts';
import type { Storage, Tensor } from './tensor.ts';

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
export class DryRunDevice extends Device {
  override readonly dryRun = true;
  override readonly matrices: Device['matrices'];
  #buffers: ReadonlySet<GPUBuffer>;
  #dtypes = new WeakMap<GPUBuffer, DType>();

  constructor(device: Device) {
    const buffers = new Set<GPUBuffer>();
    const { name, reason, driver: description, onCpu: isFallbackAdapter, maxBlockBytes } = device;
    const adapter = { info: { description, isFallbackAdapter } } as GPUAdapter;
    super(idleGpu(device.gpu, buffers), adapter, { backend: 'dry run', name, reason }, { maxBlockBytes });
    this.#buffers = buffers;
    this.matrices = device.matrices;
  }

  /** The buffers that are not freed yet, the oldest first. */
  inUse(): BufferInUse[] {
    return [...this.#buffers].map((buffer) => ({
      label: buffer.label,
      bytes: buffer.size,
      dtype: this.#dtypes.get(buffer),
    }));
  }

  /** Lets everything pass: no memory is taken. */
  override assertRoom(): void {}

  override tensor(name: string, shape: Shape, dtype: DType): Tensor & { storage: Storage } {
    const tensor = super.tensor(name, shape, dtype);
    this.#dtypes.set(tensor.storage.buffer, dtype);
    return tensor;
  }

  override async pipeline(kernel: Kernel): Promise<Pipeline> {
    const { reflection } = loadKernel(kernel);
    return { gpu: {} as GPUComputePipeline, tensors: {} as GPUBindGroupLayout, reflection };
  }
}

/** As much of a GPUDevice as Device calls, without effect but for the set of its buffers. */
function idleGpu({ limits, features }: GPUDevice, buffers: Set<GPUBuffer>): GPUDevice {
  const nothing = () => {};
  const object = () => ({});
  const done = async () => {};
  const pass = { setPipeline: nothing, setBindGroup: nothing, dispatchWorkgroups: nothing, end: nothing };
  const encoder = { beginComputePass: () => pass, copyBufferToBuffer: nothing, finish: object };
  const createBuffer = ({ size, label }: GPUBufferDescriptor) => {
    const getMappedRange = () => new ArrayBuffer(size);
    const destroy = () => buffers.delete(buffer);
    const buffer = { size, label, destroy, mapAsync: done, getMappedRange, unmap: nothing } as unknown as GPUBuffer;
    buffers.add(buffer);
    return buffer;
  };
  const gpu = {
    limits,
    features,
    lost: new Promise(nothing),
    queue: { writeBuffer: nothing, submit: nothing, onSubmittedWorkDone: done },
    addEventListener: nothing,
    createBuffer,
    createBindGroupLayout: object,
    createBindGroup: object,
    createCommandEncoder: () => encoder,
    destroy: nothing,
  };
  return gpu as unknown as GPUDevice;
}
