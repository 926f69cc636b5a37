import { chooseToken, type Sampling } from '../kernels/index.ts';
import { NotFiniteError, PromptError } from '../runtime/index.ts';

/** Throws PromptError where a setting is out of range: temperature >= 0, topK an integer >= 0, 0 < topP <= 1, seed u32. */
export function checkSampling({ temperature, topK, topP, seed }: Sampling & { seed: number }): void {
  const isU32 = (value: number) => Number.isInteger(value) && value >= 0 && value < 2 ** 32;
  const require = (ok: boolean, what: string, expected: string, got: number, hint: string) => {
    if (!ok) throw new PromptError(`sampling: ${what}: expected ${expected}, got ${got}; ${hint}`);
  };
  const positive = Number.isFinite(temperature) && temperature >= 0;
  require(positive, 'temperature', 'a finite number >= 0', temperature, '0 takes the likeliest token');
  require(isU32(topK), 'topK', 'an integer from 0 to 2^32 - 1', topK, '0 keeps all tokens');
  require(topP > 0 && topP <= 1, 'topP', 'a number above 0 and at most 1', topP, '1 keeps all tokens');
  require(isU32(seed), 'seed', 'an integer from 0 to 2^32 - 1', seed, 'every such number gives its own answer');
}

/** The token that the settings draw from one row of logits for a number u in [0, 1); throws PromptError, NotFiniteError. */
export function sampleHost(logits: Float32Array, sampling: Sampling, u: number): number {
  checkSampling({ ...sampling, seed: 0 });
  const stray = logits.find((x) => !Number.isFinite(x));
  if (stray !== undefined)
    throw new NotFiniteError(`sampling: logits: expected finite numbers, got ${stray}; compute them in f32`);
  return chooseToken(logits, sampling, u);
}
