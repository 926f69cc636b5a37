import type { HostTensor } from '../../runtime/index.ts';
import type { OpSpec, Random } from '../spec.ts';
import { randomWords, uniformNumber } from './philox.ts';
import { chooseToken } from './reference.ts';
import { sample, variants } from './sample.ts';
import { type Sampling, settingsTensor } from './settings.ts';

/** Normal values; three different values; all the same; huge values, some masked; values that hardly differ. */
const LOGITS = {
  normal: (random: Random) => 3 * random.normal(),
  ties: (random: Random) => random.below(3),
  flat: () => -7,
  huge: (random: Random) => (random.below(4) === 0 ? -1e30 : 1e6 * random.normal()),
  tiny: (random: Random) => 1e-3 * random.normal(),
};

type SampleCase = Sampling & { n: number; logits: keyof typeof LOGITS; step: number; quick?: boolean };

const SEED = 20260801;
/** What argmax says beside the index, handed on. */
const STRAYS = 3;
const plain = { temperature: 0.8, topK: 50, topP: 0.95, step: 0, logits: 'normal' as const };
const every = Object.keys(LOGITS) as (keyof typeof LOGITS)[];

/** A drawn token against the float64 sampler with the same random number. */
export const spec: OpSpec<SampleCase> = {
  name: 'sample',
  formula: 'y = min { i : sum_{j <= i, j kept} p_j > u sum_{j kept} p_j }, p = exp((x - max x) / temperature)',
  variants,
  cases: [
    { ...plain, n: 1, quick: true },
    { ...plain, n: 257, topK: 0, quick: true },
    { ...plain, n: 1025, logits: 'ties', topK: 0, topP: 0.5, quick: true },
    { ...plain, n: 100352, quick: true },
    { ...plain, n: 100352, logits: 'flat', topK: 0, step: 4095, quick: true },
    ...[2, 101, 255, 256, 257, 1023, 1024, 1025, 100351, 131072].flatMap((n) =>
      every.map((logits, step) => ({ ...plain, n, logits, step, topK: step % 2 === 0 ? 0 : 50 })),
    ),
    ...[0, 1e-3, 0.1, 1, 5, 1e9].map((temperature) => ({ ...plain, n: 4099, temperature, topK: 0 })),
    ...[0, 1, 2, 1000, 5000].map((topK) => ({ ...plain, n: 4099, topK, topP: 1, logits: 'tiny' as const })),
    ...[1e-12, 0.1, 0.5, 0.999, 1].map((topP) => ({ ...plain, n: 4099, topP, topK: 0, logits: 'tiny' as const })),
  ],
  bench: [{ ...plain, n: 100352 }],
  inputs: ({ n, logits, step, ...sampling }, random) => {
    const x = Float32Array.from({ length: n }, () => LOGITS[logits](random));
    return {
      logits: { shape: [1, n], dtype: 'f32', data: x },
      largest: parts(x.indexOf(x.reduce((a, b) => Math.max(a, b)))),
      settings: settingsTensor(sampling),
      random: randomWords(SEED, step),
    };
  },
  record: (g, { logits, largest, settings, random }) =>
    sample(g, logits!, { largest: largest!, settings: settings!, random: random! }),
  reference: ({ logits }, { step, ...sampling }) =>
    Float64Array.of(chooseToken(logits!.data as Float32Array, sampling, uniformNumber(SEED, step)), STRAYS),
  tolerance: () => ({ atol: 0, rtol: 0 }),
};

/** What argmax says of two parts, the second with the largest. */
function parts(largest: number): HostTensor {
  return { shape: [2, 3], dtype: 'u32', data: Uint32Array.of(0, STRAYS - 1, 1, largest, 1, 2) };
}
