/** The p-th quantile of samples, 0 <= p <= 1, between neighbours linearly. */
export function quantile(samples: readonly number[], p: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (sorted.length - 1) * p;
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? Number.NaN;
  return low + (high - low) * (at - Math.floor(at));
}

/** The middle sample. */
export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

/** The sum of samples. */
export function sum(samples: readonly number[]): number {
  return samples.reduce((a, b) => a + b, 0);
}

/** The result of a function and the wall milliseconds it took. */
export async function timed<T>(body: () => T | Promise<T>): Promise<{ result: T; millis: number }> {
  const start = performance.now();
  const result = await body();
  return { result, millis: performance.now() - start };
}
