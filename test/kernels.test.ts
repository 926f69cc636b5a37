// tier: gpu
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { showCase } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { runnable, verifyCase } from '../kernels/verify.ts';
import { quick, testDevice } from './gpu.ts';

const device = await testDevice();
const only = process.env.DAYBREAK_OP;

if (device) {
  if (quick) {
    const all = specs.flatMap(({ cases }) => cases);
    console.log(`quick: ${all.filter((c) => !c.quick).length} of ${all.length} cases left out`);
  }
  for (const spec of specs.filter(({ name }) => !only || name === only)) {
    for (const c of spec.cases.filter((candidate) => !quick || candidate.quick)) {
      for (const { name } of runnable(device, spec, c)) {
        test(`${name} ${showCase(c)}`, async () => {
          const verdict = await verifyCase(device, spec, c, name);
          assert.is(verdict.problem, '', `${name} ${verdict.case}: ${verdict.problem}`);
        });
      }
    }
  }
}

test.run();
