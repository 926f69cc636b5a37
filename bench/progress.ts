import { SingleBar } from 'cli-progress';

/** A progress bar with the time left. */
export interface ProgressBar {
  update(done: number, total: number): void;
  /** Prints lines above the bar. */
  above(print: () => void): void;
  stop(): void;
}

/** A progress bar on the terminal, with MB/s where it counts bytes; silent where the output is no terminal. */
export function progressBar(label: string, { bytes = false } = {}): ProgressBar {
  if (!process.stderr.isTTY) return { update() {}, above: (print) => print(), stop() {} };
  const bar = new SingleBar({
    format: `${label} {bar} {percentage}%${bytes ? ' {rate} MB/s' : ''} {eta_formatted} left`,
    hideCursor: true,
    clearOnComplete: true,
  });
  bar.start(1, 0, { rate: 0 });
  const start = performance.now();
  return {
    update(done, total) {
      bar.setTotal(total);
      bar.update(done, { rate: Math.round(done / (performance.now() - start) / 1000) });
    },
    above(print) {
      process.stderr.write('\r\x1b[K');
      print();
      bar.render();
    },
    stop: () => bar.stop(),
  };
}
