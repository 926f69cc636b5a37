import { decodeFile, type PictureFile } from './decode_file.ts';
import type { Picture, Size } from './image_file.ts';
import { type ImageLimits, type Patches, processImage, type RgbImage } from './patches.ts';
import { turnUpright } from './upright.ts';

/** A picture file to decode, with sharp where `native`. */
export interface DecodeJob extends PictureFile {
  readonly native: boolean;
  readonly upright: boolean;
}

/** A picture to stretch and cut into patches. */
export interface PatchJob {
  readonly image: RgbImage;
  readonly limits: ImageLimits;
}

/** Decodes a picture file, whose size it tells as soon as it is known. */
export async function decode(job: DecodeJob, sized: (size: Size) => void): Promise<Picture> {
  const picture = await decodeFile(job, job.native, sized);
  return job.upright ? turnUpright(picture) : picture;
}

/** Makes a picture the vision tower's input; tells its size too. */
export async function cut({ image, limits }: PatchJob, sized: (size: Size) => void): Promise<Patches> {
  sized({ width: image.width, height: image.height });
  return processImage(image, limits);
}
