// Compiles the dispatches of jobs (JSON on standard input) on the adapter named by its argument, one after the other, and
// writes a line before each to standard error, where the driver prints what it made of them. See compile.ts.
import { readFileSync, writeSync } from 'node:fs';
import { Zeros } from '../../kernels/spec.ts';
import { specs } from '../../kernels/specs.ts';
import { chosenVariant, recordCase, runnable } from '../../kernels/verify.ts';
import { type Device, type Kernel, kernel, loadKernel, openDevice, WgslError } from '../../runtime/index.ts';
import { type IsaJob, MARK, type Marked } from './compile.ts';

function mark(marked: Marked): void {
  writeSync(2, `${MARK}${JSON.stringify(marked)}\n`);
}

/** A card that is not there computes nothing, so that its matrix units cannot be right: they are taken as they are listed. */
function believed(device: Device): Device {
  if (!device.name.startsWith('Null hardware')) return device;
  const matrices = device.unusable.map(({ reason: _, lanes: [least], ...unit }) => ({
    ...unit,
    lanes: Math.max(least, 32),
  }));
  return Object.assign(device, { matrices });
}

/** A kernel whose conditions are false; WgslError where it has not each once. */
function without(own: Kernel, never: readonly string[]): Kernel {
  const { text } = loadKernel(own);
  const wgsl = never.reduce((changed, condition) => {
    const parts = changed.split(`if (${condition}) {`);
    if (parts.length !== 2)
      throw new WgslError(
        `isa: never: expected 'if (${condition}) {' once in ${own.name}, got it ${parts.length - 1} times`,
      );
    return parts.join('if (false) {');
  }, text);
  return kernel({ name: own.name, wgsl });
}

async function compile(device: Device, job: IsaJob, at: number): Promise<void> {
  const { op, case: c, variant, never = [] } = job;
  const spec = specs.find(({ name }) => name === op)!;
  const inputs = spec.inputs(c, new Zeros());
  const chosen = variant === 'chosen' ? chosenVariant(device, spec, c, inputs)?.name : variant;
  for (const { name, kernel: own } of runnable(device, spec, c).filter(
    (each) => chosen === 'all' || chosen === each.name,
  )) {
    for (const { kernel, constants = {} } of recordCase(device, spec, c, name, inputs, job.constants)) {
      const skipped = kernel === own ? never : [];
      mark({ job: at, variant: name, kernel: kernel.name, constants, never: skipped });
      await device.pipeline(skipped.length > 0 ? without(kernel, skipped) : kernel, constants);
    }
  }
}

try {
  const device = believed(await openDevice({ adapter: process.argv[2]! }));
  mark({ opened: device.name });
  const jobs: IsaJob[] = JSON.parse(readFileSync(0, 'utf8'));
  for (const [i, job] of jobs.entries()) await compile(device, job, i);
  mark({ done: true });
} catch (error) {
  mark({ failed: (error as Error).message });
}
process.exit(0);
