// tier: host
// alone
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { encode } from 'jpeg-js';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { processImage } from '../model/image/patches.ts';
import { cutInPool, decodeInPool } from '../model/image/pool.ts';
import { readImage } from '../model/image/read_image.ts';
import { Queue } from '../runtime/queue.ts';
import { holdUp } from './hold_up.ts';

const TINY_JPEG = fileURLToPath(new URL('fixtures/jpeg/420_17x33.jpg', import.meta.url));
const LIMITS = { minPatches: 256, maxPatches: 3600, patch: 16 };
const PHOTO = { width: 4000, height: 3000 };
const PHOTO_BYTES = PHOTO.width * PHOTO.height * 3;
const photo = { ...PHOTO, data: Uint8Array.from({ length: PHOTO_BYTES }, (_, i) => (i * 7919) >>> 3) };

const test = suite('image pool');
const folder = mkdtempSync(join(tmpdir(), 'daybreak-'));
const large = join(folder, 'large.jpg');
test.before(() =>
  writeFileSync(large, encode({ ...PHOTO, data: Buffer.alloc(PHOTO.width * PHOTO.height * 4, 77) }).data),
);
test.before.each(() => {
  process.env.DAYBREAK_IMAGE = 'js';
});
test.after(() => rmSync(folder, { recursive: true }));

async function millis(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

const reason = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: Error) => error,
  );

for (const mode of ['js', 'sharp']) {
  test(`${mode}: a tiny JPEG takes less than 10 ms once the threads are there`, async () => {
    process.env.DAYBREAK_IMAGE = mode;
    await Promise.all(Array.from({ length: 8 }, () => readImage(TINY_JPEG)));
    const times: number[] = [];
    for (let i = 0; i < 25; i++) times.push(await millis(() => readImage(TINY_JPEG)));
    times.sort((a, b) => a - b);
    assert.ok(times[12]! < 10, `${times[12]} ms`);
  });
}

test('patches of the pool are those of this thread, in memory of their own', async () => {
  const image = { width: 70, height: 50, data: photo.data.slice(0, 70 * 50 * 3) };
  const patches = await cutInPool({ image, limits: LIMITS }, { file: 'picture' });
  assert.equal(patches, processImage(image, LIMITS));
  assert.instance(patches.pixels.data.buffer, ArrayBuffer);
  assert.is(image.data.length, 70 * 50 * 3);
});

test('reading and cutting 12 million pixels holds up this thread for little of the time', async () => {
  await readImage(TINY_JPEG);
  const read = await holdUp(() => readImage(large));
  assert.ok(read.longest < Math.max(read.total / 4, 100), `read: ${read.longest} ms of ${read.total} ms`);
  const cut = await holdUp(() => cutInPool({ image: photo, limits: LIMITS }, { file: 'picture' }));
  assert.ok(cut.longest < Math.max(cut.total / 2, 100), `cut: ${cut.longest} ms of ${cut.total} ms`);
});

test('a queue begins bodies in order, so many at once', async () => {
  const queue = new Queue(3);
  const begun: number[] = [];
  let [running, most] = [0, 0];
  const body = async (i: number) => {
    begun.push(i);
    most = Math.max(most, ++running);
    await new Promise((resolve) => setTimeout(resolve, (i * 7) % 5));
    running--;
    if (i % 4 === 0) throw new Error(`${i}`);
    return i;
  };
  const results = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => queue.run(() => body(i))));
  assert.equal(begun, [...begun.keys()]);
  assert.is(begun.length, 20);
  assert.is(most, 3);
  results.forEach((result, i) => {
    assert.is(result.status === 'fulfilled' ? result.value : result.reason.message, i % 4 ? i : `${i}`);
  });
});

test('pictures are begun in the order in which they came, a few at once', async () => {
  const begun: number[] = [];
  let [running, most] = [0, 0];
  const read = async (i: number) => {
    const limit = ({ width }: { width: number }) => {
      if (width === 0) {
        begun.push(i); // its size is not known yet
        most = Math.max(most, ++running);
      }
      return 60_000;
    };
    await decodeInPool(
      { source: TINY_JPEG, file: 'picture', native: false, upright: false },
      { file: 'picture', limit },
    );
    running--;
  };
  await Promise.all(Array.from({ length: 40 }, (_, i) => read(i)));
  assert.equal(begun, [...Array(40).keys()]);
  assert.ok(most <= 8, `${most} at once, where the next may begin before an end is told`);
});

test('many pictures at once take the memory of a few', async () => {
  process.env.DAYBREAK_IMAGE = 'sharp'; // which is quicker, where it is installed
  const read = () => readImage(large).then(({ width }) => assert.is(width, PHOTO.width));
  await Promise.all(Array.from({ length: 6 }, read)); // what the threads keep
  const before = process.memoryUsage.rss();
  let most = 0;
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss());
  }, 5);
  await Promise.all(Array.from({ length: 30 }, read)).finally(() => clearInterval(timer));
  assert.ok(most - before < 12 * PHOTO_BYTES, `${most - before} bytes for 30 pictures of ${PHOTO_BYTES}`);
});

for (const [what, busy] of [
  ['running', 0],
  ['waiting', 4],
] as const) {
  test(`what is aborted while ${what} ends at once, and the rest goes on`, async () => {
    await readImage(TINY_JPEG);
    const others = Array.from({ length: busy }, () => readImage(large));
    const stop = new AbortController();
    const aborted = Array.from({ length: 6 }, () => reason(readImage(large, { signal: stop.signal })));
    await new Promise((resolve) => setTimeout(resolve, 30));
    const why = new Error('enough');
    stop.abort(why);
    const took = await millis(async () => {
      for (const error of await Promise.all(aborted)) assert.is(error, why);
    });
    assert.ok(took < 100, `${took} ms`);
    assert.is((await readImage(TINY_JPEG)).width, 17);
    for (const { width } of await Promise.all(others)) assert.is(width, PHOTO.width);
    assert.is(await reason(readImage(TINY_JPEG, { signal: AbortSignal.abort(why) })), why);
  });
}

test.run();
