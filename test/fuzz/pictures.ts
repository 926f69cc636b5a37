import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32, deflateSync, inflateSync } from 'node:zlib';
import type { Random } from '../../kernels/spec.ts';
import { processImage, readImage } from '../../model/index.ts';
import { TINY } from '../bench.ts';
import { mutateBytes } from './mutate.ts';
import { outcome, pick, type RunCase } from './target.ts';

const LIMITS = { minPatches: 256, maxPatches: 3600, patch: 16 };
const SIGNATURE_BYTES = 8;

/** Mutated pictures, from the file to patches, with sharp and without it. */
export async function pictures(): Promise<RunCase> {
  const files = ['png', 'jpeg', 'pictures']
    .map((name) => fileURLToPath(new URL(`../fixtures/${name}/`, import.meta.url)))
    .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
    .filter((path) => !path.endsWith('.json'));
  const originals = [...files, join(TINY, 'images/img1.png')].map((path) => ({ path, bytes: readFileSync(path) }));
  const dir = mkdtempSync(join(tmpdir(), 'daybreak-fuzz-'));
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
  const target = join(dir, 'picture');

  return async (random, note) => {
    const { path, bytes } = pick(random, originals);
    note(path);
    const change = path.endsWith('.png') && random.below(4) ? mutateChunks : mutateBytes;
    writeFileSync(target, change(bytes, random));
    process.env.DAYBREAK_IMAGE = random.below(2) ? 'js' : 'sharp';
    return outcome(async () => {
      const { grid, pixels } = processImage(await readImage(target), LIMITS);
      const patches = grid.rows * grid.cols;
      if (patches > LIMITS.maxPatches) throw new Error(`${patches} patches`);
      if (!(pixels.data as Float32Array).every((value) => value >= -1 && value <= 1))
        throw new Error('pixels out of range');
    });
  };
}

/** A PNG with a changed chunk and right checksums; half of the pixel data are changed before compression. */
function mutateChunks(bytes: Buffer, random: Random): Buffer {
  const chunks: { type: Buffer; body: Buffer }[] = [];
  for (let at = SIGNATURE_BYTES; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    chunks.push({ type: bytes.subarray(at + 4, at + 8), body: bytes.subarray(at + 8, at + 8 + length) });
    at += 12 + length;
  }
  const chunk = pick(random, chunks);
  const inflated = `${chunk.type}` === 'IDAT' && chunks.filter(({ type }) => `${type}` === 'IDAT').length === 1;
  if (inflated && random.below(2)) chunk.body = deflateSync(mutateBytes(inflateSync(chunk.body), random));
  else if (random.below(8)) chunk.body = mutateBytes(chunk.body, random);
  else chunks.splice(random.below(chunks.length + 1), 0, ...(random.below(2) ? [chunk] : chunks.splice(0, 1)));
  const written = chunks.map(({ type, body }) => {
    const [length, sum, content] = [Buffer.alloc(4), Buffer.alloc(4), Buffer.concat([type, body])];
    length.writeUInt32BE(body.length);
    sum.writeUInt32BE(crc32(content));
    return Buffer.concat([length, content, sum]);
  });
  return Buffer.concat([bytes.subarray(0, SIGNATURE_BYTES), ...written]);
}
