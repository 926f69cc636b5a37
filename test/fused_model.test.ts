// tier: gpu
// nopt
// A step of decoding with products that norm x and quantise y themselves, and attention that quantises, gives the logits of one that
// leaves that to others.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BOUNDS } from '../bench/verify.ts';
import { decode, type LoadOptions, Phi4Vision } from '../model/index.ts';
import { type ForcedVariants, Timeline } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { testDevice } from './gpu.ts';

/** How much further from logits without 8-bit activations fused ones may be than those apart: quants round to either side. */
const FURTHER = 1.25;
const FED = Uint32Array.of(9, 301, 7, 44, 260);
const MERGE = 'attention/attention_merge_int8';

const device = await testDevice();
if (device?.features.has('subgroups')) {
  const dtypes = (['f32', 'f16'] as const).filter((dtype) => dtype === 'f32' || device.features.has('shader-f16'));
  /** The kernel of int4 weights and floats, where the device has f16. */
  const half = device.features.has('shader-f16') ? ['gemv_half'] : [];
  const KERNELS = ['gemv_dot_subgroup', ...half, 'gemv_subgroup'];
  const NORMED = KERNELS.map((name) => `${name}_normed`);
  const FUSED = {
    qkv: NORMED,
    matmul: ['gemv_dot_subgroup_normed_int8', ...NORMED],
    attention: 'attention_decode_subgroup',
  };
  const APART = { qkv: KERNELS, matmul: KERNELS, attention: 'attention_tile' };

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

  /** Both ways, of which one runs the named kernels with `_normed` in their names, and the other nothing fused. */
  const bothWays = async (options: LoadOptions, qkv: string, matmul = qkv) => {
    const [fused, apart] = [await run(options, FUSED), await run(options, APART)];
    const named = (kernel: string) => kernel.replace(/(_int8)?$/, '_normed$1');
    for (const kernel of [`qkv/${named(qkv)}`, `matmul/${named(matmul)}`, 'attention/attention_decode_subgroup'])
      assert.ok(fused.kernels.has(kernel), `${kernel}: ${[...fused.kernels].join(', ')}`);
    assert.is(fused.kernels.has(MERGE), options.int8Activations);
    assert.not([...apart.kernels].some((name) => /^(matmul|qkv)\/.*_(normed|int8)|decode|merge/.test(name)));
    return [fused.logits, apart.logits] as const;
  };

  const floats = dtypes.flatMap((dtype) => [{ dtype }, ...(dtype === 'f32' ? [{ dtype, quantize: {} }] : [])]);
  for (const options of floats) {
    const bound = BOUNDS[options.dtype].stage;
    test(`${JSON.stringify(options)}: fused equals apart within ${bound}`, async () => {
      const kernel = 'quantize' in options ? KERNELS[1]! : 'gemv_subgroup';
      const [fused, apart] = await bothWays({ ...options, int8Activations: false }, kernel);
      const largest = apart.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const error = fused.reduce((most, value, i) => Math.max(most, Math.abs(value - apart[i]!)), 0);
      assert.ok(error <= bound * largest, `${error} of ${largest}`);
    });
  }

  for (const dtype of dtypes) {
    test(`${dtype}, activations of 8 bits: fused is as near to what none give as apart`, async () => {
      const { logits: truth } = await run({ dtype: 'f32', quantize: {}, int8Activations: false }, APART);
      const options = { dtype, quantize: {}, int8Activations: true };
      const both = await bothWays(options, 'gemv_dot_subgroup', 'gemv_dot_subgroup_int8');
      const [fused, apart] = both.map((logits) => rootMeanSquare(logits.map((value, i) => value - truth[i]!)));
      console.log(`\n${dtype}: fused ${fused}, apart ${apart}`);
      assert.ok(fused! <= FURTHER * apart!, `fused ${fused}, apart ${apart}`);
    });
  }
}

test.run();

function rootMeanSquare(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0) / values.length);
}
