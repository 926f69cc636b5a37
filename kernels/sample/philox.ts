import type { HostTensor } from '../../runtime/index.ts';

/** Philox 4x32-10 (Salmon, Moraes, Dror and Shaw 2011): 128 random bits of a 128-bit counter and a 64-bit key. */
export function philox(counter: readonly number[], key: readonly number[]): Uint32Array {
  const c = Uint32Array.from(counter);
  const k = Uint32Array.from(key);
  for (let round = 0; round < 10; round++) {
    const a = BigInt(c[0]!) * 0xd2511f53n;
    const b = BigInt(c[2]!) * 0xcd9e8d57n;
    const high = (x: bigint) => Number(x >> 32n);
    c.set([high(b) ^ c[1]! ^ k[0]!, Number(b & 0xffffffffn), high(a) ^ c[3]! ^ k[1]!, Number(a & 0xffffffffn)]);
    k[0]! += 0x9e3779b9;
    k[1]! += 0xbb67ae85;
  }
  return c;
}

/** The number u of 53 bits in [0, 1) that belongs to a step of an answer. */
export function uniformNumber(seed: number, step: number): number {
  const [low, high] = randomWords(seed, step).data as Uint32Array;
  return (high! * 2 ** 21 + (low! >>> 11)) / 2 ** 53;
}

/** What a decode loop draws its step by, u32 [4]: floor(2^64 u) with that u, its low and its high word, the seed, and the step. */
export function randomWords(seed: number, step: number): HostTensor {
  const [high, low] = philox([step, 0, 0, 0], [seed, 0]);
  return { shape: [4], dtype: 'u32', data: Uint32Array.of(low! & 0xfffff800, high!, seed, step) };
}
