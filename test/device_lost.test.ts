// tier: any
// alone
// A device that goes away in the midst of a request: every wait ends, with an error that says so.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../kernels/spec.ts';
import { decode, generate, Phi4Vision, Processor } from '../model/index.ts';
import { type Device, DeviceLostError, openDevice } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { testDevice } from './gpu.ts';

/** Milliseconds within which a request hears of the loss. */
const SOON = 2000;
const PHASES = ['loading', 'pictures', 'prompt', 'decode'] as const;
/** How a device goes away: the program disposes of it, or it is lost behind its back. */
const WAYS: Record<string, (device: Device) => void> = {
  'disposed of': (device) => device.dispose(),
  destroyed: (device) => device.gpu.destroy(),
};
const SENTENCE = /^device: expected '[^\n]+, got (one that was disposed|lost \(destroyed\): [^\n]+); open it again$/;

const device = await testDevice();
if (device) {
  const processor = Processor.load(TINY);
  const images = [330, 70].map((size) => ({ width: size, height: 250, data: new Uint8Array(size * 750).fill(size) }));
  const content = `<image>\n<image>\n${'What is the difference? '.repeat(40)}`;
  const prompt = await processor.prepare([{ role: 'user', content }], images, { mode: 'nothink' });

  for (const [way, lose] of Object.entries(WAYS)) {
    for (const phase of PHASES) {
      test(`${way} during ${phase}: the request ends at once with a DeviceLostError, and so does the next`, async () => {
        const doomed = await openDevice();
        let lost = 0;
        const reached = (what: string, share: number) => {
          if (what !== phase || share < 0.3 || lost > 0) return;
          lost = performance.now();
          lose(doomed);
        };
        const request = async () => {
          const progress = (loaded: number, total: number) => reached('loading', loaded / total);
          const model = await Phi4Vision.load(doomed, TINY, { context: 2048, chunkRows: 64, progress });
          let pieces = 0;
          const asked = () =>
            generate(model, processor, prompt, {
              maxTokens: 60,
              onProgress: (what, done, total) => reached(what, done / total),
              onText: () => reached('decode', pieces++ / 10),
            });
          const error = await rejection(asked());
          assert.instance(await rejection(asked()), DeviceLostError);
          model.dispose();
          throw error;
        };
        const error = await rejection(request());
        assert.ok(lost > 0 && performance.now() - lost < SOON, `${performance.now() - lost} ms`);
        assert.instance(error, DeviceLostError, `${error.stack}`);
        assert.match(error.message, SENTENCE);
        assert.instance(await rejection(openAgain(doomed)), DeviceLostError);
      });
    }

    test(`${way} with several sequences on their way: all of them end, waiting, running and answering`, async () => {
      const doomed = await openDevice();
      const model = await Phi4Vision.load(doomed, TINY, { context: 8192 });
      const sessions = await Promise.all(Array.from({ length: 4 }, () => model.session()));
      const [answering, ...others] = sessions;
      await answering!.prefill(randomIds(1, 20));
      const answer = decode(answering!, { steps: 200 });
      await answer.next();
      const running = others.map((session, i) => rejection(session.prefill(randomIds(2 + i, 1500))));
      const rest = rejection(exhaust(answer));
      setTimeout(() => lose(doomed), 5);
      const start = performance.now();
      for (const error of await Promise.all([...running, rest])) assert.instance(error, DeviceLostError, error.stack);
      assert.ok(performance.now() - start < SOON);
      for (const session of sessions) {
        assert.instance(await rejection(session.prefill(randomIds(9, 5))), DeviceLostError);
        session.dispose();
      }
      model.dispose();
    });
  }

  test('another device of the same adapter goes on', async () => {
    const [doomed, other] = [await openDevice(), await Phi4Vision.load(device, TINY, { context: 2048 })];
    const expected = (await generate(other, processor, prompt, { maxTokens: 10 })).text;
    const model = await Phi4Vision.load(doomed, TINY, { context: 2048 });
    const ending = rejection(generate(model, processor, prompt, { maxTokens: 60, onText: () => doomed.dispose() }));
    assert.is((await generate(other, processor, prompt, { maxTokens: 10 })).text, expected);
    assert.instance(await ending, DeviceLostError);
    other.dispose();
  });
}

test.run();

/** Loads a model again on a device. */
async function openAgain(device: Device): Promise<void> {
  (await Phi4Vision.load(device, TINY)).dispose();
}

async function exhaust(answer: AsyncGenerator<unknown>): Promise<void> {
  for await (const _ of answer);
}

function randomIds(seed: number, count: number): Uint32Array {
  return new Random(seed + 1).integers([count], 500).data as Uint32Array;
}

/** What a promise is rejected with; an error of its own where it is not. */
function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error('expected a rejection'),
    (error: Error) => error,
  );
}
