// tier: any
// Variants that are asked for by name run in the whole model.
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decode, Phi4Vision, Processor, readImage } from '../model/index.ts';
import { type ForcedVariants, Timeline, UsageError } from '../runtime/index.ts';
import { fails, runBench, runDaybreak, TINY } from './bench.ts';
import { testDevice } from './gpu.ts';

const device = await testDevice();
if (device) {
  /** The kernels that an answer about a picture runs, by op, and its tokens. */
  const answer = async (variants?: ForcedVariants) => {
    const model = await Phi4Vision.load(device, TINY, { variants });
    const processor = Processor.load(TINY);
    const image = await readImage(join(TINY, 'images/img1.png'));
    const prompt = await processor.prepare([{ role: 'user', content: '<image>What is this?' }], [image]);
    const tokens: number[] = [];
    const { rows } = await Timeline.record(device, async () => {
      const session = await model.session();
      const images = [await model.encodeImage(prompt.pictures[0]!)];
      await session.prefill(prompt.ids, { images });
      for await (const { token } of decode(session, { steps: 3 })) tokens.push(token);
    });
    model.dispose();
    const kernels = (op: string) => [
      ...new Set(rows.flatMap(({ kernel }) => (kernel.startsWith(`${op}/`) ? kernel : []))),
    ];
    return { kernels, tokens };
  };

  test('what is asked for runs wherever it applies, in encoder, prompt and decoding, and answers the same', async () => {
    const forced = { matmul: ['gemv_register', 'matmul/matmul_tile'], attention: 'attention', rms_norm: 'rms_norm' };
    const [asked, usual] = [await answer({ ...forced, layer_norm: 'layer_norm' }), await answer()];
    assert.equal(asked.kernels('matmul').sort(), ['matmul/gemv_register', 'matmul/matmul_tile']);
    assert.equal(asked.kernels('attention'), ['attention/attention']);
    assert.equal(asked.kernels('rms_norm'), ['rms_norm/rms_norm']);
    assert.equal(asked.kernels('layer_norm'), ['layer_norm/layer_norm']);
    for (const op of ['matmul', 'attention']) assert.not.equal(usual.kernels(op).sort(), asked.kernels(op).sort());
    assert.equal(asked.tokens, usual.tokens);
  });

  test('where it does not apply, the best known runs', async () => {
    const { kernels } = await answer({ attention: 'attention_decode_subgroup' });
    assert.ok(kernels('attention').includes('attention/attention_decode_subgroup'));
    assert.ok(kernels('attention').some((name) => !name.includes('decode') && !name.includes('merge')));
  });

  test('a name that no variant has ends loading at once, and the command line in one line', async () => {
    for (const variants of [{ matmul: 'gemm' }, { gemm: 'matmul' }, { constructor: 'x' }] as ForcedVariants[]) {
      const refused = await Phi4Vision.load(device, TINY, { variants }).catch((error) => error);
      assert.ok(refused instanceof UsageError && /: expected one of /.test(refused.message), String(refused));
    }
    const args = ['--model', TINY, '--variant', 'matmul=gemv_register', '--variant', 'matmul=gemm'];
    fails(
      runDaybreak('ask', ...args, 'Hello'),
      /--variant .*matmul: variant: expected one of matmul_tile, .*, got 'gemm'$/,
    );
    fails(runBench('speed', ...args), /--variant .*matmul: variant: expected one of matmul_tile, .*, got 'gemm'$/);
    fails(runBench('--variant', 'constructor=x'), /variants: expected one of attention, .*, got 'constructor'$/);
    fails(runBench('--variant', 'matmul'), /expected OP=NAME$/);
  });
}

test.run();
