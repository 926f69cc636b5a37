import { join } from 'node:path';
import { Random } from '../kernels/spec.ts';
import { decode, type Patches, type Phi4Vision, processImage, readImage, type Session } from '../model/index.ts';
import { TINY } from './bench.ts';

/** Random ids of text tokens. */
export function randomIds(seed: number, count: number): Uint32Array {
  return new Random(seed + 1).integers([count], 500).data as Uint32Array;
}

/** Ids behind each other. */
export function concat(...parts: Uint32Array[]): Uint32Array {
  return Uint32Array.from(parts.flatMap((part) => [...part]));
}

/** The first `count` tokens of an answer, which is computed `ahead` steps further where that is given. */
export async function tokensOf(session: Session, count: number, ahead?: number): Promise<number[]> {
  const tokens: number[] = [];
  for await (const { token } of decode(session, { steps: ahead ? 2 * ahead : count, ...(ahead && { ahead }) })) {
    tokens.push(token);
    if (tokens.length === count) break;
  }
  return tokens;
}

/** What a model that finds nothing again answers. */
export async function freshTokens(model: Promise<Phi4Vision>, ids: Uint32Array, steps: number): Promise<number[]> {
  const session = await (await model).session();
  await session.prefill(ids);
  const tokens = await tokensOf(session, steps);
  session.dispose();
  return tokens;
}

/** A picture of the tiny reference in patches, of which `limits` may allow fewer. */
export async function patchesOf({ config }: Phi4Vision, name: string, limits = {}): Promise<Patches> {
  const image = await readImage(join(TINY, 'images', name));
  return processImage(image, { ...config.image, ...limits, patch: config.vision.patch });
}
