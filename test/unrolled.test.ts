// tier: gpu
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { showCase } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { verifyCase } from '../kernels/verify.ts';
import { testDevice } from './gpu.ts';

const spec = specs.find(({ name }) => name === 'attention')!;
const cases = [false, true].map(
  (causal) => spec.cases.find((c) => c.quick && Number(c.keys) > 100 && c.causal === causal)!,
);

const device = await testDevice();
if (device?.onCpu) {
  for (const c of cases) {
    test(`attention_tile as GPUs have it, unrolled and with 16 keys a step: ${showCase(c)}`, async () => {
      const constants = { KEYS: 16, UNROLL: 4 };
      assert.is((await verifyCase(device, spec, c, 'attention/attention_tile', 1, constants)).problem, '');
    });
  }
}

test.run();
