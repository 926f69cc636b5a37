import type { Size } from './image_file.ts';
import type { RgbImage } from './patches.ts';

const SCREEN = 13;
const EXTENSION = 0x21;
const GRAPHIC_CONTROL = 0xf9;
const FRAME = 0x2c;
const TRANSPARENT = 1;

/** What a GIF says of its first frame: where it is, and the RGB colour of the picture around it. */
export interface GifFrame extends Size {
  left: number;
  top: number;
  around: Buffer;
}

/**
 * A copy of a GIF whose first frame has no transparent colour, so that a decoder keeps the colour below it, and that
 * frame; undefined where the file ends before it.
 */
export function opaqueGif(bytes: Buffer): { gif: Buffer; frame: GifFrame } | undefined {
  const gif = Buffer.from(bytes);
  let transparent = 0;
  let at = SCREEN + tableBytes(gif[10]!);
  while (gif[at] === EXTENSION) {
    if (gif[at + 1] === GRAPHIC_CONTROL && gif[at + 3]! & TRANSPARENT) {
      transparent = gif[at + 6]!;
      gif[at + 3]! &= ~TRANSPARENT;
    }
    at += 2;
    while (gif[at]) at += 1 + gif[at]!;
    at++;
  }
  if (gif[at] !== FRAME || at + 10 > gif.length) return undefined;
  const [left, top, width, height] = [1, 3, 5, 7].map((offset) => gif.readUInt16LE(at + offset)) as [
    number,
    number,
    number,
    number,
  ];
  const table = tableBytes(gif[at + 9]!) ? at + 10 : SCREEN;
  const colour = table + 3 * transparent;
  return { gif, frame: { left, top, width, height, around: gif.subarray(colour, colour + 3) } };
}

/** Bytes of the colour table that follows, by the flags before it. */
function tableBytes(flags: number): number {
  return flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0;
}

/** Whether a frame lies within a picture. */
export function contains({ width, height }: Size, frame: GifFrame): boolean {
  return frame.left + frame.width <= width && frame.top + frame.height <= height;
}

/** Gives the pixels outside of the frame their colour, in place. */
export function fillAround({ data, width, height }: RgbImage, frame: GifFrame): void {
  for (let y = 0, to = 0; y < height; y++) {
    const beside = y < frame.top || y >= frame.top + frame.height;
    for (let x = 0; x < width; x++, to += 3) {
      if (beside || x < frame.left || x >= frame.left + frame.width) data.set(frame.around, to);
    }
  }
}
