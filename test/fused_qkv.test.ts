// tier: null
// In how many dispatches a decoder layer of the published shapes projects, rotates and caches.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openSynthetic, Phi4Vision } from '../model/index.ts';
import { type ForcedVariants, type Graph, openDevice } from '../runtime/index.ts';
import { bindingDevice } from './fixtures/binding_device.ts';
import { graphsPlanned } from './fixtures/recorded_graphs.ts';

const LAYERS = 40;
const none = await openDevice({ adapter: 'null' });

interface Given {
  buffers?: number;
  dtype?: 'f32' | 'f16';
  int8Activations?: boolean;
  variants?: ForcedVariants;
}

/** The kernels of a chunk of a prompt and of a step of decoding, on a device whose stages bind so many storage buffers. */
async function kernelsOf({ buffers = 10, ...options }: Given = {}): Promise<Record<'prefill' | 'decode', string[]>> {
  const { config, source } = openSynthetic('15b', 'int4', 1);
  const model = await Phi4Vision.fromSource(bindingDevice(none, buffers), config, source, options);
  const graphs = await graphsPlanned(() => model.engine.decodePlans(false));
  const names = ({ steps }: Graph) => steps.flatMap((step) => (step.kind === 'dispatch' ? step.kernel.name : []));
  const decode = graphs.find(({ scalars }) => scalars.has('keys'))!;
  return { prefill: names(model.engine.recordChunk(1024)), decode: names(decode) };
}

const count = (kernels: readonly string[], op: string) => kernels.filter((name) => name.startsWith(`${op}/`)).length;

for (const options of [{}, { dtype: 'f16' }, { int8Activations: true }] as const) {
  test(`neither a prompt nor a step has a dispatch for RoPE or the cache: ${JSON.stringify(options)}`, async () => {
    const apart = await kernelsOf({ ...options, variants: { qkv: 'apart' } });
    for (const [phase, kernels] of Object.entries(await kernelsOf(options))) {
      assert.equal(
        ['qkv', 'rope', 'kv_append'].map((op) => count(kernels, op)),
        [LAYERS, 0, 0],
        phase,
      );
      const before = apart[phase as keyof typeof apart];
      assert.equal(
        ['qkv', 'rope', 'kv_append'].map((op) => count(before, op)),
        [0, 2 * LAYERS, LAYERS],
        phase,
      );
      assert.is(before.length - kernels.length, 3 * LAYERS, phase);
    }
  });
}

test('where a stage binds too few buffers, the parts run apart', async () => {
  const { prefill, decode } = await kernelsOf({ buffers: 8 });
  for (const kernels of [prefill, decode]) assert.is(count(kernels, 'qkv'), 0);
  const integers = await kernelsOf({ buffers: 9, int8Activations: true });
  for (const kernels of Object.values(integers)) assert.is(count(kernels, 'qkv'), 0, 'x has scales');
});

test.run();
