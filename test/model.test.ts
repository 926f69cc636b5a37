// tier: gpu
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Expected } from '../bench/expected.ts';
import { BOUNDS, compareRun } from '../bench/verify.ts';
import { uniformNumber } from '../kernels/index.ts';
import { decode, expandImages, Phi4Vision, processImage, readImage, type Session, sampleHost } from '../model/index.ts';
import { PagePool } from '../model/pages.ts';
import {
  CapabilityError,
  type Device,
  DeviceLostError,
  OutOfMemoryError,
  Owned,
  openDevice,
  PromptError,
} from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { testDevice } from './gpu.ts';
import { rejection, rejects } from './rejects.ts';

const expected = Expected.open(join(TINY, 'expected.safetensors'));

/** Decodes teacher-forced and compares every step's logits with the reference. */
async function matches(session: Session, name: string): Promise<void> {
  const { device, vocab } = session;
  for (const run of expected.prompt(name).runs) {
    const steps = run.tokens.length;
    const logits = device.tensor('step_logits', [steps, vocab], 'f32');
    const tokens: number[] = [];
    for await (const { token } of decode(session, { steps, forced: run.tokens, logits })) tokens.push(token);
    const verdict = compareRun(run, (await device.download(logits)).data as Float32Array, tokens, BOUNDS.f32);
    device.free(logits.storage);
    assert.ok(verdict.ok, `${name} ${run.name}: relative error ${verdict.relative}, wrong tokens at ${verdict.wrong}`);
  }
}

async function encode(model: Phi4Vision, image: Parameters<typeof processImage>[0]) {
  return model.encodeImage(processImage(image, { ...model.config.image, patch: model.config.vision.patch }));
}

async function ask(device: Device, model: Phi4Vision, name: string): Promise<void> {
  const prompt = expected.prompt(name);
  const images = [];
  for (const index of prompt.images)
    images.push(await encode(model, await readImage(join(TINY, `images/img${index}.png`))));
  const session = await model.session({ capacity: prompt.length + 24 });
  const patches = images.map(({ features }) => features.shape[0]!);
  await session.prefill(expandImages(prompt.ids, patches, model.config.decoder.vocab), { images });
  await matches(session, name);
  session.dispose();
  for (const image of images) image.dispose();
  assert.ok(device.memory.current > 0);
}

