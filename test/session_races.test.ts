// tier: any
// What sessions do at the same time, in the wrong order or not to the end; each test went wrong once.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { PAGE } from '../kernels/index.ts';
import { decode, Phi4Vision, PromptPicture, type Session } from '../model/index.ts';
import { type Device, PromptError } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { testDevice } from './gpu.ts';
import { rejection, rejects } from './rejects.ts';
import { concat, freshTokens, patchesOf, randomIds, tokensOf } from './sequences.ts';

const device = await testDevice();
if (device) tests(device, await Phi4Vision.load(device, TINY, { context: 4096 }));

test.run();

function tests(device: Device, model: Phi4Vision): void {
  const fresh = Phi4Vision.load(device, TINY, { reuse: false, context: 2048 });
  const { pool } = model.engine;

  test('a page found again takes the place of one that was reserved for steps that never came', async () => {
    const [ids, next] = [randomIds(1, PAGE - 2), randomIds(2, PAGE + 9)];
    const session = await model.session();
    await session.prefill(ids);
    const answer = await tokensOf(session, 3);
    await session.prefill(next); // publishes the page behind the answer
    const expected = await tokensOf(session, 6);
    session.dispose();
    const second = await model.session();
    await second.prefill(ids);
    assert.equal(await tokensOf(second, 3, 30), answer); // the steps ahead reach into a page that the answer does not
    await second.prefill(concat(next.subarray(0, PAGE - 1), next.subarray(PAGE - 1)));
    assert.equal(await tokensOf(second, 6), expected);
    assert.equal(expected, await freshTokens(fresh, concat(ids, Uint32Array.from(answer), next), 6));
    second.dispose();
    assert.is(pool.available, pool.pages);
  });

  test('after a prompt that was cancelled behind a long answer, the answer still stands in its pages', async () => {
    const [ids, next] = [randomIds(3, PAGE - 5), randomIds(4, 20)];
    const session = await model.session();
    await session.prefill(ids);
    const answer = await tokensOf(session, PAGE + 20);
    const stop = new AbortController();
    const cancelled = session.prefill(randomIds(5, 1500), { signal: stop.signal, progress: () => stop.abort() });
    assert.is((await rejection(cancelled)).name, 'AbortError');
    await rejects(tokensOf(session, 1), PromptError, /expected a session with a prompt/);
    await session.prefill(next);
    assert.equal(await tokensOf(session, 5), await freshTokens(fresh, concat(ids, Uint32Array.from(answer), next), 5));
    session.dispose();
    assert.is(pool.available, pool.pages);
  });

  test('after following that was cancelled there is no prompt to answer', async () => {
    const session = await model.session();
    await session.prefill(randomIds(6, 300));
    const stop = new AbortController();
    const changed = concat(randomIds(6, 300).subarray(0, 200), randomIds(7, 1500));
    const cancelled = session.follow(changed, { signal: stop.signal, progress: () => stop.abort() });
    assert.is((await rejection(cancelled)).name, 'AbortError');
    assert.is(session.promptLength, 200);
    await rejects(tokensOf(session, 1), PromptError, /expected a session with a prompt/);
    await rejects(session.follow(new Uint32Array(5000)), PromptError, /expected 1 to 4096 positions in all, got 5000/);
    assert.is(session.promptLength, 200);
    await session.follow(changed);
    assert.equal(await tokensOf(session, 4), await freshTokens(fresh, changed, 4));
    session.dispose();
  });

  test('of two answers at once, and of an answer and a prompt, the earlier ends with an error', async () => {
    const ids = randomIds(8, 50);
    const session = await model.session();
    await session.prefill(ids);
    const first = decode(session, { steps: 20 });
    await first.next();
    const second = decode(session, { steps: 20 });
    const tokens = [(await second.next()).value!.token];
    await rejects(first.next(), PromptError, /expected the sequence's latest answer/);
    for await (const { token } of second) tokens.push(token);
    assert.equal(tokens, await freshTokens(fresh, ids, 20));
    const third = decode(session, { steps: 20 });
    const [begun] = [(await third.next()).value!.token];
    await session.prefill(randomIds(9, 10));
    await rejects(third.next(), PromptError, /expected the sequence's latest answer/);
    const whole = concat(ids, Uint32Array.of(begun), randomIds(9, 10));
    assert.equal(await tokensOf(session, 5), await freshTokens(fresh, whole, 5));
    session.dispose();
  });

  test('while a prompt is on its way there is nothing to decode after', async () => {
    const session = await model.session();
    await session.prefill(randomIds(10, 30));
    const running = session.prefill(randomIds(11, 400));
    await new Promise((resolve) => setTimeout(resolve, 2));
    await rejects(tokensOf(session, 1), PromptError, /expected a session with a prompt/);
    await running;
    session.dispose();
  });

  test('disposed of during a prompt or an answer, a session ends it and its pages are others’', async () => {
    const [long, short] = [randomIds(12, 1500), randomIds(13, 700)];
    for (const millis of [0, 1, 3, 10, 30]) {
      const [session, other] = [await model.session(), await model.session()];
      const running = session.prefill(long);
      await new Promise((resolve) => setTimeout(resolve, millis));
      session.dispose();
      session.dispose();
      const ending = rejection(running);
      await other.prefill(short);
      assert.match((await ending).message, /expected one in use, got one that was disposed/);
      assert.equal(await tokensOf(other, 4), await freshTokens(fresh, short, 4));
      const answer = decode(other, { steps: 30 });
      await answer.next();
      const next = answer.next();
      other.dispose();
      await rejects(next, PromptError, /expected one in use, got one that was disposed/);
      await rejects(other.prefill(short), PromptError, /expected one in use, got one that was disposed/);
      assert.throws(() => other.fork(), /expected one in use, got one that was disposed/);
      assert.is(pool.available, pool.pages);
    }
  });

  test('a fork in the midst of an answer leaves the answer as it is', async () => {
    const ids = randomIds(14, 77);
    const session = await model.session();
    await session.prefill(ids);
    const tokens: number[] = [];
    const forks: Session[] = [];
    for await (const { token } of decode(session, { steps: 60 })) {
      tokens.push(token);
      if (tokens.length % 7 === 1) forks.push(session.fork());
      if (tokens.length % 7 === 3) await forks.at(-1)!.prefill(randomIds(tokens.length, 5));
    }
    assert.equal(tokens, await freshTokens(fresh, ids, 60));
    assert.equal(await tokensOf(forks[0]!, 5), await freshTokens(fresh, concat(ids, randomIds(3, 5)), 5));
    for (const each of [session, ...forks]) each.dispose();
    assert.is(pool.available, pool.pages);
  });

  test('who waits for its turn hears the signal at once', async () => {
    const [busy, waiting] = [await model.session(), await model.session()];
    const running = busy.prefill(randomIds(15, 3000));
    const stop = new AbortController();
    let done = false;
    running.then(() => {
      done = true;
    });
    const cancelled = rejection(waiting.prefill(randomIds(16, 100), { signal: stop.signal }));
    setTimeout(() => stop.abort(), 5);
    assert.is((await cancelled).name, 'AbortError');
    assert.is(done, false);
    await waiting.prefill(randomIds(16, 100));
    await running;
    assert.equal(await tokensOf(waiting, 3), await freshTokens(fresh, randomIds(16, 100), 3));
    busy.dispose();
    waiting.dispose();
  });

  test('a picture that occurs twice is encoded once, and its place is free afterwards', async () => {
    const patches = await patchesOf(model, 'img1.png');
    const most = Math.floor(model.config.image.maxPatches / (patches.grid.rows * patches.grid.cols));
    for (let round = 0; round < 3; round++) {
      const pixels = { ...patches.pixels, data: patches.pixels.data.slice() };
      const changed = { ...patches, pixels, digest: `${patches.digest} ${round}` };
      (changed.pixels.data as Float32Array)[0] = round;
      const pictures = Array.from({ length: most + 2 }, () => new PromptPicture(changed));
      const before = device.memory.current;
      const { write } = device;
      let written = 0;
      device.write = (storage, ...rest) => {
        if (storage.buffer.label === 'pixels') written += rest[0].byteLength;
        write.call(device, storage, ...rest);
      };
      await model.encodeImages(pictures);
      device.write = write;
      assert.is(written, patches.pixels.data.byteLength);
      if (round > 0) assert.is(device.memory.current, before);
      const [first, ...others] = await Promise.all(pictures.map(({ features }) => device.download(features!)));
      for (const each of others) assert.equal(each.data, first!.data);
      for (const picture of pictures) picture.dispose();
    }
  });

  test('where memory lacks for one picture of a pass, none of it is found later', async () => {
    const small = await Phi4Vision.load(device, TINY, { pictureRows: 300, context: 256 });
    const patches = await patchesOf(model, 'img1.png');
    const pixels = { ...patches.pixels, data: patches.pixels.data.map((x) => -x) };
    const other = { ...patches, pixels, digest: `${patches.digest} other` };
    const pair = () => [new PromptPicture(patches), new PromptPicture(other as typeof patches)] as const;
    await small.encodeImages([]);
    const { alloc } = device;
    device.alloc = () => {
      throw new PromptError('no memory');
    };
    const failed = rejection(small.encodeImages(pair()));
    assert.match((await failed).message, /no memory/);
    device.alloc = alloc;
    const [again, expected] = [pair(), await model.encodeImage(patches)];
    await small.encodeImages(again);
    const [got, right] = await Promise.all([again[0], expected].map(({ features }) => device.download(features!)));
    assert.equal(got!.data, right!.data);
    for (const picture of [...again, expected]) picture.dispose();
    small.dispose();
  });

  test('a picture without features is refused', async () => {
    const session = await model.session();
    const images = [{ digest: 'x', rows: 2 }];
    const { vocab } = model.config.decoder;
    await rejects(
      session.prefill(Uint32Array.of(1, vocab, vocab + 1, 2), { images }),
      PromptError,
      /got one without features/,
    );
    assert.is(session.promptLength, 0);
    session.dispose();
  });

  test('one sequence too many is refused before its prompt runs', async () => {
    const many = await Phi4Vision.load(device, TINY, { context: 258 * PAGE, chunkRows: 16 });
    const ids = randomIds(17, 3);
    const sessions = await Promise.all(Array.from({ length: 257 }, () => many.session()));
    await Promise.all(sessions.slice(1).map((session) => session.prefill(ids)));
    let pieces = 0;
    await rejects(
      sessions[0]!.prefill(ids, { progress: () => pieces++ }),
      PromptError,
      /at most 256 sequences with a prompt/,
    );
    assert.is(pieces, 0);
    sessions[1]!.dispose();
    await sessions[0]!.prefill(ids);
    assert.equal(await tokensOf(sessions[0]!, 3), await freshTokens(fresh, ids, 3));
    many.dispose();
  });
}
