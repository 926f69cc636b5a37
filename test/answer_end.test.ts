// tier: any
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Checkpoint, decode, generate, loadConfig, Phi4Vision, Processor } from '../model/index.ts';
import { TINY } from './bench.ts';
import { testDevice } from './gpu.ts';

const device = await testDevice();

if (device) {
  const checkpoint = Checkpoint.open(TINY);
  const processor = Processor.load(TINY);
  const config = loadConfig(TINY);
  const question = (context?: number) => processor.prepare([{ role: 'user', content: 'What?' }], [], { context });
  const load = (eos: readonly number[]) =>
    Phi4Vision.fromSource(device, { ...config, tokens: { ...config.tokens, eos } }, checkpoint);
  test.after(() => checkpoint.close());

  test('an end token ends the answer and is no part of it', async () => {
    const { ids } = await question();
    const endless = await load([]);
    const session = await endless.session({ capacity: ids.length + 8 });
    await session.prefill(ids);
    const tokens: number[] = [];
    for await (const { token } of decode(session, { steps: 8 })) tokens.push(token);
    session.dispose();
    endless.dispose();
    const end = tokens.findIndex((token, i) => i > 0 && tokens.indexOf(token) === i);
    const model = await load([tokens[end]!]);
    const answer = await generate(model, processor, await question(), { maxTokens: 8 });
    assert.is(answer.finishReason, 'stop');
    assert.is(answer.newTokens, end + 1);
    assert.is(answer.text, processor.tokenizer.decode(tokens.slice(0, end), { skipSpecial: true }));
    model.dispose();
  });

  test('the context ends the answer with the last token that needs no position in it', async () => {
    const { ids } = await question();
    const model = await load([]);
    const answer = await generate(model, processor, await question(ids.length + 3));
    assert.is(answer.finishReason, 'length');
    assert.is(answer.newTokens, 4);
    model.dispose();
  });
}

test.run();