const device = await testDevice();
if (device) {
  const model = await Phi4Vision.load(device, TINY);

  test('nothing of the checkpoint is unknown, and loading reports its progress to the end', async () => {
    assert.equal(model.unknownTensors, []);
    const seen: [number, number][] = [];
    const again = await Phi4Vision.load(device, TINY, { progress: (loaded, total) => seen.push([loaded, total]) });
    const [loaded, total] = seen.at(-1)!;
    assert.is(loaded, total);
    again.dispose();
  });

  test('the encoder has the GELU by tanh and the projector that by erf, too alike for the reference to tell', async () => {
    const opened = await openDevice();
    const pipeline = opened.pipeline.bind(opened);
    const activations = new Set<unknown>();
    opened.pipeline = (kernel, constants) => {
      if (kernel.name.startsWith('matmul/') && constants.ACTIVATION) activations.add(constants.ACTIVATION);
      return pipeline(kernel, constants);
    };
    const vision = await Phi4Vision.load(opened, TINY);
    await encode(vision, { width: 32, height: 32, data: new Uint8Array(32 * 32 * 3) });
    assert.equal([...activations], [1, 2]);
    opened.dispose();
  });

  test('weights cut into many blocks give the same answer', async () => {
    const small = await openDevice({ maxBlockBytes: 64 * 2 * 768 });
    await ask(small, await Phi4Vision.load(small, TINY), 'two');
    small.dispose();
  });

  test('a sequence gives all its memory back', async () => {
    await ask(device, model, 'one'); // plans and pages are made at first use and stay
    const before = device.memory.current;
    await ask(device, model, 'one');
    assert.is(device.memory.current, before);
  });

  test('leaving the loop early keeps the session usable', async () => {
    const prompt = expected.prompt('text');
    const session = await model.session({ capacity: prompt.length + 24 });
    await session.prefill(expandImages(prompt.ids, [], model.config.decoder.vocab));
    for await (const { token } of decode(session, { steps: 20 })) if (token >= 0) break;
    await matches(session, 'text');
    session.dispose();
  });

  test('tokens drawn on the device are those that the host draws from the same logits', async () => {
    const sampling = { temperature: 0.8, topK: 50, topP: 0.95, seed: 7 };
    const prompt = expected.prompt('text');
    const steps = 24;
    const session = await model.session({ capacity: prompt.length + steps, sampling });
    await session.prefill(expandImages(prompt.ids, [], model.config.decoder.vocab));
    const logits = device.tensor('step_logits', [steps, session.vocab], 'f32');
    const tokens: number[] = [];
    for await (const { token } of decode(session, { steps, logits })) tokens.push(token);
    const rows = (await device.download(logits)).data as Float32Array;
    const row = (step: number) => rows.subarray(step * session.vocab, (step + 1) * session.vocab);
    assert.equal(
      tokens,
      tokens.map((_, step) => sampleHost(row(step), sampling, uniformNumber(sampling.seed, step))),
    );
    const greedy = tokens.map((_, step) => row(step).indexOf(Math.max(...row(step))));
    assert.not.equal(tokens, greedy);
    device.free(logits.storage);
    session.dispose();
  });

  test('the smallest and the thinnest picture are encoded', async () => {
    for (const [width, height, grid] of [
      [1, 1, [7, 7]],
      [20000, 3, [1, 1250]],
    ] as const) {
      const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 37) % 256);
      const image = await encode(model, { width, height, data });
      assert.is(image.grid.rows * image.grid.cols, image.features.shape[0]);
      if (width === 1) assert.equal([image.grid.rows, image.grid.cols], grid);
      const { data: values } = await device.download(image.features);
      assert.ok(values.every((value) => Number.isFinite(value) && Math.abs(value) < 1e3));
      image.dispose();
    }
  });

  test('what does not fit is refused with the numbers', async () => {
    const session = await model.session({ capacity: 8 });
    const steps = async () => {
      for await (const _ of decode(session, { steps: 2 }));
    };
    await rejects(steps(), PromptError, /expected a session with a prompt, got an empty one; call prefill/);
    await rejects(session.prefill(new Uint32Array(9)), PromptError, /expected 1 to 8 positions in all, got 9/);
    await rejects(session.prefill(new Uint32Array()), PromptError, /got 0/);
    await session.prefill(new Uint32Array(8));
    await rejects(steps(), PromptError, /expected at most 8 positions, got 8 of prompt and 2 steps/);
    await rejects(session.prefill(new Uint32Array(3)), PromptError, /expected 1 to 8 positions in all, got 11/);
    session.dispose();
    await rejects(
      model.session({ capacity: 2 ** 26 }),
      PromptError,
      /capacity: expected 1 to \d+ positions, got 67108864/,
    );
    if (!device.features.has('shader-f16'))
      await rejects(Phi4Vision.load(device, TINY, { dtype: 'f16' }), CapabilityError, /shader-f16 for f16, got '/);
    const wide = await Phi4Vision.load(device, TINY, { context: 2 ** 26 });
    await rejects(wide.session(), CapabilityError, /context: expected at most \d+ positions/);
    wide.dispose();
    const many = { ...model.config.decoder, layers: 2 ** 20 };
    if (device.onCpu)
      assert.throws(
        () => new PagePool(device, many, 2 ** 9, 'f32', new Owned(device)),
        /kv_pool for 65536 positions: expected at most \d+ bytes free/,
      );
  });

  test('what fails to be made leaves no memory behind', async () => {
    const small = await openDevice();
    const tiny = await Phi4Vision.load(small, TINY);
    const alloc = small.alloc.bind(small);
    const fails = async (make: () => Promise<unknown>, ...names: string[]) => {
      const before = small.memory.current;
      for (const name of names) {
        small.alloc = (bytes, label) => {
          if (label === name) throw new OutOfMemoryError(`no ${label}`);
          return alloc(bytes, label);
        };
        const error = await rejection(make());
        assert.instance(error, OutOfMemoryError, name);
        assert.is(small.memory.current, before, name);
      }
      small.alloc = alloc;
    };
    await fails(() => tiny.session(), 'layers.1.v_pool', 'history', 'logits');
    const session = await tiny.session();
    await fails(() => session.prefill(Uint32Array.of(1, 2, 3)), 'slot 1');
    await session.prefill(Uint32Array.of(1, 2, 3));
    await fails(() => decode(session, { steps: 1 }).next(), 'slot 1');
    assert.is((await decode(session, { steps: 1 }).next()).done, false);
    const data = new Uint8Array(48 * 48 * 3);
    await fails(() => encode(tiny, { width: 48, height: 48, data }), 'picture features', 'encoded', 'slot 1');
    (await encode(tiny, { width: 48, height: 48, data })).dispose();
    tiny.dispose();
    small.dispose();
  });

  test('a device lost in the middle of an answer ends it with a clear error', async () => {
    const doomed = await openDevice();
    const session = await (await Phi4Vision.load(doomed, TINY)).session({ capacity: 64 });
    await session.prefill(Uint32Array.of(1, 2, 3));
    const lose = async () => {
      let tokens = 0;
      for await (const _ of decode(session, { steps: 40 })) {
        if (++tokens !== 5) continue;
        doomed.dispose();
        await new Promise((resolve) => setTimeout(resolve, 100)); // while tokens are on their way
      }
    };
    const error = await rejection(lose());
    assert.instance(error, DeviceLostError);
  });
}

test.run();
