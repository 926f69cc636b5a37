import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { MessageChannel } from 'node:worker_threads';
import type { Piscina } from 'piscina';
import { ImageError } from '../../runtime/errors.ts';
import { programFile } from '../../runtime/program_file.ts';
import { Queue } from '../../runtime/queue.ts';
import { type Picture, refuse, type Size, timeLimit } from './image_file.ts';
import { cut, type DecodeJob, decode, type PatchJob } from './jobs.ts';
import type { Patches } from './patches.ts';
import type { Reply } from './worker.ts';

/** How a job is done; `file` names its picture in errors. */
export interface JobOptions {
  readonly file: string;
  /** Ends it with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Milliseconds it may take. */
  readonly limit?: (size: Size) => number;
}

/** Jobs at once: each may take the memory of a decoder and its picture. */
const THREADS = Math.min(availableParallelism(), 4);
const NO_SIZE = { width: 0, height: 0 };

/** Jobs wait here, and for no thread: in Piscina's own queue those that can be aborted lose their order. */
const queue = new Queue(THREADS);
let pool: Promise<Piscina | undefined> | undefined;

/** Decodes a picture file in a thread; throws as readImage does. */
export function decodeInPool(job: DecodeJob, options: JobOptions): Promise<Picture> {
  return untilAborted(options.signal, run('decode', job, options, decode));
}

/** Does the work of processImage in a thread; throws as that does. */
export function cutInPool(job: PatchJob, options: JobOptions): Promise<Patches> {
  return untilAborted(options.signal, run('cut', job, options, cut));
}

/** Runs a job when its turn comes. A thread that takes too long or has to stop is replaced; where there are none, this one does it. */
function run<J extends object, T>(
  name: 'decode' | 'cut',
  job: J,
  { file, signal, limit = timeLimit }: JobOptions,
  here: (job: J, sized: (size: Size) => void) => Promise<T>,
): Promise<T> {
  return queue.run(async () => {
    signal?.throwIfAborted();
    pool ??= startThreads();
    const threads = await pool;
    const fail = (got: string, cause?: unknown) =>
      refuse(file, 'a picture from the decoder', got, 'save it anew or resize it', cause);
    const stop = new AbortController();
    const late = (millis: number) =>
      setTimeout(() => stop.abort(fail(`none within ${millis / 1000} s`)), millis).unref(); // a size may come after the end
    let timer = late(limit(NO_SIZE));
    const { port1: sizes, port2: sized } = new MessageChannel();
    sizes.on('message', (size: Size) => {
      clearTimeout(timer);
      timer = late(limit(size));
    });
    try {
      const abort = AbortSignal.any(signal ? [signal, stop.signal] : [stop.signal]);
      if (!threads) return await here(job, () => {});
      const reply: Reply<T> = await threads.run({ ...job, sized }, { name, signal: abort, transferList: [sized] });
      if ('refusal' in reply) throw new ImageError(reply.refusal);
      return reply.value;
    } catch (error) {
      signal?.throwIfAborted();
      stop.signal.throwIfAborted();
      throw error instanceof ImageError ? error : fail((error as Error).message, error);
    } finally {
      clearTimeout(timer);
      sizes.close();
    }
  });
}

/**
 * The threads, which start when first needed, stay, and keep no process alive; none in a bundle, where their file is missing.
 * Piscina and not Tinypool: that one waits for ever for a thread that ends by itself, and may give a thread a job while it stops it.
 */
async function startThreads(): Promise<Piscina | undefined> {
  const worker = programFile(import.meta.url, 'image/pool', 'worker');
  if (!worker) return undefined;
  const { Piscina } = await import('piscina');
  const threads = new Piscina({
    filename: fileURLToPath(worker),
    execArgv: worker.pathname.endsWith('.ts') ? ['--import', typeScriptLoader()] : [], // none of the process's own
    minThreads: 1,
    maxThreads: THREADS,
    idleTimeout: Number.POSITIVE_INFINITY,
    recordTiming: false,
  });
  threads.on('error', () => {}); // of a thread without a job; a job that it leaves alone ends at its limit
  return threads;
}

/** A module that lets a thread load the sources: Node gives it no loader for TypeScript. */
function typeScriptLoader(): string {
  const code = `import { register } from ${JSON.stringify(import.meta.resolve('tsx/esm/api'))}; register();`;
  return `data:text/javascript,${encodeURIComponent(code)}`;
}

/** The result, or the signal's reason as soon as it is aborted. */
async function untilAborted<T>(signal: AbortSignal | undefined, result: Promise<T>): Promise<T> {
  if (!signal) return result;
  const listening = new AbortController();
  const aborted = once(signal, 'abort', { signal: listening.signal }).then(() => {
    throw signal.reason;
  });
  return Promise.race([result, aborted]).finally(() => listening.abort()) as Promise<T>;
}
