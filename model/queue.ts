import { orAborted } from '../runtime/index.ts';

/** Runs bodies one after the other, in the order in which they came. */
export class Queue {
  #last: Promise<unknown> = Promise.resolve();

  /** The result of a body; where the signal is aborted before its turn, it never runs and the signal's reason is thrown at once. */
  run<T>(body: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const before = this.#last;
    const result = orAborted(before, signal).then(() => {
      signal?.throwIfAborted();
      return body();
    });
    this.#last = Promise.allSettled([before, result]);
    return result;
  }
}
