import { decode } from 'jpeg-js';
import type { ImageError } from '../../runtime/errors.ts';
import { asBuffer, checkSize, MAX_PIXELS, refuse, type Size } from './image_file.ts';
import type { RgbImage } from './patches.ts';
import { readOrientation } from './tiff_tags.ts';

const DHT = 0xc4;
const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;
const DQT = 0xdb;
const DRI = 0xdd;
const APP0 = 0xe0;
const APP1 = 0xe1;
const APP14 = 0xee;

/** Start-of-frame markers of what is decoded: baseline, extended and progressive Huffman coding. */
const PROGRESSIVE = 0xc2;
const FRAMES = [0xc0, 0xc1, PROGRESSIVE];
/** Markers among those of frames that start none. */
const NO_FRAMES = [DHT, 0xc8, 0xcc];
/** What jpeg-js is given of a file. */
const NEEDED = [...FRAMES, DHT, DQT, DRI, SOS];
/** What may follow 0xFF within a scan's data: a zero, another 0xFF, the restart markers. */
const IN_DATA = [0x00, 0xff, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7];

/** What jpeg-js may take for four components in the most pixels: 256 bytes a block and four copies of the samples. */
const MAX_MEGABYTES = 2048;
const MAX_SEGMENTS = 2 ** 16;

const SHARP_READS = 'only the package sharp reads: install sharp, or save it anew as PNG';

/** A marker and the bytes from it up to the segment's end, which include the data of a scan. */
interface Segment {
  marker: number;
  whole: Buffer;
}

/** How many samples a component has across and down where the others have `h` and `v` of theirs. */
interface Component {
  id: number;
  h: number;
  v: number;
}

/** What the frame header says; `h` and `v` are the largest of the components. */
interface Frame extends Size {
  progressive: boolean;
  components: Component[];
  h: number;
  v: number;
}

/** The size that a JPEG claims. Throws an ImageError naming `file` for all that shows without decoding. */
export function jpegSize(bytes: Uint8Array, file: string): Size {
  const { width, height } = readFrame(readSegments(bytes, file), file);
  return { width, height };
}

/** The orientation in the first EXIF segment, 1 without one. */
export function jpegOrientation(bytes: Uint8Array): number {
  const exif = readable(bytes).find((segment) => isApp(segment, APP1, 'Exif\0\0', 10));
  return exif ? readOrientation(exif.whole.subarray(10)) : 1;
}

/** How many scans a JPEG has: each takes a decoder the time of a whole picture, however few bytes it has. */
export function countScans(bytes: Uint8Array): number {
  return readable(bytes).filter(({ marker }) => marker === SOS).length;
}

/** The segments up to the end marker, or to the first that is damaged. */
function readable(bytes: Uint8Array): Segment[] {
  const read: Segment[] = [];
  try {
    for (const segment of segments(asBuffer(bytes), '')) read.push(segment);
  } catch {
    // what is damaged, the decoder says
  }
  return read;
}

/**
 * A JPEG as 8-bit RGB by jpeg-js, as Pillow's convert("RGB") gives it: grey repeated, CMYK as Adobe stores it, neither orientation
 * nor colour profile applied. Throws an ImageError naming `file` for damaged, truncated or unsupported data, and for
 * sizes past 65535 pixels a side or 2^26 in all before memory is taken for them.
 *
 * Pillow repairs some damaged data in silence where this refuses, and reads arithmetic coding. Deviation from Pillow in
 * levels on photo-like pictures of quality 50 to 92, of jpeg-js alone and of this; what is left comes from jpeg-js'
 * inverse DCT, which rounds up to one level apart from libjpeg's:
 *
 *              jpeg-js: largest  mean  p99    here: largest  mean  p99
 *   4:4:4                     4  0.55    2                3  0.11    2
 *   4:2:2                    71  1.85   13                3  0.12    2
 *   4:4:0                    87  1.88   14                3  0.12    2
 *   4:2:0                    91  2.67   19                3  0.12    2
 *   grey                      1  0.05    1                1  0.05    1
 *   RGB                     255 87.43  218                1  0.05    1
 *   CMYK                      2  0.25    1                2  0.25    1
 *
 * Refused, with sharp named as what reads them: CMYK with subsampling, whose samples jpeg-js repeats; progressive files
 * without their last scans, whose blocks libjpeg smooths; and what jpeg-js cannot read, such as some pictures with restart
 * markers that have several scans or are grey with sampling factors above 1, or those without Huffman tables.
 */
