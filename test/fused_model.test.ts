// tier: gpu
// A step of decoding with products that norm x and quantise y themselves gives the logits of one that leaves that to others.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BOUNDS } from '../bench/verify.ts';
import { decode, type LoadOptions, Phi4Vision } from '../model/index.ts';
import { type ForcedVariants, Timeline } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { testDevice } from './gpu.ts';

/** What the rounding of quants to one or the other side moves logits by, over the largest. */
const INT8_BOUND = 2e-2;
const FED = Uint32Array.of(9, 301, 7, 44, 260);

const device = await testDevice();
if (device?.features.has('subgroups')) {
  /** The kernel of int4 weights and floats, where the device has f16. */
  const half = device.features.has('shader-f16') ? ['gemv_half'] : [];
  const KERNELS = ['gemv_dot_subgroup', ...half, 'gemv_subgroup'];
  const NORMED = KERNELS.map((name) => `${name}_normed`);
  const FUSED = { qkv: NORMED, matmul: ['gemv_dot_subgroup_normed_int8', ...NORMED] };
  const APART = { qkv: KERNELS, matmul: KERNELS };

  /** The logits of steps behind a prompt, and the kernels that made them. */
  const run = async (options: LoadOptions, variants: ForcedVariants) => {
    const model = await Phi4Vision.load(device, TINY, { ...options, variants });
    const session = await model.session();
    await session.prefill(Uint32Array.of(3, 100, 200));
    const logits = device.tensor('logits', [FED.length, session.vocab], 'f32');
    const { rows } = await Timeline.record(device, async () => {
      for await (const _ of decode(session, { steps: FED.length, forced: FED, logits }));
    });
    const { data } = await device.download(logits);
    device.free(logits.storage);
    model.dispose();
    return { logits: data as Float32Array, kernels: new Set(rows.map(({ kernel }) => kernel)) };
  };

  const int4 = { quantize: {} };
  for (const [options, bound, first, second] of [
    [{ dtype: 'f32', int8Activations: false }, BOUNDS.f32.stage, 'gemv_subgroup', 'gemv_subgroup'],
    [{ dtype: 'f16', int8Activations: false }, BOUNDS.f16.stage, 'gemv_subgroup', 'gemv_subgroup'],
    [{ ...int4, dtype: 'f32', int8Activations: false }, BOUNDS.f32.stage, KERNELS[1]!, KERNELS[1]!],
    [
      { ...int4, dtype: 'f32', int8Activations: true },
      INT8_BOUND + BOUNDS.f32.stage,
      'gemv_dot_subgroup',
      'gemv_dot_subgroup_int8',
    ],
    [
      { ...int4, dtype: 'f16', int8Activations: true },
      INT8_BOUND + BOUNDS.f16.stage,
      'gemv_dot_subgroup',
      'gemv_dot_subgroup_int8',
    ],
  ] as const) {
    if (options.dtype === 'f16' && !device.features.has('shader-f16')) continue;
    test(`${JSON.stringify(options)}: fused equals apart within ${bound}`, async () => {
      const [fused, apart] = [await run(options, FUSED), await run(options, APART)];
      const named = (kernel: string) => kernel.replace(/(_int8)?$/, '_normed$1');
      assert.ok(fused.kernels.has(`qkv/${named(first)}`), [...fused.kernels].join(', '));
      assert.ok(fused.kernels.has(`matmul/${named(second)}`), [...fused.kernels].join(', '));
      assert.not([...apart.kernels].some((name) => /_normed|subgroup_int8/.test(name)));
      const largest = apart.logits.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const error = fused.logits.reduce((most, value, i) => Math.max(most, Math.abs(value - apart.logits[i]!)), 0);
      assert.ok(error <= bound * largest, `${error} of ${largest}`);
      assert.ok(error > 0, 'the same kernels ran');
    });
  }
}

test.run();
