// tier: host
// What Pillow makes of each picture of fixtures/pictures, with sharp and without it.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ReadOptions, readImage } from '../model/index.ts';
import { ImageError } from '../runtime/errors.ts';

interface Pixels {
  width: number;
  height: number;
  rgb: string;
}

const folder = fileURLToPath(new URL('fixtures/pictures/', import.meta.url));
/** Pillow's convert("RGB") in base64, and its exif_transpose before that; of trailer_markers.jpg without the trailer. */
const expected = JSON.parse(readFileSync(`${folder}expected.json`, 'utf8')) as Record<
  string,
  Pixels & { upright?: Pixels }
>;

/** What sharp itself makes no RGB of. */
const NOT_RGB = ['lab.tif', 'ycbcr.tif'];
/** What jpeg-js cannot read or reads wrong. */
const SHARP_ONLY = [
  'arithmetic.jpg',
  'cmyk_420.jpg',
  'no_huffman_tables.jpg',
  'progressive_first_1.jpg',
  'progressive_first_3.jpg',
  'restart_grey_2x2.jpg',
  'restart_progressive.jpg',
  'restart_scans.jpg',
  'trailer_markers.jpg',
  'trailer_zeros.jpg',
  'ycck_420.jpg',
];
const FALLBACK = /\.(jpg|png)$/;
const FORMATS: Record<string, string> = { webp: 'WebP', gif: 'GIF', tif: 'TIFF', avif: 'AVIF' };

const names = Object.keys(expected);
const hasSharp = (() => {
  try {
    createRequire(import.meta.url)('sharp');
    return true;
  } catch {
    return false;
  }
})();

/** Reads a picture with or without sharp. */
async function read(name: string, { native, ...options }: ReadOptions & { native: boolean }) {
  if (native) delete process.env.DAYBREAK_IMAGE;
  else process.env.DAYBREAK_IMAGE = 'js';
  return readImage(folder + name, options).finally(() => delete process.env.DAYBREAK_IMAGE);
}

/** The message with which a picture is refused. */
async function refusal(name: string, native: boolean): Promise<string> {
  const error = await read(name, { native }).then(
    () => undefined,
    (reason: Error) => reason,
  );
  assert.instance(error, ImageError, `${name} is read`);
  assert.ok(error!.message.startsWith(`${folder}${name}: expected `), error!.message);
  return error!.message;
}

/** Asserts that a picture deviates from the expected pixels by at most some levels. */
function near(name: string, image: Awaited<ReturnType<typeof read>>, { width, height, rgb }: Pixels, levels: number) {
  assert.equal([image.width, image.height], [width, height], name);
  const deviations = [...Buffer.from(rgb, 'base64')].map((level, i) => Math.abs(level - image.data[i]!));
  assert.is(image.data.length, deviations.length, name);
  assert.ok(Math.max(...deviations) <= levels, `${name}: ${Math.max(...deviations)} levels off`);
}

/** Levels by which sharp may differ from Pillow: the smoothing of first scans, and AVIF's conversion to RGB. */
function levels(name: string): number {
  if (name === 'progressive_first_1.jpg') return 6;
  return name.endsWith('.avif') ? 1 : 0;
}

if (hasSharp) {
  test('with sharp: every picture as Pillow has it', async () => {
    for (const name of names.filter((name) => !NOT_RGB.includes(name))) {
      near(name, await read(name, { native: true }), expected[name]!, levels(name));
    }
  });

  test('with sharp: colours it makes no RGB of are refused', async () => {
    for (const name of NOT_RGB) assert.match(await refusal(name, true), /photometric interpretation [68]; convert it/);
  });

  test('with sharp: turned upright on demand only', async () => {
    for (const name of names.filter((name) => name.startsWith('orientation'))) {
      const orientation = Number(name.match(/\d/));
      const stored = await read(name, { native: true });
      const upright = await read(name, { native: true, upright: true });
      assert.is(stored.orientation, name.endsWith('.tif') ? 1 : orientation, name); // Pillow turns TIFF itself
      assert.is(upright.orientation, 1);
      near(name, upright, expected[name]!.upright!, 0);
    }
  });
} else {
  console.log('SKIP sharp is not installed');
}

test('without sharp: PNG exactly, JPEG within 3 levels, or refused with sharp named', async () => {
  for (const name of names.filter((name) => FALLBACK.test(name))) {
    if (SHARP_ONLY.includes(name)) assert.match(await refusal(name, false), /package sharp reads: install sharp/, name);
    else near(name, await read(name, { native: false }), expected[name]!, name.endsWith('png') ? 0 : 3);
  }
});

test('without sharp: other formats are named', async () => {
  for (const name of names.filter((name) => !FALLBACK.test(name))) {
    const format = FORMATS[name.split('.').at(-1)!];
    const message = await refusal(name, false);
    assert.ok(
      message.endsWith(`got ${format}; install the package sharp, which reads it, or convert it to PNG`),
      message,
    );
  }
});

test('without sharp: turned upright on demand only', async () => {
  for (const name of names.filter((name) => /^orientation.*(jpg|png)$/.test(name))) {
    assert.is((await read(name, { native: false })).orientation, Number(name.match(/\d/)), name);
    const upright = await read(name, { native: false, upright: true });
    near(name, upright, expected[name]!.upright!, name.endsWith('png') ? 0 : 3);
  }
});

test.run();