export function decodeJpeg(bytes: Uint8Array, file: string): RgbImage {
  const segments = readSegments(bytes, file);
  const frame = readFrame(segments, file);
  const data = decodeSamples(segments, frame, file);
  if (frame.components.length === 3) {
    const planes = frame.components.map((component, i) => upsample(data, i, component, frame));
    for (const [i, plane] of planes.entries()) {
      for (let from = 0, to = i; from < plane.length; from += 1, to += 3) data[to] = plane[from]!;
    }
    if (!isRgb(segments, frame)) toRgb(data);
  }
  return { width: frame.width, height: frame.height, data };
}

/** The segments up to the end marker, each whole; bytes between them are passed over as libjpeg does. */
function readSegments(bytes: Uint8Array, file: string): Segment[] {
  const jpeg = asBuffer(bytes);
  if (jpeg[0] !== 0xff || jpeg[1] !== SOI) {
    const got = jpeg.length > 0 ? `bytes ${jpeg.toString('hex', 0, 2)}` : 'an empty file';
    throw refuse(file, 'a JPEG start marker', got, 'convert the picture to JPEG or PNG');
  }
  const read: Segment[] = [];
  for (const segment of segments(jpeg, file)) {
    if (read.length === MAX_SEGMENTS) throw damaged(file, `at most ${MAX_SEGMENTS} segments`, 'more');
    read.push(segment);
  }
  return read;
}

function* segments(jpeg: Buffer, file: string): Generator<Segment> {
  for (let at = nextMarker(jpeg, 2, file); jpeg[at + 1] !== EOI; ) {
    const segment = readSegment(jpeg, at, file);
    yield segment;
    at = nextMarker(jpeg, at + segment.whole.length, file);
  }
}

/** The segment at a byte: 0xFF, marker, length u16 of what follows; after that of a scan its data. */
function readSegment(jpeg: Buffer, at: number, file: string): Segment {
  const marker = jpeg[at + 1]!;
  const length = at + 4 <= jpeg.length ? jpeg.readUInt16BE(at + 2) : 0;
  const end = at + 2 + length;
  if (length < 2 || end > jpeg.length) {
    const got = `${length} of ${jpeg.length - at - 2}`;
    throw damaged(file, `the length of segment ${marker.toString(16)} at byte ${at} within the file`, got);
  }
  return { marker, whole: jpeg.subarray(at, marker === SOS ? nextMarker(jpeg, end, file) : end) };
}

/** Where the next marker's 0xFF is, past fill bytes, data bytes 0xFF (a zero follows) and restart markers. */
function nextMarker(jpeg: Buffer, from: number, file: string): number {
  let at = jpeg.indexOf(0xff, from);
  while (at >= 0 && IN_DATA.includes(jpeg[at + 1]!)) at = jpeg.indexOf(0xff, at + 1);
  if (at < 0 || at + 1 === jpeg.length) throw damaged(file, 'an end-of-image marker', `none in ${jpeg.length} bytes`);
  return at;
}

/** The one frame header, checked to be one that is decoded and to have data enough for its size. */
function readFrame(segments: Segment[], file: string): Frame {
  const frames = segments.filter(({ marker }) => marker >> 4 === 0xc && !NO_FRAMES.includes(marker));
  if (frames.length !== 1) throw damaged(file, 'one frame header', `${frames.length}`);
  const { marker, whole } = frames[0]!;
  if (!FRAMES.includes(marker)) throw unsupported(file, 'a baseline or progressive JPEG', coding(marker));
  const count = whole[9] ?? 0;
  if (whole.length !== 10 + 3 * count) {
    throw damaged(file, `a frame header of ${10 + 3 * count} bytes`, `${whole.length}`);
  }
  if (whole[4] !== 8) throw unsupported(file, '8 bits a sample', `${whole[4]}`);
  const size = { width: whole.readUInt16BE(7), height: whole.readUInt16BE(5) };
  checkSize(size, file);
  const progressive = marker === PROGRESSIVE;
  const frame = { ...size, progressive, ...readComponents(whole.subarray(10), file) };
  checkData(segments, frame, file);
  if (progressive) checkComplete(segments, frame, file);
  return frame;
}

function coding(frame: number): string {
  if (frame > 0xc8) return 'an arithmetic-coded one';
  return frame === 0xc3 ? 'a lossless one' : 'a hierarchical one';
}

