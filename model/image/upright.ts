import type { Picture } from './image_file.ts';

/** The first EXIF orientation that stores the upright picture's rows as columns. */
const TRANSPOSED = 5;
/** EXIF orientations that store columns from the last to the first, and those that do so with rows. */
const COLUMNS_REVERSED = [2, 3, 7, 8];
const ROWS_REVERSED = [3, 4, 6, 7];

/** The picture turned and mirrored as its EXIF orientation says, which is 1 afterwards. */
export function turnUpright(picture: Picture): Picture {
  const { width: cols, height: rows, data, orientation } = picture;
  if (orientation === 1) return picture;
  const [width, height] = orientation >= TRANSPOSED ? [rows, cols] : [cols, rows];
  const turned = new Uint8Array(data.length);
  let to = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [across, down] = orientation >= TRANSPOSED ? [y, x] : [x, y];
      const col = COLUMNS_REVERSED.includes(orientation) ? cols - 1 - across : across;
      const row = ROWS_REVERSED.includes(orientation) ? rows - 1 - down : down;
      const from = (row * cols + col) * 3;
      for (let c = 0; c < 3; c++) turned[to++] = data[from + c]!;
    }
  }
  return { width, height, data: turned, orientation: 1 };
}
