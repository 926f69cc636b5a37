// tier: gpu
// nopt
// parts: 4
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { showCase } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { runnable, verifyCase } from '../kernels/verify.ts';
import type { Variant } from '../runtime/index.ts';
import { planKernel } from './fixtures/run_kernel.ts';
import { quick, sweep, testDevice } from './gpu.ts';

const device = await testDevice();
const only = process.env.DAYBREAK_OP;
const needing = process.env.DAYBREAK_NEEDS;
const [part, parts] = (process.env.DAYBREAK_PART ?? '1/1').split('/').map(Number) as [number, number];
let count = 0;

/** Whether a case runs with a variant: quick ones and matrix units always do, of the rest every fourth pair unless a case has just one, or all are to. */
function runs(c: { quick?: boolean }, { kernel }: Variant, index: number): boolean {
  if (needing && !kernel.needs?.some((need) => need === needing)) return false;
  return Boolean(c.quick || kernel.matrix) || (!quick && (sweep || index % 4 === 0));
}

if (device) {
  if (!device.robustness) {
    const constants = { WORDS: device.limits.maxComputeWorkgroupStorageSize / 4 };
    const dirty = await planKernel(device, 'dirty', 64, { first: 0 }, { constants, workgroups: 256 });
    test.before.each(() => {
      dirty.run(); // what Dawn does not zero is NaN
    });
  }
  const all = specs.flatMap(({ cases }) => cases);
  const slow = `${all.filter((c) => !c.quick).length} of ${all.length} cases`;
  if (quick) console.log(`quick: ${slow} run on matrix units alone`);
  else if (!sweep) console.log(`${slow} run with every fourth variant in turn; all do with --sweep`);
  for (const spec of specs.filter(({ name }) => !only || name === only)) {
    spec.cases.forEach((c, i) => {
      runnable(device, spec, c).forEach((variant, j, { length }) => {
        if (!runs(c, variant, length > 1 ? i + j : 0) || count++ % parts !== part - 1) return;
        const { name } = variant;
        test(`${name} ${showCase(c)}`, async () => {
          const verdict = await verifyCase(device, spec, c, name);
          assert.is(verdict.problem, '', `${name} ${verdict.case}: ${verdict.problem}`);
        });
      });
    });
  }
}

test.run();
