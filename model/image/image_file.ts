import { ImageError } from '../../runtime/errors.ts';

/** Bounds on what is decoded: the most pixels take up to 3 GB and half a minute. */
export const MAX_PIXELS = 2 ** 26;
const MAX_SIDE = 65_535;

/** Width and height in pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Throws an ImageError for an empty picture and for one past 65535 pixels a side or 2^26 in all. */
export function checkSize({ width, height }: Size, file: string): void {
  if (width >= 1 && height >= 1 && width <= MAX_SIDE && height <= MAX_SIDE && width * height <= MAX_PIXELS) return;
  const expected = `1 to ${MAX_SIDE} pixels a side and at most ${MAX_PIXELS} in all`;
  throw refuse(file, expected, `${width} x ${height}`, 'resize the picture');
}

/** The ImageError for a file: what was expected, what came and what to do; free of control characters. */
export function refuse(file: string, expected: string, got: string, advice: string, cause?: unknown): ImageError {
  const message = `${file}: expected ${expected}, got ${got}; ${advice}`;
  return new ImageError(message.replace(/\p{Cc}/gu, '?'), { cause });
}
