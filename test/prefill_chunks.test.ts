// tier: any
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decode, Phi4Vision } from '../model/index.ts';
import { TINY } from './bench.ts';
import { testDevice } from './gpu.ts';

const device = await testDevice();

/** Positions of one chunk of a prompt, and of the prompt here. */
const [CHUNK, LENGTH] = [1024, 1030];

if (device) {
  test('a prompt of two chunks gives the logits that its end, token by token, gives after the first', async () => {
    const model = await Phi4Vision.load(device, TINY);
    const ids = Uint32Array.from({ length: LENGTH }, (_, i) => (i * 37) % model.config.decoder.vocab);
    const lastLogits = async (length: number) => {
      const session = await model.session({ capacity: LENGTH + 8 });
      await session.prefill(ids.subarray(0, length));
      const steps = LENGTH - length + 1;
      const logits = device.tensor('logits', [steps, session.vocab], 'f32');
      for await (const _ of decode(session, { steps, forced: ids.slice(length), logits })); // to its end
      const { data } = await device.download(logits);
      session.dispose();
      device.free(logits.storage);
      return data.slice(-session.vocab) as Float32Array;
    };
    const [chunks, steps] = [await lastLogits(LENGTH), await lastLogits(CHUNK)];
    const largest = steps.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    const error = steps.reduce((a, b, i) => Math.max(a, Math.abs(b - chunks[i]!)), 0);
    assert.ok(error < 1e-4 * largest, `${error} of ${largest}`);
    model.dispose();
  });
}

test.run();
