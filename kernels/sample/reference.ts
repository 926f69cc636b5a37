import { nucleusUnits, type Sampling } from './settings.ts';

/**
 * The token for a number u in [0, 1), in float64: p_i = exp((x_i - max x) / temperature) to the nearest 2^-46, of the topK
 * largest the fewest whose share is at least topP, ties by index; then the first token in index order whose cumulative p
 * exceeds u of the sum. The steps of 2^-46 are those of sample(): without them a long tail of equal logits would add up
 * differently there.
 */
export function chooseToken(logits: Float32Array, { temperature, topK, topP }: Sampling, u: number): number {
  const sorted = Float64Array.from(logits).sort().reverse();
  const greedy = temperature === 0;
  const weight = (x: number) => (greedy ? 1 : Math.round(Math.exp((x - sorted[0]!) / temperature) * 2 ** 46));
  const candidates = sorted.subarray(0, greedy ? 1 : topK || sorted.length);
  const [kept, total] = nucleus(candidates.map(weight), topP);
  const threshold = candidates[kept - 1]!;
  let ties = kept - candidates.indexOf(threshold);
  let last = 0;
  const sum = new Sum();
  for (const [i, x] of logits.entries()) {
    if (x < threshold || (x === threshold && ties-- <= 0)) continue;
    last = i;
    if (sum.add(weight(x)) > u * total) break;
  }
  return last;
}

/** How many of these weights, in descending order, are the fewest whose share is at least topP, and their sum. */
function nucleus(weights: Float64Array, topP: number): [number, number] {
  const needed = addAll(weights) * (nucleusUnits(topP) / 2 ** 32);
  const sum = new Sum();
  const at = weights.findIndex((w) => sum.add(w) >= needed);
  const kept = at < 0 ? weights.length : at + 1;
  return [kept, addAll(weights.subarray(0, kept))];
}

function addAll(weights: Float64Array): number {
  const sum = new Sum();
  return weights.reduce((_, w) => sum.add(w), 0);
}

/** A running sum that stays within 2^-52 of the exact one however long it is (Kahan 1965). */
class Sum {
  #sum = 0;
  #excess = 0;

  add(value: number): number {
    const corrected = value - this.#excess;
    const sum = this.#sum + corrected;
    this.#excess = sum - this.#sum - corrected;
    this.#sum = sum;
    return sum;
  }
}
