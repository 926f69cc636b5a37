// tier: host
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { crc32, deflateSync } from 'node:zlib';
import { encode } from 'jpeg-js';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeJpeg } from '../model/image/jpeg.ts';
import type { RgbImage } from '../model/image/patches.ts';
import { decodePng } from '../model/image/png.ts';
import { cutInPool, decodeInPool } from '../model/image/pool.ts';
import { readImage } from '../model/image/read_image.ts';
import { ImageError } from '../runtime/errors.ts';
import { holdUp } from './hold_up.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const PNG = join(root, 'test/fixtures/png/rgba16.png');
const JPEG = join(root, 'test/fixtures/jpeg/420_17x33.jpg');

const test = suite('readImage');
let temporary: string;
test.before(() => {
  temporary = mkdtempSync(join(tmpdir(), 'daybreak-'));
});
test.before.each(() => {
  process.env.DAYBREAK_IMAGE = 'js';
});
test.after(() => rmSync(temporary, { recursive: true }));

function write(name: string, bytes: Uint8Array): string {
  const path = join(temporary, name);
  writeFileSync(path, bytes);
  return path;
}

async function refuses(picture: Promise<unknown>, start: string, message: RegExp): Promise<void> {
  const error = await picture.then(
    () => undefined,
    (reason: Error) => reason,
  );
  assert.instance(error, ImageError);
  assert.is(error!.name, 'ImageError');
  assert.ok(error!.message.startsWith(`${start}: expected `), error!.message);
  assert.match(error!.message, message);
}

/** A grey JPEG or PNG that takes the decoder about a second. */
const large = {
  jpeg: () => encode({ width: 3000, height: 2000, data: Buffer.alloc(3000 * 2000 * 4, 77) }).data,
  png: () => {
    const chunk = (type: string, body: Uint8Array) => {
      const part = Buffer.concat([Buffer.alloc(4), Buffer.from(type), body, Buffer.alloc(4)]);
      part.writeUInt32BE(body.length);
      part.writeUInt32BE(crc32(part.subarray(4, -4)), part.length - 4);
      return part;
    };
    const header = Buffer.from([0, 0, 16, 0, 0, 0, 16, 0, 8, 2, 0, 0, 0]);
    const data = deflateSync(Buffer.alloc(4096 * (1 + 4096 * 3)));
    const magic = readFileSync(PNG).subarray(0, 8);
    return Buffer.concat([magic, chunk('IHDR', header), chunk('IDAT', data), chunk('IEND', Buffer.alloc(0))]);
  },
};

test('the format is that of the first bytes, not of the name', async () => {
  const png = readFileSync(PNG);
  const jpeg = readFileSync(JPEG);
  const upright = { orientation: 1 };
  assert.equal(await readImage(write('picture.jpg', png)), { ...(await decodePng(png, '')), ...upright });
  assert.equal(await readImage(write('picture.png', jpeg)), { ...decodeJpeg(jpeg, ''), ...upright });
});

test('many pictures at once', async () => {
  const images = await Promise.all(Array.from({ length: 6 }, (_, i) => readImage(i % 2 ? PNG : JPEG)));
  const expected = [decodeJpeg(readFileSync(JPEG), ''), await decodePng(readFileSync(PNG), '')];
  for (const [i, image] of images.entries()) assert.equal(image, { ...expected[i % 2], orientation: 1 });
});

test('what is no picture is refused with its path', async () => {
  const missing = join(temporary, 'missing.png');
  await refuses(readImage(missing), missing, /ENOENT.*; check the path/);
  await refuses(readImage(temporary), temporary, /got a folder or a device/);
  const text = write('text.png', Buffer.from('some text'));
  await refuses(readImage(text), text, /expected a PNG or JPEG picture, got a file of another kind; convert it to PNG/);
  const heic = write('phone.heic', Buffer.from('\0\0\0\x24ftypheic\0\0\0\0'));
  await refuses(readImage(heic), heic, /expected a PNG or JPEG picture, got HEIC; convert it to PNG/);
  const gif = write('cut.gif', Buffer.from('GIF89a...'));
  await refuses(readImage(gif), gif, /got GIF; install the package sharp, which reads it, or convert it to PNG/);
  const empty = write('empty.png', Buffer.alloc(0));
  await refuses(readImage(empty), empty, /got an empty file/);
});

test('damage is refused with the path, whether seen before decoding or by the worker', async () => {
  const jpeg = readFileSync(JPEG);
  const short = write('short.jpg', jpeg.subarray(0, -2));
  await refuses(readImage(short), short, /expected an end-of-image marker/);
  const cut = write('cut.jpg', Buffer.concat([jpeg.subarray(0, -40), jpeg.subarray(-2)]));
  await refuses(
    readImage(cut),
    cut,
    /^[^:]+: expected valid JPEG data, got unexpected marker: ffd9; the picture is damaged/,
  );
  const png = readFileSync(PNG);
  const header = write('header.png', Buffer.from(png).fill(0, 16, 20));
  await refuses(readImage(header), header, /expected checksum/);
  const broken = write('broken.png', Buffer.from(png).fill(0, png.length - 40, png.length - 16));
  await refuses(readImage(broken), broken, /bytes of pixel data/);
});

