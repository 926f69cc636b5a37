// What the threads of the pool do; only pool.ts names these functions.
import type { MessagePort } from 'node:worker_threads';
import { move, transferableSymbol, valueSymbol } from 'piscina';
import { ImageError } from '../../runtime/errors.ts';
import { decodeFile } from './decode_file.ts';
import type { Picture, Size } from './image_file.ts';
import { type ImageLimits, type Patches, processImage, type RgbImage } from './patches.ts';
import { turnUpright } from './upright.ts';

/** Work of a thread. */
export interface Job {
  /** Told the size of the job's picture as soon as it is known. */
  readonly sized: MessagePort;
}

/** A picture file to decode, with sharp where `native`. */
export interface DecodeJob {
  readonly path: string;
  readonly native: boolean;
  readonly upright: boolean;
}

/** A picture to stretch and cut into patches. */
export interface PatchJob {
  readonly image: RgbImage;
  readonly limits: ImageLimits;
}

/** A job's result, or the message of its ImageError, whose class is lost between threads. */
export type Reply<T> = { readonly value: T } | { readonly refusal: string };

/** Decodes a picture file. */
export function decode({ path, native, upright, sized }: DecodeJob & Job): Promise<Reply<Picture>> {
  return reply(
    async () => {
      const picture = await decodeFile(path, native, (size) => sized.postMessage(size));
      return upright ? turnUpright(picture) : picture;
    },
    ({ data }) => data,
  );
}

/** Makes a picture the vision tower's input. */
export function cut({ image, limits, sized }: PatchJob & Job): Promise<Reply<Patches>> {
  const { width, height }: Size = image;
  sized.postMessage({ width, height });
  return reply(
    async () => processImage(image, limits),
    ({ pixels }) => pixels.data,
  );
}

/** A reply whose large array moves to the thread that asked, without a copy. */
async function reply<T>(work: () => Promise<T>, large: (value: T) => ArrayBufferView): Promise<Reply<T>> {
  try {
    const value = await work();
    return move({
      [transferableSymbol]: large(value).buffer,
      [valueSymbol]: { value },
    }) as unknown as Reply<T>;
  } catch (error) {
    if (error instanceof ImageError) return { refusal: error.message };
    throw error;
  }
}
