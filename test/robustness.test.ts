// tier: gpu
// nopt
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { OpSpec } from '../kernels/spec.ts';
import { verifyCase } from '../kernels/verify.ts';
import { openDevice, variant } from '../runtime/index.ts';
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

/** An op that reads one element behind its input and takes it to be 0, as a driver that checks bounds makes it. */
const behind: OpSpec = {
  name: 'behind',
  formula: 'y = x[n]',
  variants: [variant({ name: 'fixtures/behind', source: new URL('./fixtures/behind.wgsl', import.meta.url) })],
  cases: [],
  bench: [],
  inputs: (_, random) => ({ x: random.tensor([16]) }),
  record(g, { x }) {
    const y = g.temp('y', [1], 'f32');
    const tensors = { read: { x: x! }, write: { y }, params: { n: 16 } };
    g.dispatch({
      kernel: behind.variants[0]!.kernel,
      constants: {},
      ...tensors,
      workgroups: [1],
      cost: { flops: 0, bytes: 0 },
    });
    return y;
  },
  reference: () => Float64Array.of(0),
  tolerance: () => ({ atol: 0, rtol: 0 }),
};

if (device) {
  test('what a kernel reads behind an input is NaN where it is checked', async () => {
    const opened = await openDevice();
    const { problem } = await verifyCase(opened, behind, {}, 'fixtures/behind');
    assert.match(problem, /expected 0, got NaN/);
    opened.dispose();
  });
}

test.run();
