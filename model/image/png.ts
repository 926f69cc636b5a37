import { promisify } from 'node:util';
import { constants, crc32, createInflate, deflate } from 'node:zlib';
import type { ImageError } from '../../runtime/errors.ts';
import { asBuffer, checkSize, refuse, type Size } from './image_file.ts';
import type { RgbImage } from './patches.ts';
import { readOrientation } from './tiff_tags.ts';

const MAX_CHUNKS = 2 ** 18;
/** Bytes of the checksum at the end of zlib data. */
const ADLER = 4;
/** zlib makes at most so many bytes of one. */
const MAX_INFLATION = 1032;

const PNG_MAGIC = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');

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

/** The orientation in a PNG's eXIf chunk, 1 without one. */
export function pngOrientation(bytes: Uint8Array): number {
  const png = asBuffer(bytes);
  for (let at = PNG_MAGIC.length; at + 8 <= png.length; at += 12 + png.readUInt32BE(at)) {
    if (chunkType(png, at) === 'eXIf') return readOrientation(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)));
  }
  return 1;
}

/**
 * A PNG as 8-bit RGB by pngjs, as Pillow's convert("RGB") gives it: alpha and tRNS dropped, grey repeated, palette looked
 * up, 16-bit grey clipped to 255, other 16-bit values cut to their high byte. Throws an ImageError naming `file` for
 * damaged data, and for sizes past 65535 pixels a side or 2^26 in all before memory is taken for them.
 */
export async function decodePng(bytes: Uint8Array, file: string): Promise<RgbImage> {
  const png = await cleanPng(bytes, file);
  const header = readHeader(readChunk(png, PNG_MAGIC.length, file), file);
  return { width: header.width, height: header.height, data: toRgb(await decode(png, file), header) };
}

/**
 * The same pixels as a PNG of header, whole palette and exactly the data they take, so that every decoder reads what
 * Pillow reads: data past the pixels, the end of the file, the checksums of pixel data and what is missing of both do not
 * matter, and colours past the palette are black. Throws an ImageError naming `file` where Pillow refuses it.
 */
export async function cleanPng(bytes: Uint8Array, file: string): Promise<Buffer> {
  const { before, deflated, doubtful } = readChunks(asBuffer(bytes), file);
  const first = before[0] ?? readChunk(asBuffer(bytes), PNG_MAGIC.length, file);
  const header = readHeader(first, file);
  const pixels = await inflate(deflated, inflatedBytes(header), doubtful, file);
  const stored = await promisify(deflate)(pixels, { level: constants.Z_NO_COMPRESSION });
  const palette = header.colour === PALETTE ? [chunk('PLTE', wholePalette(before, header, file))] : [];
  return Buffer.concat([PNG_MAGIC, first.whole, ...palette, chunk('IDAT', stored), chunk('IEND', Buffer.alloc(0))]);
}

/**
 * The chunks before the pixel data, each whole and with the right checksum, and the pixel data as far as they go:
 * doubtful with a wrong checksum, which Pillow does not look at, or where the file lacks more than zlib's checksum of them.
 */
function readChunks(bytes: Buffer, file: string): { before: Chunk[]; deflated: Buffer; doubtful: boolean } {
  if (!bytes.subarray(0, PNG_MAGIC.length).equals(PNG_MAGIC)) {
    const got = bytes.length ? `bytes ${bytes.toString('hex', 0, PNG_MAGIC.length)}` : 'an empty file';
    throw refuse(file, 'a PNG signature', got, 'convert the picture to PNG');
  }
  const before: Chunk[] = [];
  let at = PNG_MAGIC.length;
  for (; chunkType(bytes, at) !== 'IDAT'; at += before.at(-1)!.whole.length) {
    if (before.length === MAX_CHUNKS) throw damaged(file, `at most ${MAX_CHUNKS} chunks`, 'more');
    before.push(readChunk(bytes, at, file));
  }
  const bodies: Buffer[] = [];
  let doubtful = false;
  for (; chunkType(bytes, at) === 'IDAT'; at += 12 + bytes.readUInt32BE(at)) {
    if (before.length + bodies.length === MAX_CHUNKS) throw damaged(file, `at most ${MAX_CHUNKS} chunks`, 'more');
    const end = at + 8 + bytes.readUInt32BE(at);
    bodies.push(bytes.subarray(at + 8, end));
    const summed = end + 4 <= bytes.length;
    doubtful ||= summed ? bytes.readUInt32BE(end) !== crc32(bytes.subarray(at + 4, end)) : end > bytes.length + ADLER;
  }
  return { before, deflated: Buffer.concat(bodies), doubtful };
}

