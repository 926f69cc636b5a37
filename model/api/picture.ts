import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ImageError } from '../../runtime/index.ts';
import { type Picture, readImage } from '../index.ts';

/**
 * A picture: the path of a file, a file: or data: URL, the bytes of a file (a Buffer too), a Blob, or RGB values. Nothing is fetched
 * from a network.
 */
export type PictureSource = string | URL | Uint8Array | Blob | RgbPicture;

/** Values [height, width, 3] of 8 bits. */
export interface RgbPicture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array | Uint8ClampedArray;
}

/** How to read a picture; every field is optional. */
export interface PictureOptions {
  /** Turn and mirror it as its EXIF orientation says; without this it comes as it is stored. */
  readonly upright?: boolean;
  /** Ends reading, which is rejected with the signal's reason. */
  readonly signal?: AbortSignal;
}

const KINDS = 'a path, a file: or data: URL, the bytes of a file, a Blob or RGB values { width, height, data }';
/** As many characters of base64 and nothing else are no path that anybody has. */
const LEAST_BASE64 = 64;
/** The longest path that a system takes, and how much of one stands in an error. */
const MOST_PATH = 4096;
const MOST_NAME = 200;

/** The pixels of a picture, 8-bit RGB; throws an ImageError that never shows the picture's own bytes, or the signal's reason. */
export async function readPicture(source: PictureSource, options: PictureOptions = {}): Promise<Picture> {
  if (typeof source === 'string') return readText(source, options);
  if (source instanceof URL) return readUrl(source, options);
  if (source instanceof Uint8Array) return readBytes(source, options);
  if (source instanceof Blob) return readBytes(new Uint8Array(await source.arrayBuffer()), options);
  const { width, height, data } = source ?? ({} as RgbPicture);
  if (data instanceof Uint8Array || data instanceof Uint8ClampedArray) {
    return { width, height, data: new Uint8Array(data.buffer, data.byteOffset, data.length), orientation: 1 };
  }
  throw refuse(KINDS, source === null ? 'null' : typeof source, 'pass one of these');
}

function readText(text: string, options: PictureOptions): Promise<Picture> {
  if (/^(data|file|https?):/i.test(text)) {
    if (!URL.canParse(text))
      throw refuse('a URL', `${text.length} characters that are none`, 'build it with new URL()');
    return readUrl(new URL(text), options);
  }
  if (text === '' || text.includes('\0')) throw refuse('a path', 'an empty or broken one', 'pass the path of a file');
  const base64 = text.length >= LEAST_BASE64 && /^[\w+/=\s-]+$/.test(text) && !existsSync(text);
  if (base64 || text.length > MOST_PATH) {
    const got = `${text.length} characters that are none`;
    throw refuse('a path', got, 'for base64, pass Buffer.from(text, "base64") or a data: URL');
  }
  return readImage(text, { ...options, name: text.length > MOST_NAME ? `...${text.slice(-MOST_NAME)}` : text });
}

function readUrl(url: URL, options: PictureOptions): Promise<Picture> {
  if (url.protocol === 'data:') return readBytes(decodeData(url.href), options);
  if (url.protocol === 'file:' && url.host === '') return readImage(fileURLToPath(url), options);
  throw refuse(
    'a file: or data: URL',
    `${url.protocol}//${url.host}`,
    'nothing is fetched: download it and pass its bytes',
  );
}

/** The bytes of data:[type][;base64],DATA. */
function decodeData(href: string): Uint8Array {
  const comma = href.indexOf(',');
  if (comma < 0)
    throw refuse('a data: URL with a comma before its data', 'one without', 'write data:image/png;base64,...');
  const byte = (_: string, hex: string) => String.fromCharCode(Number.parseInt(hex, 16));
  const data = href.slice(comma + 1).replace(/%([\da-f]{2})/gi, byte);
  if (!/;base64$/i.test(href.slice(0, comma))) return Buffer.from(data, 'latin1');
  if (!/[^\w+/=\s-]/.test(data)) return Buffer.from(data, 'base64');
  throw refuse('a data: URL of base64 after ;base64,', 'other characters in it', 'encode it anew');
}

function readBytes(bytes: Uint8Array, options: PictureOptions): Promise<Picture> {
  return readImage(Uint8Array.from(bytes), { ...options, name: `picture of ${bytes.length} bytes` }); // a copy: memory may be shared
}

function refuse(expected: string, got: string, advice: string): ImageError {
  return new ImageError(`picture: expected ${expected}, got ${got}; ${advice}`);
}
