// tier: host
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeJpeg, jpegSize } from '../model/image/jpeg.ts';
import type { RgbImage } from '../model/image/patches.ts';
import { ImageError } from '../runtime/errors.ts';

const folder = new URL('fixtures/jpeg/', import.meta.url);
const read = (name: string) => readFileSync(new URL(name, folder));

/** What Pillow's Image.open(...).convert("RGB") gives for each file, in base64. */
const expected = JSON.parse(read('expected.json').toString()) as Record<
  string,
  { width: number; height: number; rgb: string }
>;

/** Largest and mean deviation in levels by the first letters of a file's name: jpeg-js rounds its inverse DCT apart. */
const TOLERANCES: [name: RegExp, largest: number, mean: number][] = [
  [/_1x1/, 0, 0],
  [/^(grey|rgb)/, 1, 0.12],
  [/^cmyk/, 1, 0.5],
  [/^ycck/, 2, 0.4],
  [/_(7x5|4x6)/, 3, 0.3],
  [/^4|^ycc/, 3, 0.2],
];

const QUANTIZATION = 0xdb;
const HUFFMAN = 0xc4;
const FRAME = 0xc0;
const SCAN = 0xda;

const missing = /expected valid JPEG data, got a scan whose table or component is missing; the picture is damaged/;

/** Where a file's first segment of a kind starts. */
function find(bytes: Buffer, marker: number): number {
  const at = bytes.indexOf(Buffer.of(0xff, marker));
  assert.ok(at > 0);
  return at;
}

/** A copy with other bytes from `offset` into the first segment of a kind, its marker included. */
function edit(bytes: Buffer, marker: number, offset: number, ...values: number[]): Buffer {
  const copy = Buffer.from(bytes);
  copy.set(values, find(bytes, marker) + offset);
  return copy;
}

/** A copy without any of the segments of a kind. */
function drop(bytes: Buffer, marker: number): Buffer {
  let copy = bytes;
  while (copy.includes(Buffer.of(0xff, marker))) {
    const at = find(copy, marker);
    copy = Buffer.concat([copy.subarray(0, at), copy.subarray(at + 2 + copy.readUInt16BE(at + 2))]);
  }
  return copy;
}

/** A copy with bytes put in before the first segment of a kind. */
function insert(bytes: Buffer, marker: number, part: Uint8Array): Buffer {
  const at = find(bytes, marker);
  return Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(at)]);
}

const resize = (bytes: Buffer, width: number, height: number) =>
  edit(bytes, FRAME, 5, height >> 8, height & 255, width >> 8, width & 255);

/** Decodes within ten seconds; undefined when the file was refused as it should be. */
function attempt(bytes: Uint8Array): RgbImage | undefined {
  const started = performance.now();
  try {
    const image = decodeJpeg(bytes, 'some.jpg');
    assert.is(image.data.length, image.width * image.height * 3);
    return image;
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    assert.match(error.message, /^some\.jpg: expected .+, got .+; .+/s);
  } finally {
    assert.ok(performance.now() - started < 10_000);
  }
}

function refuses(bytes: Uint8Array, message: RegExp): void {
  assert.throws(
    () => decodeJpeg(bytes, 'some.jpg'),
    (error: Error) => {
      if (!(error instanceof ImageError)) return false;
      assert.match(error.message, message);
      return true;
    },
  );
  attempt(bytes);
}

test('the pixels of Pillow: every subsampling, grey, RGB, CMYK, progressive, with restarts', () => {
  assert.is(Object.keys(expected).length, 49);
  for (const [name, { width, height, rgb }] of Object.entries(expected)) {
    const image = decodeJpeg(read(name), name);
    assert.equal([image.width, image.height], [width, height], name);
    const deviations = [...Buffer.from(rgb, 'base64')].map((level, i) => Math.abs(level - image.data[i]!));
    const [, largest, mean] = TOLERANCES.find(([pattern]) => pattern.test(name))!;
    const sum = deviations.reduce((total, deviation) => total + deviation, 0);
    assert.ok(Math.max(...deviations) <= largest, `${name}: largest deviation ${Math.max(...deviations)}`);
    assert.ok(sum / deviations.length <= mean, `${name}: mean deviation ${sum / deviations.length}`);
  }
});

