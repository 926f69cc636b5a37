import { createHash } from 'node:crypto';
import { ImageError } from '../../runtime/errors.ts';
import type { HostTensor } from '../../runtime/tensor.ts';

/** A picture: 8-bit RGB values [height, width, 3], row by row. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** How many patches a picture may become, and the side of a patch in pixels. */
export interface ImageLimits {
  readonly minPatches: number;
  readonly maxPatches: number;
  readonly patch: number;
}

/** What the vision tower takes: a grid of patches and their values [rows * cols, 3 * patch^2], f32 in [-1, 1]. */
export interface Patches {
  readonly grid: { readonly rows: number; readonly cols: number };
  readonly pixels: HostTensor;
  /** The same for the same grid and values, and for no others. */
  readonly digest: string;
}

/** Weights of the consecutive inputs `start`, `start + 1`, ... that make up one output of a resized axis. */
export interface AxisWeights<W extends Float64Array | Int32Array = Float64Array> {
  readonly start: number;
  readonly weights: W;
}

const CHANNELS = 3;
const FRACTION_BITS = 22;
/** Rounds a sum in fixed point. */
const HALF = 2 ** (FRACTION_BITS - 1);

/** f32 values of the 256 pixel levels: (u8 / 255 - 0.5) / 0.5, each step rounded to f32. */
const LEVELS = Float32Array.from({ length: 256 }, (_, level) => {
  const unit = Math.fround(level * 0.00392156862745098);
  return Math.fround(unit - 0.5) / 0.5;
});

/**
 * Height and width in pixels, multiples of `patch`, to which a picture is stretched: the largest common scale (by
 * bisection on [1e-6, 100] to 1e-5) whose patches do not exceed the picture's own, kept in [minPatches, maxPatches].
 */
export function targetSize(
  height: number,
  width: number,
  { minPatches, maxPatches, patch }: ImageLimits,
): { height: number; width: number } {
  const side = (scale: number, size: number) => Math.max(1, Math.ceil((size * scale) / patch));
  const own = Math.max(Math.floor(width / patch) * Math.floor(height / patch), 1);
  const budget = Math.min(Math.max(own, minPatches), maxPatches);
  let low = 1e-5 / 10;
  let high = 100;
  while (high - low >= 1e-5) {
    const middle = (low + high) / 2;
    if (side(middle, height) * side(middle, width) <= budget) low = middle;
    else high = middle;
  }
  return { height: side(low, height) * patch, width: side(low, width) * patch };
}

/**
 * Antialiased linear weights (sum 1) for each of nOut outputs of an axis of nIn inputs:
 * w_j ~ max(0, 1 - |j - c + 0.5| / f), c = (i + 0.5) * scale, f = max(scale, 1), scale = nIn / nOut.
 */
export function positionWeights(nIn: number, nOut: number): AxisWeights[] {
  const scale = nIn / nOut;
  const reach = Math.max(scale, 1);
  return Array.from({ length: nOut }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const start = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const end = Math.min(Math.trunc(centre + reach + 0.5), nIn);
    const weights = new Float64Array(end - start);
    for (let j = start; j < end; j++) {
      weights[j - start] = Math.max(0, 1 - Math.abs((j - centre + 0.5) * (1 / reach)));
    }
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { start, weights: weights.map((weight) => weight / sum) };
  });
}

/** The weights of positionWeights in Pillow's fixed point: trunc(0.5 + w * 2^22). */
export function resizeCoefficients(nIn: number, nOut: number): AxisWeights<Int32Array>[] {
  return positionWeights(nIn, nOut).map(({ start, weights }) => ({
    start,
    weights: Int32Array.from(weights, (weight) => Math.trunc(0.5 + weight * 2 ** FRACTION_BITS)),
  }));
}

/**
 * The picture stretched to [height, width] exactly as Pillow's BILINEAR does: columns first, rounded to u8, then rows,
 * each (2^21 + sum_j pixel_j * k_j) >> 22. Throws an ImageError for an empty picture or data of the wrong length.
 */
export function resizeBilinear(image: RgbImage, height: number, width: number): RgbImage {
  checkImage(image);
  return { width, height, data: resizeRows(resizeColumns(image, width), width * CHANNELS, height) };
}

