import type { HostTensor } from '../../runtime/index.ts';

/** How a token is drawn. */
export type Sampling = {
  /** Logits are divided by it; 0 takes the largest. */
  temperature: number;
  /** Only the largest topK logits count; 0: all. */
  topK: number;
  /** Only the fewest largest whose probability reaches it count; 1: all. */
  topP: number;
};

/** Words of a settings tensor. */
export const SETTINGS = 6;

/** topP in 2^-32, cut: 0.1 is then no more than a tenth, so that one of ten equal logits is enough for it. */
export function nucleusUnits(topP: number): number {
  return Math.max(1, Math.floor(topP * 2 ** 32));
}

/** The settings that the kernels of sample() read, u32 [6]; temperature >= 0, topK u32, 0 < topP <= 1. */
export function settingsTensor({ temperature, topK, topP }: Sampling): HostTensor {
  const greedy = temperature === 0;
  const rate = greedy ? 1 : Math.min(Math.LOG2E / temperature, 2 ** 100); // half-lives of the weight per unit of logit
  let exponent = Math.floor(Math.log2(rate)) + 1;
  if (rate / 2 ** exponent >= 1) exponent++;
  const mantissa = BigInt(Math.floor((rate / 2 ** exponent) * 2 ** 53)) << 11n; // rate = mantissa 2^(exponent - 64)
  const halfCutoff = Float32Array.of(Math.min(32 / rate, 3e38)); // a weight of 2^-64 is 0
  const data = Uint32Array.of(
    Number(mantissa & 0xffffffffn),
    Number(mantissa >> 32n),
    exponent + 50,
    new Uint32Array(halfCutoff.buffer)[0]!,
    greedy ? 1 : topK,
    2 ** 32 - nucleusUnits(topP),
  );
  return { shape: [SETTINGS], dtype: 'u32', data };
}
