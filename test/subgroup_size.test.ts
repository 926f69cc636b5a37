// tier: gpu
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { specs } from '../kernels/specs.ts';
import { runnable, verifyCase } from '../kernels/verify.ts';
import { type Kernel, loadKernel } from '../runtime/index.ts';
import { testDevice } from './gpu.ts';

const dir = mkdtempSync(join(tmpdir(), 'daybreak-subgroups-'));
test.after(() => rmSync(dir, { recursive: true }));

/** A kernel on a driver that reports twice the subgroup size that runs, as drivers may that choose it per pipeline. */
function misinformed(kernel: Kernel): Kernel {
  const { text } = loadKernel(kernel);
  const [, name] = /@builtin\(subgroup_size\) (\w+): u32/.exec(text) ?? [];
  if (!name) return kernel;
  const path = join(dir, kernel.name.replace('/', '_'));
  const renamed = text.replace(`@builtin(subgroup_size) ${name}`, '@builtin(subgroup_size) reported');
  writeFileSync(
    path,
    renamed.replace(/^fn main\([^{]*\{/m, (head) => `${head} let ${name} = 2u * reported;`),
  );
  return { ...kernel, source: pathToFileURL(path), lib: [] };
}

const device = await testDevice();
if (device?.features.has('subgroups')) {
  const pipeline = device.pipeline.bind(device);
  device.pipeline = (kernel, constants) => pipeline(misinformed(kernel), constants);

  for (const spec of specs) {
    for (const variant of spec.variants.filter(({ kernel }) => kernel.needs?.includes('subgroups'))) {
      test(`${variant.name} is right where subgroup_size is more than what runs`, async () => {
        for (const c of spec.cases.filter(({ quick }) => quick)) {
          if (!runnable(device, spec, c).includes(variant)) continue;
          const { problem, case: shown } = await verifyCase(device, spec, c, variant.name);
          assert.is(problem, '', `${shown}: ${problem}`);
        }
      });
    }
  }
}

test.run();
