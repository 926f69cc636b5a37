// tier: gpu
// nopt
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Case, type OpSpec, showCase } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { runnable, verifyCase } from '../kernels/verify.ts';
import { testDevice } from './gpu.ts';

const device = await testDevice();

/** A norm's spec with rows so small that eps is most of what they are divided by. */
function smallRows(spec: OpSpec): OpSpec {
  return {
    ...spec,
    inputs(c, random) {
      const inputs = spec.inputs(c, random);
      return { ...inputs, x: random.tensor(inputs.x!.shape, 'f32', 1e-4) };
    },
  };
}

const CASES: Record<string, Case> = {
  rms_norm: { rows: 3, cols: 64, as: 'f32' },
  layer_norm: { rows: 3, cols: 64, mean: 0, as: 'f32' },
};

if (device) {
  for (const [name, c] of Object.entries(CASES)) {
    const spec = smallRows(specs.find((known) => known.name === name)!);
    for (const kernel of runnable(device, spec, c)) {
      test(`${kernel.name} of small rows ${showCase(c)}`, async () => {
        assert.is((await verifyCase(device, spec, c, kernel.name)).problem, '');
      });
    }
  }
}

test.run();