for (const mode of ['js', 'sharp']) {
  test(`${mode}: decoding does not hold up the caller`, async () => {
    process.env.DAYBREAK_IMAGE = mode;
    await readImage(JPEG); // loads what decodes
    for (const format of ['jpeg', 'png'] as const) {
      const path = write(`large.${format}`, large[format]());
      const { longest, total } = await holdUp(() => readImage(path));
      assert.ok(longest < Math.max(total / 2, 100), `${format}: ${longest} ms of ${total} ms`);
    }
  });
}

test('sharp: damage, other sizes and too many scans are refused with the path', async () => {
  process.env.DAYBREAK_IMAGE = 'sharp';
  const jpeg = readFileSync(JPEG);
  const patched = (name: string, at: number, ...values: number[]) => {
    const copy = Buffer.from(jpeg);
    copy.set(values, at);
    return write(name, copy);
  };
  for (const end of [jpeg.length - 2, jpeg.length - 40, 100]) {
    const short = write(`short_${end}.jpg`, jpeg.subarray(0, end));
    await refuses(readImage(short), short, /expected a whole picture, got .*premature end.*; the picture is damaged/i);
  }
  const cut = write('cut.jpg', Buffer.concat([jpeg.subarray(0, -40), jpeg.subarray(-2)]));
  await refuses(readImage(cut), cut, /got VipsJpeg: Corrupt JPEG data: premature end of data segment/);
  const frame = jpeg.indexOf(Buffer.of(0xff, 0xc0));
  const huge = patched('huge.jpg', frame + 5, 0x80, 0, 0x80, 0);
  await refuses(readImage(huge), huge, /at most 67108864 in all, got 32768 x 32768; resize/);
  const scan = jpeg.subarray(jpeg.indexOf(Buffer.of(0xff, 0xda)), -2);
  const many = write(
    'many.jpg',
    Buffer.concat([jpeg.subarray(0, -2), ...Array<Buffer>(100).fill(scan), jpeg.subarray(-2)]),
  );
  await refuses(readImage(many), many, /expected a JPEG of at most 100 scans, got 101/);
  const gif = write('cut.gif', Buffer.from('GIF89a\x05\0\x05\0\x80\0\0'));
  await refuses(readImage(gif), gif, /expected a GIF with a picture, got one that ends before it/);
});

test('sharp: truncated at many lengths, every format is refused', async () => {
  process.env.DAYBREAK_IMAGE = 'sharp';
  const folder = join(root, 'test/fixtures/pictures');
  const names = [
    'lossy.webp',
    'lossless_alpha.webp',
    'transparent.gif',
    'rgb_tiff_adobe_deflate.tif',
    'colour_444.avif',
  ];
  for (const name of [...names, 'progressive_first_3.jpg', 'grey16.png']) {
    const bytes = readFileSync(join(folder, name));
    for (let length = 8; length < bytes.length * 0.9; length += Math.ceil(bytes.length / 40)) {
      const short = write(name, bytes.subarray(0, length));
      await refuses(readImage(short), short, /./);
    }
  }
});

test('decoding ends at the time limit of its size, and the next picture is decoded', async () => {
  for (const format of ['jpeg', 'png'] as const) {
    const path = write(`slow.${format}`, large[format]());
    const started = performance.now();
    const limit = ({ width }: { width: number }) => (width ? 50 : 10_000);
    const job = { source: path, file: path, native: false, upright: false };
    await refuses(decodeInPool(job, { file: path, limit }), path, /got none within 0\.05 s; save it anew/);
    assert.ok(performance.now() - started < 1000, `${format}: ${performance.now() - started} ms`);
    assert.is((await readImage(JPEG)).width, 17);
  }
});

test('a thread that fails in another way', async () => {
  const job = { image: undefined as unknown as RgbImage, limits: { minPatches: 256, maxPatches: 3600, patch: 16 } };
  await refuses(cutInPool(job, { file: 'some.png' }), 'some.png', /got Cannot (read|destructure) propert.* undefined/);
});

test('compiled to JavaScript', async () => {
  const out = join(temporary, 'compiled');
  mkdirSync(out);
  writeFileSync(join(out, 'package.json'), '{"type":"module"}');
  mkdirSync(join(out, 'node_modules'));
  for (const name of ['jpeg-js', 'pngjs', 'piscina']) {
    symlinkSync(join(root, 'node_modules', name), join(out, 'node_modules', name), 'dir');
  }
  const options = '--ignoreConfig --noCheck --target ES2023 --module NodeNext --rewriteRelativeImportExtensions';
  const sources = ['model/image/read_image.ts', 'model/image/worker.ts'];
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  execFileSync(process.execPath, [tsc, ...options.split(' '), '--rootDir', '.', '--outDir', out, ...sources], {
    cwd: root,
  });
  const module = pathToFileURL(join(out, 'model/image/read_image.js'));
  const script = `import { readImage } from '${module}'; console.log(JSON.stringify(await readImage('${JPEG}')));`;
  const printed = execFileSync(process.execPath, ['--input-type=module', '--eval', script], { cwd: temporary });
  const { width, height, data } = decodeJpeg(readFileSync(JPEG), '');
  assert.equal(JSON.parse(printed.toString()), { width, height, data: { ...data }, orientation: 1 });
});

test('a pipe', async () => {
  const pipe = join(temporary, 'pipe.png');
  execFileSync('mkfifo', [pipe]);
  await refuses(readImage(pipe), pipe, /got a folder or a device/);
});

test.run();
