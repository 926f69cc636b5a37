import { CapabilityError, OutOfMemoryError, WgslError } from './errors.ts';
import { type Kernel, type LoadedKernel, loadKernel } from './kernel.ts';
import { type Constants, PARAMS_BINDING, type Reflection, specialise } from './wgsl.ts';

/** Appends one command, or what it needs, to a compute pass. */
export type Recorded = (pass: GPUComputePassEncoder) => void;

/** A compiled kernel. */
export interface Pipeline {
  readonly reflection: Reflection;
  /** Binds buffers to the tensors and parameters of @group(0) and returns what sets pipeline and buffers in a pass. */
  bind(label: string, entries: readonly GPUBindGroupEntry[]): Recorded;
}

/** Makes a bind group and reports errors under `label`. */
export type MakeBindGroup = (
  label: string,
  layout: GPUBindGroupLayout,
  entries: readonly GPUBindGroupEntry[],
) => GPUBindGroup;

const COMPUTE = 4; // GPUShaderStage.COMPUTE

/** Compiles every distinct pair of kernel and constants once per device. */
export class PipelineCache {
  #gpu: GPUDevice;
  #makeBindGroup: MakeBindGroup;
  #pipelines = new WeakMap<LoadedKernel, Map<string, Promise<Pipeline>>>();

  constructor(gpu: GPUDevice, makeBindGroup: MakeBindGroup) {
    this.#gpu = gpu;
    this.#makeBindGroup = makeBindGroup;
  }

  /**
   * Rejects with WgslError where the kernel does not compile with these constants, with CapabilityError where it binds
   * more than the adapter allows, and with OutOfMemoryError; a later call tries anew.
   */
  async get(kernel: Kernel, constants: Constants): Promise<Pipeline> {
    const loaded = loadKernel(kernel);
    const compiled = this.#pipelines.get(loaded) ?? new Map<string, Promise<Pipeline>>();
    this.#pipelines.set(loaded, compiled);
    const key = JSON.stringify(constants);
    const existing = compiled.get(key);
    if (existing) return existing;
    const code = specialise(loaded.text, `${kernel.name}.wgsl`, loaded.reflection, constants);
    const pipeline = this.#compile(kernel, code, loaded.reflection);
    compiled.set(key, pipeline);
    pipeline.catch(() => compiled.delete(key));
    return pipeline;
  }

  async #compile(kernel: Kernel, code: string, reflection: Reflection): Promise<Pipeline> {
    const file = `${kernel.name}.wgsl`;
    const [{ group, layout }, layoutError] = this.#scoped(() => this.#layouts(reflection));
    const [module, moduleError] = this.#scoped(() => this.#gpu.createShaderModule({ code, label: kernel.name }));
    const [layoutFault, moduleFault] = await Promise.all([layoutError, moduleError]);
    if (layoutFault) {
      const most = this.#gpu.limits.maxStorageBuffersPerShaderStage;
      const got = `${reflection.bindings.length}: ${layoutFault.message}`;
      throw new CapabilityError(`${file}: bindings: expected at most ${most} that the adapter takes, got ${got}`);
    }
    if (moduleFault) throw new WgslError(await describe(file, module));
    try {
      const compute = { module };
      const pipeline = await this.#gpu.createComputePipelineAsync({ layout, compute, label: kernel.name });
      return { reflection, bind: (label, entries) => this.#bind(pipeline, group, label, entries) };
    } catch (error) {
      throw pipelineError(file, error as Error);
    }
  }

  #layouts({ bindings }: Reflection) {
    const entry = (binding: number, type: GPUBufferBindingType) => ({ binding, visibility: COMPUTE, buffer: { type } });
    const tensors = bindings.map(({ index, access }) =>
      entry(index, access === 'read' ? 'read-only-storage' : 'storage'),
    );
    const group = this.#gpu.createBindGroupLayout({ entries: [...tensors, entry(PARAMS_BINDING, 'uniform')] });
    return { group, layout: this.#gpu.createPipelineLayout({ bindGroupLayouts: [group] }) };
  }

  #bind(
    pipeline: GPUComputePipeline,
    layout: GPUBindGroupLayout,
    label: string,
    entries: readonly GPUBindGroupEntry[],
  ): Recorded {
    const group = this.#makeBindGroup(label, layout, entries);
    return (pass) => {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
    };
  }

  /** The result of `body`, and the validation error that it met. */
  #scoped<T>(body: () => T): [T, Promise<GPUError | null>] {
    this.#gpu.pushErrorScope('validation');
    return [body(), this.#gpu.popErrorScope()];
  }
}

/** The compiler's errors as `<kernel>.wgsl:line:column: message`, one a line. */
async function describe(file: string, module: GPUShaderModule): Promise<string> {
  const { messages } = await module.getCompilationInfo();
  return messages
    .filter(({ type }) => type === 'error')
    .map(({ lineNum, linePos, message }) => `${file}:${lineNum}:${linePos}: ${message}`)
    .join('\n');
}

/** Whether memory ran out, or the kernel is at fault. */
function pipelineError(file: string, { message }: Error): Error {
  const outOfMemory = /out[ _]?of[ _]?(\w+[ _])?memory/i.test(message);
  if (!outOfMemory) return new WgslError(`${file}: expected a pipeline, got: ${message}`);
  return new OutOfMemoryError(`${file}: expected memory for a pipeline, got: ${message}; free some and try again`);
}
