import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { ImageError } from '../../runtime/errors.ts';
import { statFile } from '../checkpoint/json.ts';
import { decodeNative, loadSharp, type PictureFormat } from './decode_native.ts';
import { type Picture, refuse, timeLimit } from './image_file.ts';
import { decodeJpeg, jpegOrientation, jpegSize } from './jpeg.ts';
import type { RgbImage } from './patches.ts';
import { decodePng, pngOrientation, pngSize } from './png.ts';
import { turnUpright } from './upright.ts';

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
const MAGIC_BYTES = 8;
/** More than the largest picture takes whose pixels are allowed, uncompressed. */
const MAX_BYTES = 2 ** 30;

/** What is decoded without sharp: how to learn a picture's size and orientation without its pixels, and these. */
const FALLBACK = {
  png: { size: pngSize, orientation: pngOrientation, decode: decodePng },
  jpeg: { size: jpegSize, orientation: jpegOrientation, decode: decodeJpeg },
} as const;

/** PNG pictures up to this many pixels are decoded at once: that takes less time than a worker's start. */
const PIXELS_AT_ONCE = 2 ** 20;

/** A picture to decode without sharp. */
export interface DecodeJob {
  readonly format: keyof typeof FALLBACK;
  readonly bytes: Uint8Array;
  readonly file: string;
}

/** How to read a picture. */
export interface ReadOptions {
  /** Turn and mirror it as its EXIF orientation says; without this it comes as it is stored. */
  readonly upright?: boolean;
}

/**
 * Reads a picture as 8-bit RGB; the file's first bytes, not its name, decide its format. With the package sharp that is
 * PNG, JPEG, WebP, TIFF, AVIF, and GIF, of which the first frame counts. Without it, or with DAYBREAK_IMAGE=js in the
 * environment, it is PNG and most kinds of JPEG. Decoding holds up no other work, unless a PNG is small, and takes at most
 * 10 s and 2 s for each million pixels. Throws an ImageError naming the path when the file is missing, is no such picture,
 * is damaged or takes too long.
 */
export async function readImage(path: string, { upright = false }: ReadOptions = {}): Promise<Picture> {
  const bytes = await readBytes(path).catch((cause: Error) => {
    throw refuse(path, `a readable picture file of at most ${MAX_BYTES} bytes`, cause.message, 'check the path', cause);
  });
  const sharp = await loadSharp();
  const format = formatOf(bytes, sharp !== undefined, path);
  const picture = sharp ? await decodeNative(sharp, format, bytes, path) : await decodeFallback(format, bytes, path);
  return upright ? turnUpright(picture) : picture;
}

async function readBytes(path: string): Promise<Buffer> {
  const { size } = statFile(path);
  if (size > MAX_BYTES) throw new Error(`${size} bytes`);
  return readFile(path);
}

/** The format of a file's first bytes. Throws an ImageError for none that can be decoded. */
function formatOf(bytes: Buffer, native: boolean, file: string): PictureFormat {
  const found = FORMATS.find(
    ({ offset = 0, magic }) => bytes.toString('latin1', offset, offset + magic.length) === magic,
  );
  if (found?.key && (native || found.key in FALLBACK)) return found.key;
  const unknown = bytes.length > 0 ? `bytes ${bytes.toString('hex', 0, MAGIC_BYTES)}` : 'an empty file';
  const expected = native ? 'a PNG, JPEG, WebP, GIF, TIFF or AVIF picture' : 'a PNG or JPEG picture';
  const advice = found?.key ? 'install the package sharp, which reads it, or convert it to PNG' : 'convert it to PNG';
  throw refuse(file, expected, found?.name ?? unknown, advice);
}

async function decodeFallback(format: PictureFormat, bytes: Buffer, file: string): Promise<Picture> {
  const known = format as keyof typeof FALLBACK;
  const { size, orientation } = FALLBACK[known];
  const { width, height } = size(bytes, file);
  const job = { format: known, bytes, file };
  const atOnce = format === 'png' && width * height <= PIXELS_AT_ONCE;
  const image = await (atOnce ? decodeInThread(job) : decodeInWorker(job, timeLimit({ width, height })));
  return { ...image, orientation: orientation(bytes) };
}

/** Decodes a picture on this thread. */
export async function decodeInThread({ format, bytes, file }: DecodeJob): Promise<RgbImage> {
  return FALLBACK[format].decode(bytes, file);
}

/** Decodes a picture in a worker thread, which is stopped after some milliseconds. */
export function decodeInWorker(job: DecodeJob, millis: number): Promise<RgbImage> {
  const worker = new Worker(workerModule(), { workerData: job, execArgv: [] });
  return new Promise<RgbImage>((resolve, reject) => {
    const fail = (got: string, cause?: unknown) =>
      reject(refuse(job.file, 'a picture from the decoder', got, 'save it anew or resize it', cause));
    const timer = setTimeout(() => {
      fail(`none within ${millis / 1000} s`);
      worker.terminate();
    }, millis);
    worker.once('message', resolve);
    worker.once('error', (error) => {
      if (error.name === 'ImageError') reject(new ImageError(error.message, { cause: error }));
      else fail(error.message, error);
    });
    worker.once('exit', (code) => {
      clearTimeout(timer);
      fail(`exit code ${code}`);
    });
  });
}

/** The worker's module. Node gives a worker no loader for TypeScript, so from the sources tsx is registered first. */
function workerModule(): URL {
  const module = new URL(`decode_worker${extname(import.meta.url)}`, import.meta.url);
  if (!module.pathname.endsWith('.ts')) return module;
  const [tsx, source] = [import.meta.resolve('tsx/esm/api'), module.href].map((url) => JSON.stringify(url));
  const code = `import { register } from ${tsx}; register(); await import(${source});`;
  return new URL(`data:text/javascript,${encodeURIComponent(code)}`);
}
