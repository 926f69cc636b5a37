// tier: any
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AnswerText } from '../model/answer_text.ts';
import { generate, Phi4Vision, Processor, type Prompt } from '../model/index.ts';
import { type Device, PromptError } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { testDevice } from './gpu.ts';
import { rejection, rejects } from './rejects.ts';

const processor = Processor.load(TINY);
const device = await testDevice();
if (device) tests(device, await Phi4Vision.load(device, TINY));

test('text that may begin a stop text is held back, and given out when it does not', () => {
  const given: string[] = [];
  const text = new AnswerText(processor.tokenizer, 'nothink', {
    stop: ['bab', 'x'],
    onText: (piece) => given.push(piece),
  });
  const push = (letters: string) => [...processor.tokenizer.encode(letters)].map((id) => text.push(id)).at(-1);
  assert.is(push('a'), false);
  assert.is(push('b'), false);
  assert.equal(given, ['a']);
  assert.is(push('c'), false);
  assert.equal(given.join(''), 'abc');
  assert.is(push('b'), false);
  assert.is(push('a'), false);
  assert.is(push('b'), true);
  text.end();
  assert.is(text.whole, 'abc');
});

test.run();

function tests(device: Device, model: Phi4Vision): void {
  const question = (content: string, mode: Prompt['mode'] = 'nothink') =>
    processor.prepare([{ role: 'user', content }], [], { mode });

  test('a stop text ends the answer in front of it', async () => {
    const prompt = await question('Tell me');
    const whole = await generate(model, processor, prompt, { maxTokens: 40 });
    assert.is(whole.finishReason, 'length');
    const at = Math.floor(whole.text.length / 2);
    const stop = whole.text.slice(at, at + 3);
    const pieces: string[] = [];
    const cut = await generate(model, processor, prompt, {
      maxTokens: 40,
      stop: ['\0', stop],
      onText: (t) => pieces.push(t),
    });
    assert.is(cut.finishReason, 'stop_string');
    assert.is(cut.text, whole.text.slice(0, whole.text.indexOf(stop)));
    assert.is(pieces.join(''), cut.text);
  });

  test('reasoning ends after its budget, and the answer follows', async () => {
    const thinking = await generate(model, processor, await question('Think', 'think'), { maxTokens: 30 });
    assert.is(thinking.answer, '');
    const answer = await generate(model, processor, await question('Think', 'think'), {
      maxTokens: 30,
      thinkingBudget: 7,
    });
    const [reasoning, rest] = answer.text.split('</think>') as [string, string];
    assert.ok(thinking.text.startsWith(reasoning));
    assert.is(answer.newTokens, 30);
    assert.ok(rest.length > 0 && answer.reasoning === reasoning.trim() && answer.answer === rest.trim());
    const short = await generate(model, processor, await question('Think'), { maxTokens: 12, thinkingBudget: 2 });
    assert.not.match(short.text, /<\/think>/);
  });

  test('an aborted answer is what there is so far, and the next one is right', async () => {
    const prompt = await question('Tell me a long story');
    const whole = await generate(model, processor, prompt, { maxTokens: 60 });
    const before = device.memory.current;
    const stop = new AbortController();
    const pieces: string[] = [];
    const onText = (text: string) => {
      pieces.push(text);
      if (pieces.length === 5) stop.abort();
    };
    const cut = await generate(model, processor, prompt, { maxTokens: 60, onText, signal: stop.signal });
    assert.is(cut.finishReason, 'abort');
    assert.ok(cut.newTokens >= 5 && cut.newTokens < 12 && whole.text.startsWith(cut.text), cut.text);
    const never = await generate(model, processor, prompt, { signal: AbortSignal.abort() });
    assert.equal([never.finishReason, never.text, never.newTokens, never.ttftMillis], ['abort', '', 0, 0]);
    assert.is(device.memory.current, before);
    assert.is((await generate(model, processor, prompt, { maxTokens: 60 })).text, whole.text);
  });

  test('loading stops when it is told to, and gives everything back', async () => {
    const before = device.memory.current;
    const stop = new AbortController();
    const error = await rejection(Phi4Vision.load(device, TINY, { signal: stop.signal, progress: () => stop.abort() }));
    assert.is(error.name, 'AbortError');
    assert.is(device.memory.current, before);
  });

  test('a conversation costs its new tokens, and answers as one that starts anew', async () => {
    const session = await model.session();
    const turns = [{ role: 'user' as const, content: 'First question' }];
    const first = await generate(model, processor, await processor.prepare(turns, [], { mode: 'nothink' }), {
      session,
      maxTokens: 20,
    });
    const more = [
      ...turns,
      { role: 'assistant' as const, content: first.text },
      { role: 'user' as const, content: 'And then?' },
    ];
    const prompt = await processor.prepare(more, [], { mode: 'nothink' });
    const totals: number[] = [];
    const second = await generate(model, processor, prompt, {
      session,
      maxTokens: 20,
      onProgress: (_, _done, total) => totals.push(total),
    });
    const fresh = await Phi4Vision.load(device, TINY, { reuse: false });
    assert.is(second.text, (await generate(fresh, processor, prompt, { maxTokens: 20 })).text);
    assert.ok(totals.at(-1)! < prompt.ids.length, `${totals.at(-1)} of ${prompt.ids.length} computed`);
    fresh.dispose();
    session.dispose();
  });

  test('counts that are no counts are refused', async () => {
    for (const options of [{ maxTokens: 0 }, { maxTokens: 1.5 }, { thinkingBudget: -1 }]) {
      const answer = generate(model, processor, await question('x'), options);
      await rejects(answer, PromptError, /^generate: (maxTokens|thinkingBudget): expected an integer from 1 on, got/);
    }
  });
}
