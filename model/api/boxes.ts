import { DaybreakError } from '../../runtime/index.ts';

/** A rectangle in pixels, from the left and upper to the right and lower edge: 0 to the picture's width and height. */
export interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** A place in pixels from the left upper corner. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

const NUMBER = String.raw`\s*(?:[xy]\d?\s*[=:]\s*)?(\d+(?:\.\d+)?|\.\d+)\s*`;
const LIST = new RegExp(String.raw`[[(]${NUMBER},${NUMBER}(?:,${NUMBER},${NUMBER})?[\])]`, 'g');

/**
 * The boxes [x1, y1, x2, y2] and points [x, y] that an answer names, in the order in which it does, in pixels of a picture of this
 * size: the model writes shares of width and height, 0 to 1. Left out is what lies outside, a box of no area, and a pair of whole
 * numbers, which may mean anything. Throws a DaybreakError for a picture without a size.
 */
export function boxes(
  answer: string,
  { width, height }: { readonly width: number; readonly height: number },
): { boxes: Box[]; points: Point[] } {
  if (!(width > 0 && height > 0))
    throw new DaybreakError(`boxes: picture: expected its width and height, got ${width} x ${height}; read it first`);
  const found = { boxes: [] as Box[], points: [] as Point[] };
  for (const match of answer.matchAll(LIST)) {
    const [x1, y1, x2, y2] = match.slice(1).map(Number) as [number, number, number, number];
    if (match.slice(1).some((value) => Number(value) > 1)) continue;
    const [left, top, right, bottom] = [x1 * width, y1 * height, x2 * width, y2 * height];
    if (match[3] === undefined) {
      if (`${match[1]}${match[2]}`.includes('.')) found.points.push({ x: left, y: top });
    } else if (left < right && top < bottom) found.boxes.push({ left, top, right, bottom });
  }
  return found;
}
