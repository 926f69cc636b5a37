import { probes } from '../bench/ceilings/probes.ts';
import { showCase, Zeros } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import {
  type Constants,
  canRun,
  Graph,
  type Kernel,
  loadKernel,
  openDevice,
  specialise,
  type Tensor,
  WgslError,
} from '../runtime/index.ts';
import { bindingDevice } from '../test/fixtures/binding_device.ts';

/**
 * Compiles every kernel with every set of constants that the specs and the ceilings use, on Dawn's null backend: no GPU
 * is needed. Of kernels that bind more than it allows, the module alone.
 * Prints each failure and exits with 1 if there was one.
 */
const device = await openDevice({ adapter: 'null' });
const roomy = bindingDevice(device, 16);
const compiled = new Set<string>();
let failures = 0;
for (const spec of specs) {
  for (const c of spec.cases) {
    for (const variant of spec.variants.filter((each) => spec.applies?.(each, c) ?? true)) {
      const graph = new Graph(roomy, { variants: { [spec.name]: variant.name } });
      const inputs = Object.entries(spec.inputs(c, new Zeros()));
      const tensors = inputs.map(([name, { shape, dtype }]) => [name, graph.input(name, shape, dtype)]);
      spec.record(graph, Object.fromEntries(tensors), c);
      for (const step of graph.steps) {
        if (step.kind !== 'dispatch') continue;
        await compile(step.kernel, step.constants, `${spec.name} ${showCase(c)}`);
      }
    }
  }
}
const words: Tensor = { name: 'x', shape: [2 ** 26], dtype: 'u32' };
for (const { kernel, constants } of probes(device, words, 0)) await compile(kernel, constants, 'ceilings');
device.dispose();
console.log(`${compiled.size} specialised kernels compiled on the null backend, ${failures} failed`);
process.exitCode = failures === 0 ? 0 : 1;

async function compile(kernel: Kernel, constants: Constants, what: string): Promise<void> {
  const key = `${kernel.name} ${JSON.stringify(constants)}`;
  if (compiled.has(key)) return;
  compiled.add(key);
  try {
    if (canRun(device, kernel)) await device.pipeline(kernel, constants);
    else await compileModule(kernel, constants);
  } catch (error) {
    if (!(error instanceof WgslError)) throw error;
    failures++;
    console.log(`${what}: ${error.message}`);
  }
}

/** Throws WgslError unless the specialised text is a module. */
async function compileModule(kernel: Kernel, constants: Constants): Promise<void> {
  const { text, reflection } = loadKernel(kernel);
  const file = `${kernel.name}.wgsl`;
  device.gpu.pushErrorScope('validation');
  device.gpu.createShaderModule({ code: specialise(text, file, reflection, constants) });
  const error = await device.gpu.popErrorScope();
  if (error) throw new WgslError(`${file}: ${error.message}`);
}
