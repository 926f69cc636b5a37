import { ImageError } from '../../runtime/errors.ts';
import type { RgbImage } from './patches.ts';

/** Bounds on what is decoded: the most pixels take up to 3 GB and half a minute. */
export const MAX_PIXELS = 2 ** 26;
const MAX_SIDE = 65_535;

/** Time for a decoder, several times what it needs on a slow machine. */
const BASE_MILLIS = 10_000;
const MILLIS_PER_PIXEL = 0.002;

/** Width and height in pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/** A picture and the EXIF orientation, 1 to 8, of its pixels: 1 where they are upright or nothing says otherwise. */
export interface Picture extends RgbImage {
  readonly orientation: number;
}

/** Throws an ImageError for an empty picture and for one past 65535 pixels a side or 2^26 in all. */
export function checkSize({ width, height }: Size, file: string): void {
  if (width >= 1 && height >= 1 && width <= MAX_SIDE && height <= MAX_SIDE && width * height <= MAX_PIXELS) return;
  const expected = `1 to ${MAX_SIDE} pixels a side and at most ${MAX_PIXELS} in all`;
  throw refuse(file, expected, `${width} x ${height}`, 'resize the picture');
}

/** Milliseconds that decoding a picture may take: 10 s and 2 s for each million pixels. */
export function timeLimit({ width, height }: Size): number {
  return BASE_MILLIS + width * height * MILLIS_PER_PIXEL;
}

/** The ImageError for a file: what was expected, what came and what to do; free of control characters. */
export function refuse(file: string, expected: string, got: string, advice: string, cause?: unknown): ImageError {
  const message = `${file}: expected ${expected}, got ${got}; ${advice}`;
  return new ImageError(message.replace(/\p{Cc}/gu, '?'), { cause });
}

/** The same bytes as a Buffer. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
