/** Runs bodies in the order in which they came, one after the other or so many at once. */
export class Queue {
  #free: number;
  #waiting: (() => void)[] = [];

  constructor(atOnce = 1) {
    this.#free = atOnce;
  }

  /** The result of a body; where the signal is aborted before its turn, it never runs and the signal's reason is thrown at once. */
  async run<T>(body: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    if (this.#free > 0) this.#free--;
    else await this.#turn(signal);
    try {
      return await body();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }

  #turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const go = () => {
        signal?.removeEventListener('abort', leave);
        resolve();
      };
      const leave = () => {
        this.#waiting = this.#waiting.filter((other) => other !== go);
        reject(signal!.reason);
      };
      signal?.addEventListener('abort', leave, { once: true });
      this.#waiting.push(go);
    });
  }
}