/** The type of the chunk at a byte, empty past the file's end. */
function chunkType(bytes: Buffer, at: number): string {
  return bytes.toString('latin1', at + 4, at + 8);
}

/** The chunk at a byte: length u32, type of 4 letters, body, checksum u32 of type and body. */
function readChunk(bytes: Buffer, at: number, file: string): Chunk {
  const end = at + 12 + (at + 8 <= bytes.length ? bytes.readUInt32BE(at) : 0);
  if (end > bytes.length) throw damaged(file, `a PNG chunk from byte ${at} to ${end}`, `${bytes.length} bytes in all`);
  const whole = bytes.subarray(at, end);
  const type = chunkType(bytes, at);
  const stored = whole.readUInt32BE(whole.length - 4);
  const computed = crc32(whole.subarray(4, -4));
  if (stored !== computed) {
    throw damaged(file, `checksum ${stored} of chunk ${JSON.stringify(type)} at byte ${at}`, `${computed}`);
  }
  return { type, body: whole.subarray(8, -4), whole };
}

function chunk(type: string, body: Buffer): Buffer {
  const whole = Buffer.alloc(body.length + 12);
  whole.writeUInt32BE(body.length);
  whole.write(type, 4, 'latin1');
  whole.set(body, 8);
  whole.writeUInt32BE(crc32(whole.subarray(4, -4)), body.length + 8);
  return whole;
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

/** The palette with black for every colour that the file leaves out. */
function wholePalette(chunks: Chunk[], { depth }: Header, file: string): Buffer {
  const body = chunks.findLast(({ type }) => type === 'PLTE')?.body;
  if (!body || body.length % 3 || body.length > 3 * 256) {
    throw damaged(file, 'a palette of 1 to 256 colours', body ? `${body.length} bytes` : 'none');
  }
  const palette = Buffer.alloc(3 * 2 ** depth);
  body.copy(palette);
  return palette;
}

/**
 * The first bytes that zlib data inflate to, whatever follows them or is missing after them; doubtful data must be those
 * bytes and no others, with zlib's own checksum.
 */
async function inflate(deflated: Buffer, bytes: number, doubtful: boolean, file: string): Promise<Buffer> {
  const inflated = await inflateStart(deflated, bytes, doubtful).catch((cause: Error) => {
    throw damaged(file, `${bytes} bytes of pixel data`, cause.message, cause);
  });
  if (inflated.length < bytes) throw damaged(file, `${bytes} bytes of pixel data`, `${inflated.length}`);
  return inflated.subarray(0, bytes);
}

/** Some bytes, or all there are. One zlib call has room for no more of them, and so meets no fault further on. */
function inflateStart(deflated: Buffer, bytes: number, doubtful: boolean): Promise<Buffer> {
  if (bytes > MAX_INFLATION * deflated.length) return Promise.resolve(Buffer.alloc(0));
  const { Z_MIN_CHUNK, Z_FINISH, Z_SYNC_FLUSH } = constants;
  const finishFlush = doubtful ? Z_FINISH : Z_SYNC_FLUSH;
  const stream = createInflate({ chunkSize: Math.max(bytes, Z_MIN_CHUNK), finishFlush });
  const parts: Buffer[] = [];
  let length = 0;
  return new Promise((resolve, reject) => {
    const done = () => resolve(Buffer.concat(parts));
    stream.on('error', reject).on('end', done);
    stream.on('data', (part: Buffer) => {
      parts.push(part);
      length += part.length;
      if (length < bytes || (doubtful && length === bytes)) return;
      if (doubtful) reject(new Error(`${length} and a wrong checksum`));
      done();
      stream.destroy();
    });
    stream.end(deflated);
  });
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
async function decode(png: Buffer, file: string): Promise<Uint8Array | Uint16Array> {
  const { PNG } = await import('pngjs');
  try {
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

function damaged(file: string, expected: string, got: string, cause?: unknown): ImageError {
  return refuse(file, expected, got, 'the picture is damaged: save it anew as PNG', cause);
}
