import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  patchify,
  positionWeights,
  processImage,
  type RgbImage,
  resizeBilinear,
  resizeCoefficients,
  targetSize,
} from '../model/image/patches.ts';
import { ImageError } from '../runtime/errors.ts';

interface Resize {
  in_shape: number[];
  out_shape: number[];
  input: number[];
  output: number[];
}

/** Made with Pillow and the official processor. */
const reference = JSON.parse(readFileSync(new URL('fixtures/preproc.json', import.meta.url), 'utf8')) as {
  sizes_h_w_H_W_tokens: [number, number, number, number, number][];
  pil_bilinear: Resize[];
  pil_coeffs: Record<string, [number, number[]][]>;
  lut_f32_hex: string[];
  posemb_aa_weights: Record<string, number[][]>;
};
const limits = { minPatches: 256, maxPatches: 3600, patch: 16 };

const axis = (name: string) => name.split('->').map(Number) as [number, number];

function noise(width: number, height: number): RgbImage {
  return { width, height, data: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 7919) >>> 3) };
}

test('target size: the reference cases', () => {
  assert.is(reference.sizes_h_w_H_W_tokens.length, 339);
  for (const [h, w, height, width, patches] of reference.sizes_h_w_H_W_tokens) {
    const size = targetSize(h, w, limits);
    assert.equal(size, { height, width }, `${h} x ${w}`);
    assert.is((size.height / 16) * (size.width / 16), patches);
  }
});

test('resize: the pixels of Pillow', () => {
  assert.is(reference.pil_bilinear.length, 6);
  for (const { in_shape, out_shape, input, output } of reference.pil_bilinear) {
    const [h = 0, w = 0] = in_shape;
    const [height = 0, width = 0] = out_shape;
    const result = resizeBilinear({ width: w, height: h, data: Uint8Array.from(input) }, height, width);
    assert.equal([...result.data], output, `${in_shape} to ${out_shape}`);
  }
});

test('resize: the coefficients of Pillow', () => {
  for (const [name, expected] of Object.entries(reference.pil_coeffs)) {
    // The reference keeps the first rows of each axis only.
    const rows = resizeCoefficients(...axis(name)).map(({ start, weights }) => [start, [...weights]]);
    assert.equal(rows.slice(0, expected.length), expected, name);
  }
});

test('position weights: the reference within 1e-6', () => {
  for (const [name, expected] of Object.entries(reference.posemb_aa_weights)) {
    const rows = positionWeights(...axis(name));
    assert.is(rows.length, expected.length);
    rows.forEach(({ start, weights }, i) => {
      expected[i]!.forEach((value, j) => {
        const got = weights[j - start] ?? 0;
        assert.ok(Math.abs(got - value) <= 1e-6, `${name}, output ${i}, input ${j}: expected ${value}, got ${got}`);
      });
    });
  }
});

/** Every output by itself, as resizeBilinear's description says. */
function resizedSlowly({ width, height, data }: RgbImage, rows: number, cols: number): number[] {
  const shrink = (nIn: number, nOut: number, at: (i: number) => number): number[] =>
    resizeCoefficients(nIn, nOut).map(({ start, weights }) =>
      Math.min((2 ** 21 + weights.reduce((sum, k, j) => sum + at(start + j) * k, 0)) >> 22, 255),
    );
  const lines = (count: number, line: (i: number) => number[]) => Array.from({ length: count }, (_, i) => line(i));
  const channels = [0, 1, 2].map((channel) => {
    const wide = lines(height, (y) => shrink(width, cols, (x) => data[(y * width + x) * 3 + channel]!));
    return lines(cols, (x) => shrink(height, rows, (y) => wide[y]![x]!));
  });
  return Array.from({ length: rows * cols * 3 }, (_, i) => {
    const pixel = Math.trunc(i / 3);
    return channels[i % 3]![pixel % cols]![Math.trunc(pixel / cols)]!;
  });
}

