// tier: gpu
// parts: 4
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { showCase } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { runnable, verifyCase } from '../kernels/verify.ts';
import { planKernel } from './fixtures/run_kernel.ts';
import { quick, testDevice } from './gpu.ts';

const device = await testDevice();
const only = process.env.DAYBREAK_OP;
const needing = process.env.DAYBREAK_NEEDS;
const [part, parts] = (process.env.DAYBREAK_PART ?? '1/1').split('/').map(Number) as [number, number];
let count = 0;

if (device) {
  if (!device.robustness) {
    const constants = { WORDS: device.limits.maxComputeWorkgroupStorageSize / 4 };
    const dirty = await planKernel(device, 'dirty', 64, { first: 0 }, { constants, workgroups: 256 });
    test.before.each(() => {
      dirty.run(); // what Dawn does not zero is NaN
    });
  }
  if (quick) {
    const all = specs.flatMap(({ cases }) => cases);
    console.log(`quick: ${all.filter((c) => !c.quick).length} of ${all.length} cases run on matrix units alone`);
  }
  for (const spec of specs.filter(({ name }) => !only || name === only)) {
    for (const c of spec.cases) {
      for (const { name, kernel } of runnable(device, spec, c)) {
        if (quick && !c.quick && !kernel.matrix) continue;
        if (needing && !kernel.needs?.some((need) => need === needing)) continue;
        if (count++ % parts !== part - 1) continue;
        test(`${name} ${showCase(c)}`, async () => {
          const verdict = await verifyCase(device, spec, c, name);
          assert.is(verdict.problem, '', `${name} ${verdict.case}: ${verdict.problem}`);
        });
      }
    }
  }
}

test.run();
