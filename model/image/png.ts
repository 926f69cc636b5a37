import { crc32, inflateSync } from 'node:zlib';
import { PNG } from 'pngjs';
import type { ImageError } from '../../runtime/errors.ts';
import { checkSize, refuse, type Size } from './image_file.ts';
import type { RgbImage } from './patches.ts';

const MAX_CHUNKS = 2 ** 18;

const PNG_MAGIC = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
const NEEDED_CHUNKS = ['PLTE', 'IDAT', 'IEND'];

/** Values per pixel and allowed bits per value of each PNG colour type. */
const COLOUR_TYPES: Readonly<Record<number, { values: number; depths: number[] }>> = {
  0: { values: 1, depths: [1, 2, 4, 8, 16] },
  2: { values: 3, depths: [8, 16] },
  3: { values: 1, depths: [1, 2, 4, 8] },
  4: { values: 2, depths: [8, 16] },
  6: { values: 4, depths: [8, 16] },
};
const GREY = 0;
const PALETTE = 3;

/** First column, first row, column step and row step of the seven passes of an interlaced PNG. */
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

interface Header extends Size {
  depth: number;
  colour: number;
  interlaced: boolean;
}

interface Chunk {
  type: string;
  body: Buffer;
  whole: Buffer;
}

/** The size that a PNG claims. Throws an ImageError naming `file` when its header is damaged or the size too large. */
export function pngSize(bytes: Uint8Array, file: string): Size {
  const { width, height } = readHeader(readChunk(asBuffer(bytes), PNG_MAGIC.length, file), file);
  return { width, height };
}

/**
 * A PNG as 8-bit RGB, as Pillow's convert("RGB") gives it: alpha and tRNS dropped, grey repeated, palette looked up,
 * 16-bit grey clipped to 255, other 16-bit values cut to their high byte. Throws an ImageError naming `file` for
 * damaged data, and for sizes past 65535 pixels a side or 2^26 in all before memory is taken for them.
 */
export function decodePng(bytes: Uint8Array, file: string): RgbImage {
  const chunks = readChunks(asBuffer(bytes), file);
  const header = readHeader(chunks[0]!, file);
  const needed = chunks.filter(({ type }, i) => i === 0 || NEEDED_CHUNKS.includes(type));
  checkPixelData(needed, header, file);
  return { width: header.width, height: header.height, data: toRgb(decode(needed, file), header) };
}

/** The chunks from the signature to IEND, each whole and with the right checksum. */
function readChunks(bytes: Buffer, file: string): Chunk[] {
  if (!bytes.subarray(0, PNG_MAGIC.length).equals(PNG_MAGIC)) {
    const got = bytes.length ? `bytes ${bytes.toString('hex', 0, PNG_MAGIC.length)}` : 'an empty file';
    throw refuse(file, 'a PNG signature', got, 'convert the picture to PNG');
  }
  const chunks: Chunk[] = [];
  for (let at = PNG_MAGIC.length; chunks.at(-1)?.type !== 'IEND'; at += chunks.at(-1)!.whole.length) {
    if (chunks.length === MAX_CHUNKS) throw damaged(file, `at most ${MAX_CHUNKS} chunks`, 'more');
    chunks.push(readChunk(bytes, at, file));
  }
  return chunks;
}

/** The chunk at a byte: length u32, type of 4 letters, body, checksum u32 of type and body. */
function readChunk(bytes: Buffer, at: number, file: string): Chunk {
  const end = at + 12 + (at + 8 <= bytes.length ? bytes.readUInt32BE(at) : 0);
  if (end > bytes.length) throw damaged(file, `a PNG chunk from byte ${at} to ${end}`, `${bytes.length} bytes in all`);
  const whole = bytes.subarray(at, end);
  const type = whole.toString('latin1', 4, 8);
  const stored = whole.readUInt32BE(whole.length - 4);
  const computed = crc32(whole.subarray(4, -4));
  if (stored !== computed) {
    throw damaged(file, `checksum ${stored} of chunk ${JSON.stringify(type)} at byte ${at}`, `${computed}`);
  }
  return { type, body: whole.subarray(8, -4), whole };
}

