// What the threads of the pool do; only pool.ts names these functions.
import type { MessagePort } from 'node:worker_threads';
import { move, transferableSymbol, valueSymbol } from 'piscina';
import { ImageError } from '../../runtime/errors.ts';
import type { Picture } from './image_file.ts';
import * as jobs from './jobs.ts';
import type { Patches } from './patches.ts';

/** Work of a thread. */
export interface Job {
  /** Told the size of the job's picture as soon as it is known. */
  readonly sized: MessagePort;
}

/** A job's result, or the message of its ImageError, whose class is lost between threads. */
export type Reply<T> = { readonly value: T } | { readonly refusal: string };

export function decode({ sized, ...job }: jobs.DecodeJob & Job): Promise<Reply<Picture>> {
  return reply(
    jobs.decode(job, (size) => sized.postMessage(size)),
    ({ data }) => data,
  );
}

export function cut({ sized, ...job }: jobs.PatchJob & Job): Promise<Reply<Patches>> {
  return reply(
    jobs.cut(job, (size) => sized.postMessage(size)),
    ({ pixels }) => pixels.data,
  );
}

/** A reply whose large array moves to the thread that asked, without a copy. */
async function reply<T>(work: Promise<T>, large: (value: T) => ArrayBufferView): Promise<Reply<T>> {
  try {
    const value = await work;
    return move({
      [transferableSymbol]: large(value).buffer,
      [valueSymbol]: { value },
    }) as unknown as Reply<T>;
  } catch (error) {
    if (error instanceof ImageError) return { refusal: error.message };
    throw error;
  }
}
