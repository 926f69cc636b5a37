const DIRECTORY_ENTRY = 12;
const SHORT = 3;
const LONG = 4;

/** Tags that are looked at. */
export const COMPRESSION = 259;
export const PHOTOMETRIC = 262;
const ORIENTATION = 274;

/**
 * The whole numbers in the first directory of a TIFF file, or of an EXIF block, which is laid out as one: the first value
 * of each tag of 16 or 32 bits. Damaged parts are left out.
 */
export function readTags(tiff: Buffer): Map<number, number> {
  const little = tiff[0] === 0x49;
  const number = (at: number, bytes: number) => {
    if (at + bytes > tiff.length) return 0;
    return little ? tiff.readUIntLE(at, bytes) : tiff.readUIntBE(at, bytes);
  };
  const directory = number(4, 4);
  const tags = new Map<number, number>();
  for (let i = 0; i < number(directory, 2); i++) {
    const at = directory + 2 + i * DIRECTORY_ENTRY;
    const type = number(at + 2, 2);
    if (type === SHORT) tags.set(number(at, 2), number(at + 8, 2));
    else if (type === LONG) tags.set(number(at, 2), number(at + 8, 4));
  }
  return tags;
}

/** The orientation that a TIFF file or an EXIF block names, 1 (upright) where it names none of the eight. */
export function readOrientation(tiff: Buffer): number {
  const orientation = readTags(tiff).get(ORIENTATION) ?? 1;
  return orientation >= 1 && orientation <= 8 ? orientation : 1;
}
