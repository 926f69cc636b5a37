import type { RgbImage } from '../model/index.ts';

/** A picture with edges and every hue, the same everywhere. */
export function rainbow({ width, height }: { width: number; height: number }): RgbImage {
  const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const [x, y, channel] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width), i % 3];
    return (x * [1, 3, 7][channel]! + y * [5, 2, 1][channel]!) % 256;
  });
  return { width, height, data };
}
