/** Signals so close together are one press of Ctrl-C: the terminal sends it, and npm and the starter each send it on. */
const PRESS_MILLIS = 200;

/** What an interrupted command exits with, as shells have it. */
export const INTERRUPTED = 130;

/** Calls back at each press of Ctrl-C, however many signals come of it. */
export function onInterrupt(pressed: () => void): { press: () => void } {
  let last = Number.NEGATIVE_INFINITY;
  const press = () => {
    const now = performance.now();
    if (now - last > PRESS_MILLIS) pressed();
    last = now;
  };
  process.on('SIGINT', press);
  return { press };
}

/** A signal that the first press of Ctrl-C aborts; the second ends the process. */
export function interruptible(): AbortSignal {
  const controller = new AbortController();
  onInterrupt(() => (controller.signal.aborted ? process.exit(INTERRUPTED) : controller.abort()));
  return controller.signal;
}
