import { readFileSync } from 'node:fs';
import { crc32, deflateSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { RgbImage } from '../model/image/patches.ts';
import { decodePng, pngSize } from '../model/image/png.ts';
import { ImageError } from '../runtime/errors.ts';

const folder = new URL('fixtures/png/', import.meta.url);
const read = (name: string) => readFileSync(new URL(name, folder));

/** What Pillow's Image.open(...).convert("RGB") gives for each file. */
const expected = JSON.parse(read('expected.json').toString()) as Record<
  string,
  { width: number; height: number; rgb: string }
>;

const SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');

function chunk(type: string, body: Uint8Array = Buffer.alloc(0)): Buffer {
  const part = Buffer.alloc(body.length + 12);
  part.writeUInt32BE(body.length);
  part.write(type, 4, 'latin1');
  part.set(body, 8);
  part.writeUInt32BE(crc32(part.subarray(4, -4)), body.length + 8);
  return part;
}

/** A header chunk; `rest` is depth, colour type, compression, filter, interlace. */
function header(width: number, height: number, ...rest: number[]): Buffer {
  const body = Buffer.alloc(13);
  body.writeUInt32BE(width);
  body.writeUInt32BE(height, 4);
  body.set(rest, 8);
  return chunk('IHDR', body);
}

const png = (...chunks: Buffer[]) => Buffer.concat([SIGNATURE, ...chunks, chunk('IEND')]);

const RGB8 = [8, 2, 0, 0, 0];
const GREY8 = [8, 0, 0, 0, 0];
const data = (bytes: Uint8Array) => chunk('IDAT', deflateSync(bytes));

/** Decodes within a second; undefined when the file was refused as it should be. */
async function attempt(bytes: Uint8Array, name = 'some.png'): Promise<RgbImage | undefined> {
  const started = process.cpuUsage();
  try {
    const image = await decodePng(bytes, name);
    assert.is(image.data.length, image.width * image.height * 3);
    return image;
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    assert.match(error.message, /^some\.png: expected .+, got .+; .+/s);
  } finally {
    const { user, system } = process.cpuUsage(started); // what others do on the machine does not count
    assert.ok(user + system < 1_000_000);
  }
}

async function refuses(bytes: Uint8Array, message: RegExp): Promise<void> {
  const error = await decodePng(bytes, 'some.png').then(
    () => undefined,
    (reason: Error) => reason,
  );
  assert.instance(error, ImageError);
  assert.ok(error!.message.startsWith('some.png: '));
  assert.match(error!.message, message);
  assert.is(await attempt(bytes), undefined);
}

/** Refused, or the very pixels of the undamaged file. */
async function refusesOrReads(bytes: Uint8Array, name: string, note: string): Promise<void> {
  const image = await attempt(bytes);
  if (image) assert.is(Buffer.from(image.data).toString('hex'), expected[name]!.rgb, note);
}

test('the pixels of Pillow: every colour type and depth, interlaced and with transparency', async () => {
  assert.is(Object.keys(expected).length, 52);
  for (const [name, { width, height, rgb }] of Object.entries(expected)) {
    const image = await decodePng(read(name), name);
    assert.equal([image.width, image.height], [width, height], name);
    assert.is(Buffer.from(image.data).toString('hex'), rgb, name);
  }
});

test('a view into a larger buffer', async () => {
  const bytes = read('rgb8.png');
  const view = Buffer.concat([Buffer.alloc(5), bytes, Buffer.alloc(3)]).subarray(5, 5 + bytes.length);
  assert.is(
    Buffer.from((await decodePng(new Uint8Array(view), 'view')).data).toString('hex'),
    expected['rgb8.png']!.rgb,
  );
  assert.is(Buffer.from((await decodePng(view, 'view')).data).toString('hex'), expected['rgb8.png']!.rgb);
});

test('truncated at every length', async () => {
  for (const name of ['rgb8.png', 'palette4_trns_interlaced.png', 'grey16.png']) {
    const bytes = read(name);
    const pixelsEnd = bytes.indexOf('IEND') - 12; // before the checksums of the pixel data
    for (let length = 0; length < bytes.length; length++) {
      const cut = bytes.subarray(0, length);
      if (length < pixelsEnd - 2) assert.is(await attempt(cut), undefined, `${name}, ${length} bytes`);
      else await refusesOrReads(cut, name, `${name}, ${length} bytes`);
    }
  }
});

test('a flipped byte or bit at every position is refused, or changes no pixel', async () => {
  for (const name of ['rgb8.png', 'palette4_trns_interlaced.png', 'grey16.png']) {
    const bytes = read(name);
    for (let at = 0; at < bytes.length; at++) {
      for (const mask of [0xff, 0x20, 0x01]) {
        const flipped = Buffer.from(bytes);
        flipped[at]! ^= mask;
        await refusesOrReads(flipped, name, `${name}, byte ${at}`);
      }
    }
  }
});

/** Makes every chunk's checksum right again, as far as the lengths lead. */
function resign(bytes: Buffer): Buffer {
  for (let at = SIGNATURE.length; at + 12 <= bytes.length; ) {
    const end = at + 12 + bytes.readUInt32BE(at);
    if (end > bytes.length) break;
    bytes.writeUInt32BE(crc32(bytes.subarray(at + 4, end - 4)), end - 4);
    at = end;
  }
  return bytes;
}

test('a flipped byte under a valid checksum: an ImageError or a picture', async () => {
  let pictures = 0;
  for (const name of Object.keys(expected)) {
    const bytes = read(name);
    for (let at = 0; at < bytes.length; at++) {
      for (const mask of [0xff, 0x01]) {
        const flipped = Buffer.from(bytes);
        flipped[at]! ^= mask;
        if (await attempt(resign(flipped))) pictures++;
      }
    }
  }
  assert.ok(pictures > 0);
});

test('a header that lies about the size', async () => {
  const two = data(Buffer.alloc(2 * 7));
  assert.ok(await attempt(png(header(2, 2, ...RGB8), two)));
  await refuses(png(header(2, 3, ...RGB8), two), /expected 21 bytes of pixel data/);
  assert.is((await attempt(png(header(2, 1, ...RGB8), two)))?.height, 1);
  await refuses(png(header(2, 2, 16, 2, 0, 0, 0), two), /expected 26 bytes of pixel data/);
  await refuses(png(header(8000, 8000, ...RGB8), two), /expected 192008000 bytes of pixel data/);
  assert.is((await attempt(png(header(2, 2, ...RGB8), header(3, 1, ...RGB8), two)))?.width, 2);
});

test('sizes that are empty or too large, without taking memory', async () => {
  const before = process.memoryUsage().rss;
  for (const [width, height] of [
    [0, 1],
    [1, 0],
    [32_768, 32_768],
    [65_535, 65_535],
    [65_536, 1],
    [0xffffffff, 0xffffffff],
  ] as const) {
    await refuses(png(header(width, height, ...RGB8), data(Buffer.alloc(4))), new RegExp(`got ${width} x ${height}`));
  }
  assert.ok(process.memoryUsage().rss - before < 2 ** 27);
});

test('a bomb: a small picture whose data inflates to 256 MB', async () => {
  const before = process.memoryUsage().rss;
  const bomb = data(Buffer.alloc(2 ** 28));
  const made = process.memoryUsage().rss;
  assert.is((await attempt(png(header(2, 2, ...RGB8), bomb)))?.data.length, 12);
  assert.ok(process.memoryUsage().rss - Math.max(before, made) < 2 ** 26);
});

test('a message holds no control characters of the file', async () => {
  const wrong = chunk('\x9bABC', Buffer.alloc(1));
  wrong[wrong.length - 1]! ^= 1;
  await refuses(png(header(1, 1, ...RGB8), wrong), /of chunk "\?ABC" at byte 33/);
});

test('headers outside the standard', async () => {
  const pixel = data(Buffer.alloc(4));
  await refuses(png(header(1, 1, 3, 0, 0, 0, 0), pixel), /type 0 with 3 bits/);
  await refuses(png(header(1, 1, 4, 2, 0, 0, 0), pixel), /type 2 with 4 bits/);
  await refuses(png(header(1, 1, 16, 3, 0, 0, 0), pixel), /type 3 with 16 bits/);
  await refuses(png(header(1, 1, 8, 5, 0, 0, 0), pixel), /type 5 with 8 bits/);
  await refuses(png(header(1, 1, 8, 2, 1, 0, 0), pixel), /got 1, 0, 0/);
  await refuses(png(header(1, 1, 8, 2, 0, 1, 0), pixel), /got 0, 1, 0/);
  await refuses(png(header(1, 1, 8, 2, 0, 0, 2), pixel), /got 0, 0, 2/);
  await refuses(png(chunk('IHDR', Buffer.alloc(12)), pixel), /of 13 bytes/);
  await refuses(png(pixel), /first a chunk IHDR/);
});

test('missing or wrong parts', async () => {
  const head = header(1, 1, ...GREY8);
  await refuses(png(head), /expected a PNG chunk from byte 45/);
  await refuses(png(head, chunk('IDAT', Buffer.from('not zlib'))), /expected 2 bytes of pixel data/);
  await refuses(png(head, chunk('IDAT', Buffer.of(0x78, 0x9c))), /expected 2 bytes of pixel data/);
  await refuses(png(head, data(Buffer.of(9, 0))), /[Ff]ilter type/);
  await refuses(Buffer.concat([SIGNATURE, head]), /expected a PNG chunk/);
  await refuses(png(header(1, 1, 8, 3, 0, 0, 0), data(Buffer.alloc(2))), /palette/);
  for (const bytes of [4, 3 * 257]) {
    const palette = chunk('PLTE', Buffer.alloc(bytes));
    await refuses(png(header(1, 1, 8, 3, 0, 0, 0), palette, data(Buffer.alloc(2))), /a palette of 1 to 256 colours/);
  }
  const split = [chunk('IDAT', deflateSync(Buffer.alloc(2)).subarray(0, 3)), chunk('tEXt'), data(Buffer.alloc(2))];
  await refuses(png(head, ...split), /expected 2 bytes of pixel data, got 0/);
  await refuses(png(head, Buffer.concat(Array<Buffer>(2 ** 18).fill(chunk('IDAT')))), /at most 262144 chunks/);
});

test('chunks that do not matter, split and empty pixel data, bytes after the end', async () => {
  const zipped = deflateSync(Buffer.of(0, 77));
  const parts = [...zipped].map((byte) => chunk('IDAT', Buffer.of(byte)));
  const odd = png(header(1, 1, ...GREY8), chunk('tRNS'), chunk('gAMA'), chunk('ABCD'), ...parts, chunk('IDAT'));
  const image = await decodePng(Buffer.concat([odd, Buffer.from('tail')]), 'some.png');
  assert.equal([...image.data], [77, 77, 77]);
});

test('the size alone', async () => {
  for (const [name, { width, height }] of Object.entries(expected)) {
    assert.equal(pngSize(read(name), name), { width, height }, name);
  }
  const rejects = (bytes: Uint8Array, message: RegExp) => assert.throws(() => pngSize(bytes, 'some.png'), message);
  rejects(png(header(70_000, 1, ...RGB8)), /^some\.png: expected .*, got 70000 x 1; resize/);
  rejects(read('rgb8.png').subarray(0, 20), /^some\.png: expected a PNG chunk from byte 8/);
});

test.run();
