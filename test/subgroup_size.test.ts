// tier: host
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { specs } from '../kernels/specs.ts';
import { loadKernel } from '../runtime/index.ts';

test('no kernel reads subgroup_size, which a driver may report larger than what runs: lanes over num_subgroups is right', () => {
  const kernels = specs.flatMap(({ variants }) => variants.map(({ kernel }) => kernel));
  const reading = kernels.filter((kernel) => /@builtin\(\s*subgroup_size\s*\)/.test(loadKernel(kernel).text));
  assert.ok(kernels.length > 50);
  assert.equal(
    reading.map(({ name }) => name),
    [],
  );
});

test.run();
