import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { ImageError } from '../../runtime/errors.ts';
import { statFile } from '../checkpoint/json.ts';
import { refuse } from './image_file.ts';
import { decodeJpeg, jpegSize } from './jpeg.ts';
import type { RgbImage } from './patches.ts';
import { decodePng, pngSize } from './png.ts';

/** How a file's first bytes name its format, how to learn its size without decoding it, and how to decode it. */
const PICTURE_FORMATS = [
  { format: 'png', magic: Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), size: pngSize, decode: decodePng },
  { format: 'jpeg', magic: Buffer.from([0xff, 0xd8, 0xff]), size: jpegSize, decode: decodeJpeg },
] as const;
const MAGIC_BYTES = 8;
/** More than the largest picture takes whose pixels are allowed, uncompressed. */
const MAX_BYTES = 2 ** 30;

/** PNG pictures up to this many pixels are decoded at once: that takes less time than a worker's start. */
const PIXELS_AT_ONCE = 2 ** 20;

/** Time for a picture in the worker, several times what a decoder needs on a slow machine. */
const BASE_MILLIS = 10_000;
const MILLIS_PER_PIXEL = 0.002;

/** A picture to decode. */
export interface DecodeJob {
  readonly format: (typeof PICTURE_FORMATS)[number]['format'];
  readonly bytes: Uint8Array;
  readonly file: string;
}

/**
 * Reads a PNG or JPEG as 8-bit RGB; the file's first bytes, not its name, decide its format. A JPEG, or a
 * PNG of more than a million pixels, is decoded in a worker thread, for at most 10 s and 2 s for each million pixels. Throws an
 * ImageError naming the path when the file is missing, is no such picture, is damaged or takes too long.
 */
export async function readImage(path: string): Promise<RgbImage> {
  const bytes = await readBytes(path).catch((cause: Error) => {
    throw refuse(path, `a readable picture file of at most ${MAX_BYTES} bytes`, cause.message, 'check the path', cause);
  });
  const found = PICTURE_FORMATS.find(({ magic }) => bytes.subarray(0, magic.length).equals(magic));
  if (!found) {
    const got = bytes.length > 0 ? `bytes ${bytes.toString('hex', 0, MAGIC_BYTES)}` : 'an empty file';
    throw refuse(path, 'a PNG or JPEG picture', got, 'convert it to PNG');
  }
  const { width, height } = found.size(bytes, path);
  const job = { format: found.format, bytes, file: path };
  if (found.format === 'png' && width * height <= PIXELS_AT_ONCE) return decodePicture(job);
  return decodeInWorker(job, BASE_MILLIS + width * height * MILLIS_PER_PIXEL);
}

async function readBytes(path: string): Promise<Buffer> {
  const { size } = statFile(path);
  if (size > MAX_BYTES) throw new Error(`${size} bytes`);
  return readFile(path);
}

/** Decodes a picture on this thread. */
export function decodePicture({ format, bytes, file }: DecodeJob): RgbImage {
  return PICTURE_FORMATS.find((known) => known.format === format)!.decode(bytes, file);
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
