import type sharp from 'sharp';
import { ImageError } from '../../runtime/errors.ts';
import { contains, fillAround, opaqueGif } from './gif.ts';
import { checkSize, MAX_PIXELS, type Picture, refuse, type Size, timeLimit } from './image_file.ts';
import { countScans, jpegOrientation } from './jpeg.ts';
import type { RgbImage } from './patches.ts';
import { cleanPng, pngOrientation } from './png.ts';
import { COMPRESSION, PHOTOMETRIC, readOrientation, readTags } from './tiff_tags.ts';
import { turnUpright } from './upright.ts';

type Sharp = typeof sharp;

/** Formats that sharp decodes here. */
export type PictureFormat = 'png' | 'jpeg' | 'webp' | 'gif' | 'tiff' | 'avif';

/** libjpeg's warnings of what every viewer passes over; its others are of lost data. */
const HARMLESS = /extraneous bytes before marker|Invalid SOS parameters|Adobe color transform|JFIF revision/;

/** More scans than any encoder makes, and few enough to end in time: libjpeg cannot be stopped between them. */
const MAX_SCANS = 100;

/** Photometric interpretations of TIFF that sharp gives as they are: white or black is zero, RGB, palette, CMYK. */
const TIFF_COLOURS = [0, 1, 2, 3, 5];
const YCBCR = 6;
const JPEG_IN_TIFF = 7;

/** What sharp calls grey and RGB. */
const GREY = ['b-w', 'grey16'];
const RGB = ['srgb', 'rgb16'];

/** The arrays that hold what sharp calls a depth. */
const ARRAYS: Readonly<Record<string, new (buffer: ArrayBufferLike) => ArrayLike<number>>> = {
  uchar: Uint8Array,
  ushort: Uint16Array,
  short: Int16Array,
  uint: Uint32Array,
  int: Int32Array,
  float: Float32Array,
};

/** Values of a picture as its file has them, [height, width, channels]. */
interface Raw extends Size {
  channels: number;
  space: string;
  depth: string;
  values: ArrayLike<number>;
}

/** A file's bytes, its name in errors, and who is told the picture's size before it is decoded. */
interface Source {
  bytes: Buffer;
  file: string;
  sized: (size: Size) => void;
}

/** What sharp is to do with a file. */
interface Job extends Source {
  sharp: Sharp;
  /** How wrong data may be: libtiff warns of every private tag. */
  failOn: 'truncated' | 'error' | 'warning';
}

/** sharp where it is installed for this machine; else undefined. */
export async function loadSharp(): Promise<Sharp | undefined> {
  return import('sharp').then(
    (module) => module.default,
    () => undefined,
  );
}

/**
 * A picture as 8-bit RGB by sharp, in threads of its own, as Pillow's convert("RGB") gives it: alpha dropped, grey
 * repeated and clipped to 255 where it has more bits, other 16-bit values cut to their high byte, CMYK multiplied out, no
 * colour profile applied. TIFF comes upright, as from Pillow, and so does AVIF, whose chroma the decoder interpolates in
 * its own way. Throws an ImageError naming the file for what is damaged, truncated, too large or too slow.
 */
export async function decodeNative(sharp: Sharp, format: PictureFormat, source: Source): Promise<Picture> {
  return DECODERS[format]({ sharp, ...source, failOn: 'warning' });
}

const DECODERS: Record<PictureFormat, (job: Job) => Promise<Picture>> = {
  png: async (job) => {
    const { raw } = await decode({ ...job, bytes: await cleanPng(job.bytes, job.file) });
    return { ...toRgb(raw, job), orientation: pngOrientation(job.bytes) };
  },
  jpeg: async (job) => {
    const scans = countScans(job.bytes);
    if (scans > MAX_SCANS) throw damaged(job.file, `a JPEG of at most ${MAX_SCANS} scans`, `${scans}`);
    const { raw } = await decode(job).catch((error: Error) => {
      if (!HARMLESS.test(error.message)) throw error;
      return decode({ ...job, failOn: 'truncated' });
    });
    return { ...toRgb(raw, job), orientation: jpegOrientation(job.bytes) };
  },
  webp: async (job) => {
    const { raw, orientation } = await decode(job);
    return { ...toRgb(raw, job), orientation };
  },
  gif: async (job) => {
    const opaque = opaqueGif(job.bytes);
    if (!opaque) throw damaged(job.file, 'a GIF with a picture', 'one that ends before it');
    const { raw } = await decode({ ...job, bytes: opaque.gif });
    const picture = toRgb(raw, job);
    if (!contains(picture, opaque.frame)) throw damaged(job.file, 'a GIF that holds its frame', 'a smaller one');
    fillAround(picture, opaque.frame);
    return { ...picture, orientation: 1 };
  },
  tiff: async (job) => {
    checkTiffColours(job);
    const { raw } = await decode({ ...job, failOn: 'error' });
    return turnUpright({ ...toRgb(raw, job), orientation: readOrientation(job.bytes) });
  },
  avif: async (job) => {
    const { raw } = await decode(job);
    return { ...toRgb(raw, job), orientation: 1 };
  },
};

