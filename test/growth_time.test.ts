// tier: gpu
// alone
// How the work of products and attention grows with rows and keys, by the kernels that the adapter takes.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Case, Random } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { chosenVariant, planCase } from '../kernels/verify.ts';
import type { Device, Plan } from '../runtime/index.ts';
import { testDevice } from './gpu.ts';

/** What caches may cost beyond proportion. */
const SPREAD = 1.5;
const REPEATS = 5;

const device = await testDevice();
if (device) {
  const work = async (op: string, c: Case): Promise<number> => {
    const spec = specs.find(({ name }) => name === op)!;
    const inputs = spec.inputs(c, new Random(1));
    const { plan } = await planCase(device, spec, c, chosenVariant(device, spec, c, inputs)!.name, inputs);
    await workOf(device, plan);
    const works: number[] = [];
    for (let i = 0; i < REPEATS; i++) works.push(await workOf(device, plan));
    plan.dispose();
    return Math.min(...works);
  };

  const product = { inner: 256, outs: 256, group: 64, activation: 'none', bias: false, residual: false, split: 0 };
  const matmul = { ...product, as: 'f32', from: 'f32', weights: 'f32', norm: false, show: 'y' };
  test('64 times the rows of a product take at most 64 times the work', async () => {
    const [few, many] = [
      await work('matmul', { ...matmul, rows: 64 }),
      await work('matmul', { ...matmul, rows: 4096 }),
    ];
    assert.ok(many <= SPREAD * 64 * few, `${few} and ${many}`);
  });

  const shape = { sequences: 1, mixed: false, heads: 1, kvHeads: 1, headDim: 32, as: 'f32', kv: 'f32', scale: 1 };
  for (const causal of [false, true])
    test(`7 times the tokens of ${causal ? 'causal ' : ''}attention take at most 49 times the work`, async () => {
      const of = (n: number) => work('attention', { ...shape, causal, tokens: n, keys: n });
      const [few, many] = [await of(256), await of(7 * 256)];
      assert.ok(many <= SPREAD * 49 * few, `${few} and ${many}`);
    });
}

test.run();

/** Microseconds of one run: of the processors where these compute, for other work makes the wall clock slow, else of the GPU. */
async function workOf(device: Device, plan: Plan): Promise<number> {
  if (!device.onCpu) return (await plan.profile()).reduce((sum, { micros }) => sum + micros, 0);
  const before = process.cpuUsage();
  plan.run();
  await device.idle();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}