test('resize: random pictures, larger, smaller and the same', () => {
  let seed = 1;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  for (let i = 0; i < 60; i++) {
    const [width = 0, height = 0, cols = 0, rows = 0] = [90, 90, 60, 60].map((most) => 1 + random(most));
    const data = Uint8Array.from({ length: width * height * 3 }, () => (i % 3 ? random(256) : 255 * random(2)));
    const size = i % 5 ? [rows, cols] : [height, cols];
    const resized = resizeBilinear({ width, height, data }, size[0]!, size[1]!);
    assert.equal([...resized.data], resizedSlowly({ width, height, data }, size[0]!, size[1]!), `${width} x ${height}`);
  }
});

test('patchify: the levels of the reference, bit by bit', () => {
  const data = Uint8Array.from({ length: 768 }, (_, i) => i % 256);
  const patches = patchify({ width: 16, height: 16, data });
  const bits = new Uint32Array(patches.buffer);
  assert.is(bits.length, 768);
  bits.forEach((word, i) => {
    assert.is(word.toString(16).padStart(8, '0'), reference.lut_f32_hex[i % 256]);
  });
});

test('patchify: patches row by row, channel fastest', () => {
  const image = noise(48, 32);
  const patches = patchify(image);
  const [row, col, y, x, channel] = [1, 2, 5, 11, 2];
  const level = image.data[((row * 16 + y) * 48 + col * 16 + x) * 3 + channel]!;
  const got = patches[(row * 3 + col) * 768 + (y * 16 + x) * 3 + channel]!;
  assert.ok(Math.abs(got - (level / 127.5 - 1)) < 1e-6);
  assert.throws(
    () => patchify(noise(40, 32)),
    (error: Error) => error instanceof ImageError,
  );
});

test('process: one pixel becomes 7 x 7 patches of its colour', () => {
  const { grid, pixels } = processImage({ width: 1, height: 1, data: Uint8Array.of(0, 255, 51) }, limits);
  assert.equal(grid, { rows: 7, cols: 7 });
  assert.equal(pixels.shape, [49, 768]);
  assert.is(pixels.dtype, 'f32');
  const colour = [-1, 1, Math.fround(Math.fround(0.2) - 0.5) * 2];
  assert.ok(pixels.data.every((value, i) => value === colour[i % 3]));
});

test('process: very long and large pictures, quickly', () => {
  const started = performance.now();
  const wide = processImage(noise(20000, 3), limits);
  const tall = processImage(noise(3, 20000), limits);
  const large = processImage(noise(4000, 3000), limits);
  assert.equal(wide.grid, { rows: 1, cols: 256 });
  assert.equal(tall.grid, { rows: 256, cols: 1 });
  assert.equal(large.grid, { rows: 52, cols: 69 });
  assert.is(large.pixels.data.length, 52 * 69 * 768);
  assert.ok(performance.now() - started < 10_000);
});

test('process: a picture of its target size is only normalised', () => {
  const image = noise(320, 320);
  assert.equal(processImage(image, limits).pixels.data, patchify(image));
});

test('process: the digest is that of grid and pixels', () => {
  const digest = (width: number, height: number, level: number) =>
    processImage({ width, height, data: new Uint8Array(width * height * 3).fill(level) }, limits).digest;
  assert.is(digest(64, 32, 7), digest(64, 32, 7));
  assert.is.not(digest(64, 32, 7), digest(64, 32, 8));
  assert.is.not(digest(64, 32, 7), digest(32, 64, 7));
});

test('process: refuses empty pictures and data of the wrong length', () => {
  const bad: RgbImage[] = [
    { width: 0, height: 4, data: new Uint8Array(0) },
    { width: 4, height: 0, data: new Uint8Array(0) },
    { width: 2, height: 2, data: new Uint8Array(16) },
    { width: 2, height: 2, data: new Uint8Array(11) },
    { width: 1.5, height: 2, data: new Uint8Array(9) },
    { width: Number.NaN, height: 2, data: new Uint8Array(0) },
  ];
  for (const image of bad) {
    for (const run of [() => processImage(image, limits), () => resizeBilinear(image, 16, 16)]) {
      assert.throws(run, (error: Error) => error instanceof ImageError && /expected .* got .*;/.test(error.message));
    }
  }
});

test.run();