/** Data [height, width, 3] to [height, nOut, 3]. */
function resizeColumns({ width, height, data }: RgbImage, nOut: number): Uint8Array {
  if (width === nOut) return data;
  const columns = resizeCoefficients(width, nOut);
  const starts = Int32Array.from(columns, ({ start }) => start * CHANNELS);
  const counts = Int32Array.from(columns, ({ weights }) => weights.length);
  const coefficients = Int32Array.from(columns.flatMap(({ weights }) => [...weights]));
  const result = new Uint8Array(height * nOut * CHANNELS);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0, j = 0; x < nOut; x++, to += CHANNELS) {
      let from = y * width * CHANNELS + starts[x]!;
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      const end = j + counts[x]!;
      for (; j < end; j++, from += CHANNELS) {
        const k = coefficients[j]!;
        red += Math.imul(data[from]!, k);
        green += Math.imul(data[from + 1]!, k);
        blue += Math.imul(data[from + 2]!, k);
      }
      result[to] = level(red);
      result[to + 1] = level(green);
      result[to + 2] = level(blue);
    }
  }
  return result;
}

/** Data [nIn, inner] to [nOut, inner], a whole row at a time. */
function resizeRows(data: Uint8Array, inner: number, nOut: number): Uint8Array {
  const nIn = data.length / inner;
  if (nIn === nOut) return data;
  const result = new Uint8Array(nOut * inner);
  const sums = new Int32Array(inner);
  let to = 0;
  for (const { start, weights } of resizeCoefficients(nIn, nOut)) {
    sums.fill(HALF);
    let from = start * inner;
    for (const k of weights) {
      for (let i = 0; i < inner; i++) sums[i]! += Math.imul(data[from++]!, k);
    }
    for (let i = 0; i < inner; i++) result[to++] = level(sums[i]!);
  }
  return result;
}

/** A sum in fixed point, which has 31 bits, as a level. */
function level(sum: number): number {
  return Math.min(sum >> FRACTION_BITS, 255);
}

/**
 * A picture's patches, row-major, as f32 [T, 3 * patch^2] in [-1, 1]: value (py * patch + px) * 3 + channel of a patch.
 * Throws an ImageError unless both sides are multiples of `patch`.
 */
export function patchify({ width, height, data }: RgbImage, patch = 16): Float32Array {
  if (height % patch || width % patch) {
    throw new ImageError(`patchify: size: expected multiples of ${patch}, got ${width} x ${height}; resize it first`);
  }
  const pixels = new Float32Array(data.length);
  const run = patch * CHANNELS;
  let at = 0;
  for (let top = 0; top < height; top += patch) {
    for (let left = 0; left < width; left += patch) {
      for (let y = top; y < top + patch; y++) {
        const from = (y * width + left) * CHANNELS;
        for (let i = from; i < from + run; i++) pixels[at++] = LEVELS[data[i]!]!;
      }
    }
  }
  return pixels;
}

/**
 * The vision tower's input for a picture: stretched to targetSize, normalised to [-1, 1] and cut into patches.
 * Throws an ImageError for an empty picture or data of the wrong length.
 */
export function processImage(image: RgbImage, limits: ImageLimits): Patches {
  checkImage(image);
  const { patch } = limits;
  const { height, width } = targetSize(image.height, image.width, limits);
  const resized = resizeBilinear(image, height, width);
  const grid = { rows: height / patch, cols: width / patch };
  const shape = [grid.rows * grid.cols, CHANNELS * patch * patch];
  const digest = createHash('sha256').update(`${grid.rows} ${grid.cols} `).update(resized.data).digest('base64');
  return { grid, pixels: { shape, dtype: 'f32', data: patchify(resized, patch) }, digest };
}

function checkImage({ width, height, data }: RgbImage): void {
  const whole = Number.isInteger(width) && Number.isInteger(height);
  if (!whole || width < 1 || height < 1) {
    throw new ImageError(
      `picture: size: expected at least 1 x 1 pixel, got ${width} x ${height}; pass a whole picture`,
    );
  }
  const bytes = width * height * CHANNELS;
  if (data.length !== bytes) {
    throw new ImageError(
      `picture: data: expected ${bytes} bytes for ${width} x ${height} RGB pixels, got ${data.length}; drop alpha or padding`,
    );
  }
}