function readHeader({ type, body }: Chunk, file: string): Header {
  if (type !== 'IHDR' || body.length !== 13) {
    throw damaged(file, 'first a chunk IHDR of 13 bytes', `${JSON.stringify(type)} of ${body.length}`);
  }
  const width = body.readUInt32BE(0);
  const height = body.readUInt32BE(4);
  const [depth = 0, colour = 0, compression = 0, filter = 0, interlace = 0] = body.subarray(8);
  checkSize({ width, height }, file);
  if (!COLOUR_TYPES[colour]?.depths.includes(depth)) {
    throw damaged(file, 'a colour type and bit depth of the PNG standard', `type ${colour} with ${depth} bits`);
  }
  if (compression || filter || interlace > 1) {
    const got = [compression, filter, interlace].join(', ');
    throw damaged(file, 'compression 0, filter 0, interlace 0 or 1', got);
  }
  return { width, height, depth, colour, interlaced: interlace === 1 };
}

/** pngjs neither bounds nor checks what it inflates in every case, so this makes sure of the exact size beforehand. */
function checkPixelData(chunks: Chunk[], header: Header, file: string): void {
  const expected = inflatedBytes(header);
  const deflated = Buffer.concat(chunks.filter(({ type }) => type === 'IDAT').map(({ body }) => body));
  let got: string;
  try {
    const { length } = inflateSync(deflated, { maxOutputLength: expected });
    if (length === expected) return;
    got = `${length}`;
  } catch (error) {
    got = (error as Error).message;
  }
  throw damaged(file, `${expected} bytes of pixel data`, got);
}

/** Bytes of the pixel data before compression: per pass and row, one filter byte and the packed pixels. */
function inflatedBytes({ width, height, depth, colour, interlaced }: Header): number {
  const bits = COLOUR_TYPES[colour]!.values * depth;
  const passes = interlaced ? ADAM7 : [[0, 0, 1, 1] as const];
  return passes.reduce((total, [left, top, dx, dy]) => {
    const cols = Math.ceil((width - left) / dx);
    const rows = Math.ceil((height - top) / dy);
    return cols > 0 && rows > 0 ? total + rows * (1 + Math.ceil((cols * bits) / 8)) : total;
  }, 0);
}

/** RGBA values [height, width, 4] at the file's own depth; palette colours are 8-bit. */
function decode(chunks: Chunk[], file: string): Uint8Array | Uint16Array {
  try {
    const png = Buffer.concat([PNG_MAGIC, ...chunks.map(({ whole }) => whole)]);
    return PNG.sync.read(png, { checkCRC: false, skipRescale: true }).data;
  } catch (cause) {
    throw damaged(file, 'valid PNG data', (cause as Error).message, cause);
  }
}

/** RGBA at the file's depth to 8-bit RGB. */
function toRgb(rgba: Uint8Array | Uint16Array, { width, height, depth, colour }: Header): Uint8Array {
  const rgb = new Uint8Array(width * height * 3);
  const level = toLevel(depth, colour);
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    rgb[to] = level(rgba[from]!);
    rgb[to + 1] = level(rgba[from + 1]!);
    rgb[to + 2] = level(rgba[from + 2]!);
  }
  return rgb;
}

function toLevel(depth: number, colour: number): (value: number) => number {
  if (depth === 8 || colour === PALETTE) return (value) => value;
  if (depth < 8) return (value) => (value * 255) / (2 ** depth - 1);
  return colour === GREY ? (value) => Math.min(value, 255) : (value) => value >> 8;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function damaged(file: string, expected: string, got: string, cause?: unknown): ImageError {
  return refuse(file, expected, got, 'the picture is damaged: save it anew as PNG', cause);
}
