// tier: null
// What a token of the published model takes, counted where nothing is computed.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openSynthetic, Phi4Vision } from '../model/index.ts';
import { DryRunDevice, openDevice, type Plan } from '../runtime/index.ts';

/** The null adapter as if a buffer held any matrix, as on GPUs. */
const roomy = Object.create(await openDevice({ adapter: 'null' }), {
  limits: { get: () => new Proxy({}, { get: (_, name) => (String(name).includes('Size') ? 2 ** 31 : 65535) }) },
  maxBlockBytes: { value: 2 ** 31 },
});
const device = new DryRunDevice(roomy);

/** The plan of one step, and its dispatches: scopes and kernels. */
async function step(sampled: boolean): Promise<{ plan: Plan; dispatches: Dispatched[] }> {
  const { config, source } = openSynthetic('15b', 'int4', 1);
  const options = { verify: false, int8Activations: true, context: 4096 } as const;
  const model = await Phi4Vision.fromSource(device, config, source, options);
  const plans = await model.engine.decodePlans(sampled);
  return { plan: plans.step, dispatches: dispatchesOf(plans.step) };
}

type Dispatched = [scope: string, kernel: string, workgroups: string];

function dispatchesOf(plan: Plan): Dispatched[] {
  return plan
    .describe()
    .split('\n')
    .map((line) => line.split(' ', 3) as Dispatched);
}

const [greedy, drawn] = [await step(false), await step(true)];
const headOf = ({ dispatches }: { dispatches: Dispatched[] }) =>
  dispatches.filter(([scope]) => !scope.startsWith('layers.'));

test('a token is 242 dispatches, 245 where it is drawn: six for each of 40 layers, and what follows', () => {
  assert.is(greedy.dispatches.length - headOf(greedy).length, 6 * 40);
  assert.is(greedy.dispatches.length, 242);
  assert.is(drawn.dispatches.length, 245);
});

test('what follows the layers is two dispatches, and three more where a token is drawn', () => {
  const [head, next] = ['logits/gemv_dot_subgroup_normed', 'advance/advance_quantized'];
  const kernels = (of: typeof greedy) => headOf(of).map(([, kernel]) => kernel);
  assert.equal(kernels(greedy), [head, next]);
  assert.equal(kernels(drawn), [head, 'argmax/argmax', 'sample/sample_weights', 'sample/sample_draw', next]);
});

test('more keys are more workgroups of attention, in proportion, and nothing else', () => {
  const { plan } = greedy;
  const at = (keys: number) => {
    plan.setScalars({ keys });
    const flops = plan.costs().reduce((sum, cost) => sum + cost.flops, 0);
    return { keys, flops, dispatches: dispatchesOf(plan) };
  };
  const [short, long, longest] = [at(512), at(1024), at(4096)] as const;
  const apart = ({ dispatches }: typeof short) =>
    dispatches.filter(([, kernel]) => !kernel.includes('attention_decode'));
  for (const { keys, dispatches } of [short, long, longest]) {
    const grids = dispatches.filter(([, kernel]) => kernel.includes('attention_decode')).map(([, , grid]) => grid);
    assert.equal([...new Set(grids)], [`${keys / 128}x10x1`]);
  }
  assert.equal(apart(long), apart(short));
  assert.equal(apart(longest), apart(short));
  assert.is((longest.flops - short.flops) / (long.flops - short.flops), (4096 - 512) / (1024 - 512));
});

test.run();
