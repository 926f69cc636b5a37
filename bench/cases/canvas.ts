import type { RgbImage } from '../../model/index.ts';
import { ADVANCE, GLYPHS } from './font.ts';

const CHANNELS = 3;

/** A picture to draw on; colours are 0xRRGGBB, places and sizes whole pixels, and what lies outside is left out. */
export class Canvas implements RgbImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;

  constructor(width: number, height: number, background: number) {
    this.width = width;
    this.height = height;
    this.data = new Uint8Array(width * height * CHANNELS);
    this.fill(0, 0, width, height, background);
  }

  /** Fills a rectangle. */
  fill(left: number, top: number, width: number, height: number, colour: number): void {
    const right = Math.min(left + width, this.width);
    for (let y = Math.max(top, 0); y < Math.min(top + height, this.height); y++) {
      for (let x = Math.max(left, 0); x < right; x++) this.#set(x, y, colour);
    }
  }

  /** Fills a rectangle and draws its border of one pixel. */
  box(left: number, top: number, width: number, height: number, colour: number, border: number): void {
    this.fill(left, top, width, height, border);
    this.fill(left + 1, top + 1, width - 2, height - 2, colour);
  }

  /** Fills the disc of all pixels at most `radius` from its centre. */
  disc(x: number, y: number, radius: number, colour: number): void {
    for (let dy = -radius; dy <= radius; dy++) {
      let half = radius;
      while (half * half + dy * dy > radius * radius) half--;
      this.fill(x - half, y + dy, 2 * half + 1, 1, colour);
    }
  }

  /** Draws a line `thickness` pixels wide, one square per step along its longer axis. */
  line(fromX: number, fromY: number, toX: number, toY: number, colour: number, thickness = 1): void {
    const steps = Math.max(Math.abs(toX - fromX), Math.abs(toY - fromY), 1);
    for (let i = 0; i <= steps; i++) {
      const x = between(fromX, toX, i, steps);
      const y = between(fromY, toY, i, steps);
      this.fill(x - (thickness >> 1), y - (thickness >> 1), thickness, thickness, colour);
    }
  }

  /** Writes a line of text with its upper left corner at (left, top), each pixel of the font `scale` wide and high. */
  text(left: number, top: number, text: string, colour: number, scale = 1): void {
    for (const [at, char] of [...text].entries()) {
      const glyph = GLYPHS.get(char);
      if (!glyph) throw new Error(`font: expected a character that it has, got ${JSON.stringify(char)}`);
      for (const [row, pixels] of glyph.entries()) {
        for (let i = 0; i < pixels.length; i++) {
          if (pixels[i] === '#') this.fill(left + (at * ADVANCE + i) * scale, top + row * scale, scale, scale, colour);
        }
      }
    }
  }

  /** Adds to every level of each pixel what `change` says, kept in 0 to 255. */
  shade(change: (x: number, y: number) => number): void {
    for (let y = 0, at = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++) {
        const by = change(x, y);
        for (let c = 0; c < CHANNELS; c++, at++) this.data[at] = Math.min(Math.max(this.data[at]! + by, 0), 255);
      }
    }
  }

  #set(x: number, y: number, colour: number): void {
    const at = (y * this.width + x) * CHANNELS;
    this.data[at] = colour >> 16;
    this.data[at + 1] = (colour >> 8) & 255;
    this.data[at + 2] = colour & 255;
  }
}

/** The whole number `part / whole` of the way from `from` to `to`, rounded down. */
export function between(from: number, to: number, part: number, whole: number): number {
  return from + Math.floor(((to - from) * part) / whole);
}

/** The colour `part / whole` of the way from one to another. */
export function blend(from: number, to: number, part: number, whole: number): number {
  const channel = (shift: number) => between((from >> shift) & 255, (to >> shift) & 255, part, whole) << shift;
  return channel(16) | channel(8) | channel(0);
}

/** A whole number in [0, below) for every pair of places: the same everywhere, and without a pattern. */
export function scatter(a: number, b: number, below: number): number {
  let hash = Math.imul(a + 1, 0x9e3779b1) ^ Math.imul(b + 1, 0x85ebca77);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return ((hash ^ (hash >>> 13)) >>> 0) % below;
}
