import { loadSharp } from './decode_native.ts';
import type { Picture } from './image_file.ts';
import { decodeInPool } from './pool.ts';

/** How to read a picture; every field is optional. */
export interface ReadOptions {
  /** Turn and mirror it as its EXIF orientation says; without this it comes as it is stored. */
  readonly upright?: boolean;
  /** What errors call it; by default its path. */
  readonly name?: string;
  /** Ends reading, which is rejected with the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * Reads a picture, a path or the bytes of a file, as 8-bit RGB; the file's first bytes, not its name, decide its format. With the package sharp that is
 * PNG, JPEG, WebP, TIFF, AVIF, and GIF, of which the first frame counts. Without it, or with DAYBREAK_IMAGE=js in the
 * environment, it is PNG and most kinds of JPEG. Files are read and decoded in threads, up to four at once and otherwise in turn,
 * and each takes at most 10 s and 2 s for each million pixels. Throws an ImageError naming it when the file is missing, is
 * no such picture, is damaged or takes too long.
 */
export async function readImage(source: string | Uint8Array, options: ReadOptions = {}): Promise<Picture> {
  const { upright = false, name: file = typeof source === 'string' ? source : 'picture', signal } = options;
  // on this thread too: a native library whose only threads have ended cannot be loaded again
  const native = process.env.DAYBREAK_IMAGE !== 'js' && (await loadSharp()) !== undefined;
  return decodeInPool({ source, file, native, upright }, { file, signal });
}
