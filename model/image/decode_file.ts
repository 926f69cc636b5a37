import { readFile } from 'node:fs/promises';
import { statFile } from '../checkpoint/json.ts';
import { decodeNative, loadSharp, type PictureFormat } from './decode_native.ts';
import { asBuffer, type Picture, refuse, type Size } from './image_file.ts';
import { decodeJpeg, jpegOrientation, jpegSize } from './jpeg.ts';
import { decodePng, pngOrientation, pngSize } from './png.ts';

/** How a file's first bytes, from an offset on, name its format; what sharp decodes has a key. */
const FORMATS: readonly { name: string; key?: PictureFormat; offset?: number; magic: string }[] = [
  { name: 'PNG', key: 'png', magic: '\x89PNG\r\n\x1a\n' },
  { name: 'JPEG', key: 'jpeg', magic: '\xff\xd8\xff' },
  { name: 'WebP', key: 'webp', offset: 8, magic: 'WEBP' },
  { name: 'GIF', key: 'gif', magic: 'GIF87a' },
  { name: 'GIF', key: 'gif', magic: 'GIF89a' },
  { name: 'TIFF', key: 'tiff', magic: 'II*\0' },
  { name: 'TIFF', key: 'tiff', magic: 'MM\0*' },
  { name: 'AVIF', key: 'avif', offset: 4, magic: 'ftypavi' },
  { name: 'HEIC', offset: 4, magic: 'ftyphe' },
  { name: 'BMP', magic: 'BM' },
];
/** More than the largest picture takes whose pixels are allowed, uncompressed. */
const MAX_BYTES = 2 ** 30;

/** What is decoded without sharp: how to learn a picture's size and orientation without its pixels, and these. */
const FALLBACK = {
  png: { size: pngSize, orientation: pngOrientation, decode: decodePng },
  jpeg: { size: jpegSize, orientation: jpegOrientation, decode: decodeJpeg },
} as const;

/** A picture file: a path or the file's bytes, and what errors call it. */
export interface PictureFile {
  readonly source: string | Uint8Array;
  readonly file: string;
}

/**
 * Decodes a picture file on this thread, with sharp where `native`, and tells its size before it does; see readImage. Throws an
 * ImageError.
 */
export async function decodeFile(
  { source, file }: PictureFile,
  native: boolean,
  sized: (size: Size) => void,
): Promise<Picture> {
  const bytes = await readBytes(source).catch((cause: Error) => {
    throw refuse(file, `a readable picture file of at most ${MAX_BYTES} bytes`, cause.message, 'check the path', cause);
  });
  const sharp = native ? await loadSharp() : undefined;
  const format = formatOf(bytes, sharp !== undefined, file);
  if (sharp) return decodeNative(sharp, format, { bytes, file, sized });
  const { size, orientation, decode } = FALLBACK[format as keyof typeof FALLBACK];
  sized(size(bytes, file));
  return { ...(await decode(bytes, file)), orientation: orientation(bytes) };
}

async function readBytes(source: string | Uint8Array): Promise<Buffer> {
  const size = typeof source === 'string' ? statFile(source).size : source.length;
  if (size > MAX_BYTES) throw new Error(`${size} bytes`);
  return typeof source === 'string' ? readFile(source) : asBuffer(source);
}

/** The format of a file's first bytes. Throws an ImageError for none that can be decoded. */
function formatOf(bytes: Buffer, native: boolean, file: string): PictureFormat {
  const found = FORMATS.find(
    ({ offset = 0, magic }) => bytes.toString('latin1', offset, offset + magic.length) === magic,
  );
  if (found?.key && (native || found.key in FALLBACK)) return found.key;
  const unknown = bytes.length > 0 ? 'a file of another kind' : 'an empty file';
  const expected = native ? 'a PNG, JPEG, WebP, GIF, TIFF or AVIF picture' : 'a PNG or JPEG picture';
  const advice = found?.key ? 'install the package sharp, which reads it, or convert it to PNG' : 'convert it to PNG';
  throw refuse(file, expected, found?.name ?? unknown, advice);
}