test('the same pixels whether baseline or progressive, with or without restarts, segments and bytes that do not matter', () => {
  const pixels = (name: string) => Buffer.from(decodeJpeg(read(`${name}.jpg`), name).data).toString('hex');
  for (const kind of ['444', '422', '420', '440', 'grey']) {
    assert.is(pixels(`${kind}_progressive`), pixels(`${kind}_17x33`), kind);
    assert.is(pixels(`${kind}_restart`), pixels(`${kind}_17x33`), kind);
  }
  for (const name of ['420_restart2', '420_progressive_restart', '420_rotated', '420_fill']) {
    assert.is(pixels(name), pixels('420_17x33'), name);
  }
  assert.is(pixels('444_comment'), pixels('444_17x33'));
  assert.is(pixels('rgb_by_ids'), pixels('rgb'));
  assert.is(pixels('cmyk_no_adobe'), pixels('cmyk'));
});

test('a view into a larger buffer', () => {
  const bytes = read('420_17x33.jpg');
  const { data } = decodeJpeg(bytes, 'whole');
  const view = Buffer.concat([Buffer.alloc(5), bytes, Buffer.alloc(3)]).subarray(5, 5 + bytes.length);
  assert.equal(decodeJpeg(new Uint8Array(view), 'view').data, data);
  assert.equal(decodeJpeg(view, 'view').data, data);
});

test('the size alone', () => {
  for (const [name, { width, height }] of Object.entries(expected)) {
    assert.equal(jpegSize(read(name), name), { width, height }, name);
  }
});

test('truncated at every length', () => {
  for (const name of ['420_17x33.jpg', '422_progressive.jpg', 'grey_restart.jpg', 'cmyk.jpg']) {
    const bytes = read(name);
    for (let length = 0; length < bytes.length; length++) {
      assert.is(attempt(bytes.subarray(0, length)), undefined, `${name}, ${length} bytes`);
    }
  }
});

test('truncated at every length of the last scan, with an end marker', () => {
  for (const name of ['420_17x33.jpg', 'grey_17x33.jpg', 'cmyk.jpg']) {
    const bytes = read(name);
    const start = bytes.lastIndexOf(Buffer.of(0xff, SCAN)) + 16;
    let pictures = 0;
    for (let length = start; length < bytes.length - 3; length++) {
      if (attempt(Buffer.concat([bytes.subarray(0, length), Buffer.of(0xff, 0xd9)]))) pictures++;
    }
    assert.is(pictures, 0, name);
  }
});

test('a flipped byte or bit at every position: an ImageError or a picture', () => {
  let pictures = 0;
  for (const name of ['420_7x5.jpg', '422_progressive.jpg', '420_restart.jpg', 'ycck.jpg']) {
    const bytes = read(name);
    for (let at = 0; at < bytes.length; at++) {
      for (const mask of [0xff, 0x20, 0x01]) {
        const flipped = Buffer.from(bytes);
        flipped[at]! ^= mask;
        if (attempt(flipped)) pictures++;
      }
    }
  }
  assert.ok(pictures > 0);
});

test('random bytes at random places: an ImageError or a picture', () => {
  const seed = Date.now() >>> 0;
  console.log(`seed ${seed}`);
  let state = seed;
  const random = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const names = Object.keys(expected);
  for (let i = 0; i < 300; i++) {
    const bytes = read(names[random(names.length)]!);
    for (let count = 1 + random(4); count > 0; count--) bytes[random(bytes.length)] = random(256);
    attempt(bytes);
  }
});

test('a header that lies about the size', () => {
  const bytes = read('420_17x33.jpg');
  refuses(resize(bytes, 17, 49), /got unexpected marker: ffd9; the picture is damaged/);
  refuses(resize(bytes, 8000, 8000), /expected at least 187500 bytes of scans, got \d{3};/);
  assert.is(attempt(resize(bytes, 17, 32))?.height, 32);
});

test('a frame hidden behind a table that lies about its length', () => {
  const bytes = read('444_17x33.jpg');
  const [start, end] = [find(bytes, FRAME), find(bytes, FRAME) + 19];
  const swallowed = end - start + 4; // the frame header and the start of the next segment, as values of the table
  const table = Buffer.from([0xff, HUFFMAN, 0, 19, 0x13, ...Buffer.alloc(15), swallowed]);
  const hidden = resize(bytes, 17, 32).subarray(start, end);
  const parts = [bytes.subarray(0, start), table, bytes.subarray(start, end), Buffer.of(0xff, QUANTIZATION, 0, 21)];
  const lying = Buffer.concat([...parts, hidden, bytes.subarray(end)]);
  refuses(lying, /expected 17 x 33 pixels, got 17 x 32; the picture is damaged/);
});

