import type { Device } from './device.ts';
import { WgslError } from './errors.ts';
import { type Kernel, type LoadedKernel, loadKernel } from './kernel.ts';
import { type Constants, type Reflection, specialise } from './wgsl.ts';

/** A compiled kernel and the layouts of its bind groups. */
export interface Pipeline {
  gpu: GPUComputePipeline;
  reflection: Reflection;
  /** Layout of @group(0). */
  tensors: GPUBindGroupLayout;
}

const COMPUTE = 4; // GPUShaderStage.COMPUTE

/** Compiles every distinct pair of kernel and constants once per device. */
export class PipelineCache {
  #device: Device;
  #pipelines = new WeakMap<LoadedKernel, Map<string, Promise<Pipeline>>>();

  constructor(device: Device) {
    this.#device = device;
  }

  /** Rejects with WgslError where the kernel does not compile with these constants. */
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
    return pipeline;
  }

  async #compile(kernel: Kernel, code: string, reflection: Reflection): Promise<Pipeline> {
    const { gpu } = this.#device;
    const tensors = gpu.createBindGroupLayout({
      entries: reflection.bindings.map(({ index, access }) => ({
        binding: index,
        visibility: COMPUTE,
        buffer: { type: access === 'read' ? 'read-only-storage' : 'storage' },
      })),
    });
    const layout = gpu.createPipelineLayout({ bindGroupLayouts: [tensors, this.#device.paramsLayout] });
    gpu.pushErrorScope('validation');
    const module = gpu.createShaderModule({ code, label: kernel.name });
    const moduleError = await gpu.popErrorScope();
    if (moduleError) throw new WgslError(await describe(kernel, module));
    try {
      const pipeline = await gpu.createComputePipelineAsync({ layout, compute: { module }, label: kernel.name });
      return { gpu: pipeline, reflection, tensors };
    } catch (error) {
      throw new WgslError(`${kernel.name}.wgsl: expected a pipeline, got: ${(error as Error).message}`);
    }
  }
}

/** The compiler's errors as `<kernel>.wgsl:line:column: message`, one a line. */
async function describe(kernel: Kernel, module: GPUShaderModule): Promise<string> {
  const { messages } = await module.getCompilationInfo();
  return messages
    .filter(({ type }) => type === 'error')
    .map(({ lineNum, linePos, message }) => `${kernel.name}.wgsl:${lineNum}:${linePos}: ${message}`)
    .join('\n');
}