/** Three bytes for each component: identifier, sampling factors across and down in four bits each, table. */
function readComponents(bytes: Buffer, file: string): Pick<Frame, 'components' | 'h' | 'v'> {
  const components = Array.from({ length: bytes.length / 3 }, (_, i) => {
    const factors = bytes[3 * i + 1]!;
    return { id: bytes[3 * i]!, h: factors >> 4, v: factors & 15 };
  });
  const ids = components.map(({ id }) => id);
  if (![1, 3, 4].includes(ids.length)) throw unsupported(file, '1, 3 or 4 components', `${ids.length}`);
  if (new Set(ids).size < ids.length) throw damaged(file, 'components of distinct numbers', ids.join(', '));
  const h = Math.max(...components.map((component) => component.h));
  const v = Math.max(...components.map((component) => component.v));
  if (!components.every((component) => divides(component.h, h) && divides(component.v, v))) {
    const got = components.map((component) => `${component.h}x${component.v}`).join(', ');
    throw unsupported(file, 'sampling factors of 1 to 4 that divide the largest', got);
  }
  if (ids.length === 4 && components.some((component) => component.h < h || component.v < v)) {
    throw unsupported(file, 'CMYK without subsampling', 'CMYK with it');
  }
  return { components, h, v };
}

const divides = (factor: number, largest: number) => largest <= 4 && largest % factor === 0;

/** A header can claim any size: each block of 8 x 8 samples takes at least one bit of data. */
function checkData(segments: Segment[], frame: Frame, file: string): void {
  const scans = segments.filter(({ marker }) => marker === SOS);
  const bytes = scans.reduce((total, { whole }) => total + whole.length, 0);
  const blocks = frame.components.reduce((total, component) => {
    const { width, height } = sampleSize(component, frame);
    return total + Math.ceil(width / 8) * Math.ceil(height / 8);
  }, 0);
  const expected = Math.ceil(blocks / 8);
  if (bytes < expected) throw damaged(file, `at least ${expected} bytes of scans`, `${bytes}`);
}

/** A progressive file may lack scans: each has some components' coefficients from one to another, up to the bit `low`. */
function checkComplete(segments: Segment[], { components }: Frame, file: string): void {
  const missing = new Map(components.map(({ id }) => [id, new Set(Array(64).keys())]));
  for (const { whole } of segments.filter(({ marker }) => marker === SOS)) {
    const [first, last, bits] = whole.subarray(5 + 2 * whole[4]!);
    if (bits! & 15) continue;
    for (let i = 0; i < whole[4]!; i++) {
      for (let k = first!; k <= last!; k++) missing.get(whole[5 + 2 * i]!)?.delete(k);
    }
  }
  const lacking = [...missing.values()].filter(({ size }) => size > 0).length;
  if (lacking)
    throw unsupported(file, 'a progressive JPEG with all of its scans', `${lacking} components without some`);
}

function sampleSize({ h, v }: Component, frame: Frame): Size {
  return { width: Math.ceil((frame.width * h) / frame.h), height: Math.ceil((frame.height * v) / frame.v) };
}

/**
 * What jpeg-js makes of a picture without its own colour conversion, [height, width, 3]: grey repeated; three components
 * as they are stored, those of fewer samples repeated; four already as RGB.
 */
function decodeSamples(segments: Segment[], { width, height, components }: Frame, file: string): Uint8Array {
  const parts = segments.filter(({ marker }) => NEEDED.includes(marker)).map(({ whole }) => whole);
  if (components.length === 4) parts.unshift(adobeSegment(adobeTransform(segments) ?? 0));
  const jpeg = Buffer.concat([Buffer.of(0xff, SOI), ...parts, Buffer.of(0xff, EOI)]);
  let image: Size & { data: Uint8Array };
  try {
    image = decode(jpeg, {
      useTArray: true,
      colorTransform: false,
      formatAsRGBA: false,
      maxResolutionInMP: MAX_PIXELS / 1e6,
      maxMemoryUsageInMB: MAX_MEGABYTES,
    });
  } catch (cause) {
    // jpeg-js looks up tables and components without a check
    const missing = cause instanceof TypeError && 'a scan whose table or component is missing';
    throw damaged(file, 'valid JPEG data', missing || (cause as Error).message, cause);
  }
  if (image.width !== width || image.height !== height) {
    throw damaged(file, `${width} x ${height} pixels`, `${image.width} x ${image.height}`);
  }
  return image.data;
}

