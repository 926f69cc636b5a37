// tier: gpu
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openDevice } from '../runtime/index.ts';
import { planKernel } from './fixtures/run_kernel.ts';
import { testDevice } from './gpu.ts';

const device = await testDevice();
device?.dispose();

/** What test/fixtures/guards.wgsl finds: an index too large, a division by zero, memory not written. */
async function find(robustness: boolean): Promise<number[]> {
  const opened = await openDevice({ adapter: device!.name, robustness });
  assert.is(opened.robustness, robustness);
  const dirty = await planKernel(opened, 'dirty', 64, { first: 0 }, { constants: { WORDS: 2048 }, workgroups: 8192 });
  dirty.run();
  const plan = await planKernel(opened, 'guards', 3, { four: 4, zero: 0 });
  const found = await opened.download(plan.run().y!);
  opened.dispose();
  return [...found.data];
}

if (device?.onCpu) {
  test('with robustness an index is clamped, x / 0 is x, and workgroup memory begins as zeros', async () => {
    assert.equal(await find(true), [1, 10, 0]);
  });

  test('without it kernels get what they ask for', async () => {
    const [element, quotient] = await find(false);
    assert.is.not(element, 1);
    assert.is.not(quotient, 10);
  });
}

test.run();
