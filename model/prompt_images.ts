import { type Device, type DeviceTensor, PromptError, tensorBytes } from '../runtime/index.ts';

/** A picture in a prompt. */
export interface PromptImage {
  /** What tells it from others: the digest of its pixels and its grid. */
  readonly digest: string;
  /** Positions that it takes. */
  readonly rows: number;
  /** f32 [rows, hidden] on the device, once it is encoded. */
  readonly features?: DeviceTensor | undefined;
}

/** What stands at the positions of some ids: tokens, and from `vocab` on rows of pictures by the digest of those. */
export function contentsOf(ids: Uint32Array, images: readonly PromptImage[], vocab: number): string[] {
  return Array.from(ids, (id) => {
    if (id < vocab) return `${id}`;
    const [{ digest }, row] = rowOf(images, id - vocab);
    return `${digest}/${row}`;
  });
}

/** The pictures of which some ids name rows. */
export function imagesIn(ids: Uint32Array, images: readonly PromptImage[], vocab: number): PromptImage[] {
  return [...new Set([...ids].flatMap((id) => (id < vocab ? [] : [rowOf(images, id - vocab)[0]])))];
}

/**
 * Copies the rows of pictures that some ids name to `features`, f32 [rows, hidden], each at the position of its id; returns the
 * ids that name them there. Throws PromptError where a picture is not encoded.
 */
export function placeFeatures(
  device: Device,
  ids: Uint32Array,
  images: readonly PromptImage[],
  vocab: number,
  features: DeviceTensor,
): Uint32Array {
  if (ids.every((id) => id < vocab)) return ids;
  const bytes = tensorBytes(features) / features.shape[0]!;
  device.run('features', (encoder) => {
    for (let row = 0; row < ids.length; ) {
      if (ids[row]! < vocab) {
        row++;
        continue;
      }
      const [image, first] = rowOf(images, ids[row]! - vocab);
      if (!image.features) {
        throw new PromptError('session: pictures: expected encoded ones, got one without features; pass `encode` too');
      }
      let count = 1;
      const most = Math.min(image.rows - first, ids.length - row);
      while (count < most && ids[row + count] === ids[row]! + count) count++;
      const { buffer, offset } = image.features.storage;
      encoder.copyBufferToBuffer(buffer, offset + first * bytes, features.storage.buffer, row * bytes, count * bytes);
      row += count;
    }
  });
  return Uint32Array.from(ids, (id, row) => (id < vocab ? id : vocab + row));
}

/** The picture that a row of all pictures' features belongs to, and which of its own rows that is. */
function rowOf(images: readonly PromptImage[], row: number): [PromptImage, number] {
  let first = 0;
  for (const image of images) {
    if (row < first + image.rows) return [image, row - first];
    first += image.rows;
  }
  throw new PromptError(
    `session: pictures: expected at least ${row + 1} rows of features, got ${first}; pass all pictures`,
  );
}