/** The colour transform that the Adobe segment names: 0 none, 1 to RGB, 2 to CMYK; undefined without that segment. */
function adobeTransform(segments: Segment[]): number | undefined {
  return segments.findLast((segment) => isApp(segment, APP14, 'Adobe', 16))?.whole[15];
}

function adobeSegment(transform: number): Buffer {
  return Buffer.from([0xff, APP14, 0, 14, ...Buffer.from('Adobe'), 0, 100, 0, 0, 0, 0, transform]);
}

/** Whether three components are red, green and blue, by libjpeg's rules. */
function isRgb(segments: Segment[], { components }: Frame): boolean {
  if (segments.some((segment) => isApp(segment, APP0, 'JFIF\0', 18))) return false;
  const transform = adobeTransform(segments);
  return transform === undefined ? String.fromCharCode(...components.map(({ id }) => id)) === 'RGB' : transform === 0;
}

function isApp({ marker, whole }: Segment, app: number, name: string, length: number): boolean {
  return marker === app && whole.length >= length && whole.toString('latin1', 4, 4 + name.length) === name;
}

/** Component i of [height, width, 3] repeated samples at full size, as libjpeg would have made it of the samples. */
function upsample(data: Uint8Array, i: number, component: Component, frame: Frame): Uint8Array {
  const dx = frame.h / component.h;
  const dy = frame.v / component.v;
  const { width, height } = sampleSize(component, frame);
  const smooth = dx === 2 ? dy <= 2 && width > 2 : dx === 1 && dy === 2;
  if (!smooth) return pick(data, i, frame, 1, 1);
  return interpolate(pick(data, i, frame, dx, dy), { width, height }, dx, dy, frame);
}

/** Component i of every dx-th column of every dy-th row. */
function pick(data: Uint8Array, i: number, { width, height }: Size, dx: number, dy: number): Uint8Array {
  const plane = new Uint8Array(Math.ceil(width / dx) * Math.ceil(height / dy));
  let at = 0;
  for (let y = 0; y < height; y += dy) {
    for (let x = 0; x < width; x += dx) plane[at++] = data[(y * width + x) * 3 + i]!;
  }
  return plane;
}

/**
 * libjpeg's "fancy" upsampling by 2 on one axis or both: 3/4 of the nearest sample and 1/4 of the next one on the same
 * side, per axis, with libjpeg's roundings.
 */
function interpolate(samples: Uint8Array, size: Size, dx: number, dy: number, full: Size): Uint8Array {
  const plane = new Uint8Array(full.width * full.height);
  const sums = new Uint16Array(size.width);
  const next = (at: number, count: number) => Math.min(Math.max((at >> 1) + (at & 1 ? 1 : -1), 0), count - 1);
  let to = 0;
  for (let y = 0; y < full.height; y++) {
    const near = Math.floor(y / dy) * size.width;
    const far = next(y, size.height) * size.width;
    for (let x = 0; x < size.width; x++) {
      sums[x] = dy === 1 ? samples[near + x]! : 3 * samples[near + x]! + samples[far + x]!;
    }
    for (let x = 0; x < full.width; x++) {
      if (dx === 1) plane[to++] = (sums[x]! + 1 + (y & 1)) >> 2;
      else {
        const sum = 3 * sums[x >> 1]! + sums[next(x, size.width)]!;
        plane[to++] = dy === 1 ? (sum + 1 + (x & 1)) >> 2 : (sum + 8 - (x & 1)) >> 4;
      }
    }
  }
  return plane;
}

/** YCbCr to RGB in place, with libjpeg's 16-bit fixed point. */
function toRgb(data: Uint8Array): void {
  const rgb = new Uint8ClampedArray(data.buffer, data.byteOffset, data.length);
  for (let at = 0; at < rgb.length; at += 3) {
    const y = rgb[at]!;
    const cb = rgb[at + 1]! - 128;
    const cr = rgb[at + 2]! - 128;
    rgb[at] = y + ((91_881 * cr + 32_768) >> 16);
    rgb[at + 1] = y + ((-22_554 * cb - 46_802 * cr + 32_768) >> 16);
    rgb[at + 2] = y + ((116_130 * cb + 32_768) >> 16);
  }
}

function damaged(file: string, expected: string, got: string, cause?: unknown): ImageError {
  return refuse(file, expected, got, `the picture is damaged, or is one that ${SHARP_READS}`, cause);
}

function unsupported(file: string, expected: string, got: string): ImageError {
  return refuse(file, expected, got, `it is one that ${SHARP_READS}`);
}