/** sharp makes RGB of neither Lab nor YCbCr, unless the latter is within JPEG data. */
function checkTiffColours({ bytes, file }: Job): void {
  const tags = readTags(bytes);
  const colours = tags.get(PHOTOMETRIC) ?? -1;
  if (TIFF_COLOURS.includes(colours) || (colours === YCBCR && tags.get(COMPRESSION) === JPEG_IN_TIFF)) return;
  throw refuse(file, 'a TIFF in grey, RGB, CMYK or JPEG', `photometric interpretation ${colours}`, 'convert it to PNG');
}

/** The values of a file's first picture without any conversion, of 8-bit grey or RGB as RGB alone, and its EXIF orientation where sharp knows it. */
async function decode({ sharp, bytes, file, sized, failOn }: Job): Promise<{ raw: Raw; orientation: number }> {
  const options = { failOn, ignoreIcc: true };
  try {
    const {
      width,
      height,
      space,
      depth,
      orientation = 1,
    } = await sharp(bytes, { ...options, limitInputPixels: false }).metadata();
    checkSize({ width, height }, file);
    sized({ width, height });
    if (!ARRAYS[depth]) throw refuse(file, 'a picture of 8, 16 or 32 bits a value', depth, 'convert it to PNG');
    const image = sharp(bytes, { ...options, limitInputPixels: MAX_PIXELS })
      .timeout({ seconds: Math.ceil(timeLimit({ width, height }) / 1000) })
      .pipelineColourspace(space)
      .raw({ depth });
    const plain = depth === 'uchar' && [...GREY, ...RGB].includes(space); // sharp drops alpha and repeats grey of 8 bits
    const stored = plain ? image.removeAlpha().toColourspace('srgb') : image.toColourspace(space);
    const { data, info } = await stored.toBuffer({ resolveWithObject: true });
    const values = new ARRAYS[depth]!(data.buffer.slice(data.byteOffset, data.byteOffset + data.length));
    return {
      raw: { width: info.width, height: info.height, channels: info.channels, space, depth, values },
      orientation,
    };
  } catch (error) {
    if (error instanceof ImageError) throw error;
    throw damaged(file, 'a whole picture', [...new Set((error as Error).message.split('\n'))].join(', '), error);
  }
}

/** Values as they are stored to 8-bit RGB. */
function toRgb(raw: Raw, { file }: Job): RgbImage {
  const { width, height, channels, space, depth, values } = raw;
  const size = { width, height };
  if (depth === 'uchar' && space === 'cmyk') return { ...size, data: fromCmyk(values, channels) };
  const known = GREY.includes(space) || (RGB.includes(space) && ['uchar', 'ushort'].includes(depth));
  if (!known) throw refuse(file, 'a picture in grey, RGB or CMYK', `${space} of ${depth}`, 'convert it to PNG');
  if (depth === 'uchar') return { ...size, data: values as Uint8Array };
  const data = new Uint8ClampedArray(width * height * 3);
  // Pillow has a mode for grey of many bits, and none for such grey with alpha or for such RGB
  const level: (value: number) => number = depth === 'ushort' && channels > 1 ? (value) => value >> 8 : Math.trunc;
  const step = channels < 3 ? 0 : 1;
  for (let from = 0, to = 0; to < data.length; from += channels, to += 3) {
    for (let c = 0; c < 3; c++) data[to + c] = level(values[from + c * step]!);
  }
  return { ...size, data: new Uint8Array(data.buffer) };
}

/** Ink to light: (255 - ink) (255 - black) / 255, rounded as Pillow does. */
function fromCmyk(inks: ArrayLike<number>, channels: number): Uint8Array {
  const data = new Uint8Array((inks.length / channels) * 3);
  for (let from = 0, to = 0; to < data.length; from += channels, to += 3) {
    const light = 255 - inks[from + 3]!;
    for (let c = 0; c < 3; c++) data[to + c] = light - Math.round((inks[from + c]! * light) / 255);
  }
  return data;
}

function damaged(file: string, expected: string, got: string, cause?: unknown): ImageError {
  return refuse(file, expected, got, 'the picture is damaged: save it anew', cause);
}