test('sizes that are empty or too large, without taking memory', () => {
  const bytes = read('420_17x33.jpg');
  const before = process.memoryUsage().rss;
  for (const [width, height] of [
    [0, 1],
    [1, 0],
    [32_768, 32_768],
    [65_535, 65_535],
    [8193, 8192],
  ] as const) {
    const message = new RegExp(`at most 67108864 in all, got ${width} x ${height}; resize the picture`);
    refuses(resize(bytes, width, height), message);
    assert.throws(() => jpegSize(resize(bytes, width, height), 'some.jpg'), message);
  }
  assert.ok(process.memoryUsage().rss - before < 2 ** 26);
});

test('what is not decoded', () => {
  const bytes = read('444_17x33.jpg');
  refuses(
    edit(bytes, FRAME, 1, 0xc3),
    /expected a baseline or progressive JPEG, got a lossless one; it is one that only the package sharp reads/,
  );
  refuses(edit(bytes, FRAME, 1, 0xc5), /got a hierarchical one/);
  refuses(edit(bytes, FRAME, 1, 0xc9), /got an arithmetic-coded one/);
  refuses(edit(bytes, FRAME, 1, 0xcf), /got an arithmetic-coded one/);
  refuses(edit(bytes, FRAME, 4, 12), /expected 8 bits a sample, got 12; it is one/);
  refuses(edit(bytes, FRAME, 11, 0x03), /expected sampling factors .*, got 0x3, 1x1, 1x1; it is one/);
  refuses(edit(bytes, FRAME, 11, 0x51), /got 5x1, 1x1, 1x1/);
  refuses(edit(bytes, FRAME, 11, 0x32, 0, 2, 0x21), /got 3x2, 2x1, 1x1/);
});

test('frame headers of wrong parts', () => {
  const bytes = read('444_17x33.jpg');
  const frame = bytes.subarray(find(bytes, FRAME), find(bytes, FRAME) + 19);
  refuses(edit(bytes, FRAME, 9, 2), /expected a frame header of 16 bytes, got 19/);
  refuses(edit(bytes, FRAME, 13, 9), missing);
  refuses(edit(bytes, FRAME, 10, 2), /expected components of distinct numbers, got 2, 2, 3/);
  refuses(insert(bytes, FRAME, frame), /expected one frame header, got 2/);
  refuses(drop(bytes, FRAME), /expected one frame header, got 0/);
  const two = Buffer.concat([
    Buffer.of(0xff, FRAME, 0, 14),
    frame.subarray(4, 9),
    Buffer.of(2),
    frame.subarray(10, 16),
  ]);
  refuses(insert(drop(bytes, FRAME), SCAN, two), /expected 1, 3 or 4 components, got 2; it is one/);
  const none = Buffer.concat([Buffer.of(0xff, FRAME, 0, 8), frame.subarray(4, 9), Buffer.of(0)]);
  refuses(insert(drop(bytes, FRAME), SCAN, none), /expected 1, 3 or 4 components, got 0/);
});

test('missing parts', () => {
  const bytes = read('444_17x33.jpg');
  const scan = find(bytes, SCAN);
  refuses(drop(bytes, QUANTIZATION), missing);
  refuses(drop(bytes, HUFFMAN), missing);
  refuses(edit(bytes, SCAN, 5, 9), missing);
  refuses(Buffer.concat([bytes.subarray(0, scan), Buffer.of(0xff, 0xd9)]), /expected at least 6 bytes of scans, got 0/);
  refuses(Buffer.alloc(0), /expected a JPEG start marker, got an empty file; convert/);
  refuses(Buffer.from('GIF89a'), /expected a JPEG start marker, got bytes 4749; convert/);
  refuses(Buffer.of(0xff, 0xd8, 0xff, 0xd9), /expected one frame header, got 0/);
  refuses(
    bytes.subarray(0, -2),
    /expected an end-of-image marker, got none in \d+ bytes; the picture is damaged, or is one that only the package sharp reads: install sharp/,
  );
  refuses(edit(bytes, FRAME, 2, 0, 1), /expected the length of segment c0 at byte \d+ within the file, got 1 of \d+/);
  refuses(edit(bytes, SCAN, 2, 255, 255), /expected the length of segment da .*, got 65535 of \d+/);
});

test('many segments', () => {
  const bytes = read('grey_7x5.jpg');
  const comments = (count: number) => insert(bytes, FRAME, Buffer.alloc(4 * count, Buffer.of(0xff, 0xfe, 0, 2)));
  assert.ok(attempt(comments(2 ** 15)));
  refuses(comments(2 ** 16), /expected at most 65536 segments, got more/);
});

test.run();
