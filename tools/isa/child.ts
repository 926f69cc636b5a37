// Compiles the dispatches of jobs (JSON on standard input) on the adapter named by its argument, one after the other, and
// writes a line before each to standard error, where the driver prints what it made of them. See compile.ts.
import { readFileSync, writeSync } from 'node:fs';
import { Random } from '../../kernels/spec.ts';
import { specs } from '../../kernels/specs.ts';
import { chosenVariant, recordCase, runnable } from '../../kernels/verify.ts';
import {
  type Device,
  type DType,
  elements,
  type HostTensor,
  hostArray,
  openDevice,
  type Shape,
} from '../../runtime/index.ts';
import { type IsaJob, MARK, type Marked } from './compile.ts';

/** Makes tensors of zeros: only their shapes are needed. */
class Zeros extends Random {
  override tensor(shape: Shape, dtype: DType = 'f32'): HostTensor {
    return { shape, dtype, data: hostArray(dtype, elements(shape)) };
  }

  override integers(shape: Shape, _limit: number, dtype: DType = 'u32'): HostTensor {
    return this.tensor(shape, dtype);
  }
}

function mark(marked: Marked): void {
  writeSync(2, `${MARK}${JSON.stringify(marked)}\n`);
}

async function compile(device: Device, { op, case: c, variant, constants = {} }: IsaJob, job: number): Promise<void> {
  const spec = specs.find(({ name }) => name === op)!;
  const inputs = spec.inputs(c, new Zeros(1));
  const chosen = variant === 'chosen' ? chosenVariant(device, spec, c, inputs)?.name : variant;
  for (const { name } of runnable(device, spec, c).filter((kernel) => chosen === 'all' || chosen === kernel.name)) {
    for (const step of recordCase(device, spec, c, name, inputs, constants)) {
      const { kernel, constants = {} } = step;
      mark({ job, variant: name, kernel: kernel.name, constants });
      await device.pipeline(kernel, constants);
    }
  }
}

try {
  const device = await openDevice({ adapter: process.argv[2]! });
  mark({ opened: device.name });
  const jobs: IsaJob[] = JSON.parse(readFileSync(0, 'utf8'));
  for (const [i, job] of jobs.entries()) await compile(device, job, i);
  mark({ done: true });
} catch (error) {
  mark({ failed: (error as Error).message });
}
process.exit(0);
