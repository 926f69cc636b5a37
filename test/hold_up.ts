/** Runs work, and tells how long this thread was held up at most and how long it took; milliseconds. */
export async function holdUp(work: () => Promise<unknown>): Promise<{ longest: number; total: number }> {
  const started = performance.now();
  let [last, longest] = [started, 0];
  const tick = () => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  };
  const timer = setInterval(tick, 10);
  await work().finally(() => clearInterval(timer));
  tick();
  return { longest, total: last - started };
}
