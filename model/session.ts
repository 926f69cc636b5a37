import { PAGE, type Sampling, settingsTensor } from '../kernels/index.ts';
import {
  type Device,
  type DeviceTensor,
  type DType,
  NotFiniteError,
  OutOfMemoryError,
  type PieceOptions,
  PromptError,
  runInPieces,
  type Storage,
  type Tensor,
  tensorBytes,
} from '../runtime/index.ts';
import {
  CHOICE_BYTES,
  type DecodePlans,
  type Engine,
  LOG_PROB_BYTES,
  type LogProbsPlan,
  MOST_LOG_PROBS,
  words,
} from './engine.ts';
import { pageKey } from './pages.ts';
import { checkSampling } from './sampler.ts';
import { type Taps, takeTaps } from './taps.ts';

/** See DecodeOptions. */
const STEPS_AHEAD = 3;
/** What the seed of an answer differs by from that of the answer before: 2^32 over the golden ratio, so that few seeds meet. */
const GOLDEN = 0x9e3779b9;

/** What a sequence needs beforehand; every field is optional. */
export interface SessionOptions {
  /** Positions of prompt and answer together; by default those of the model's context. */
  capacity?: number;
  /** How tokens are drawn; without it, or at temperature 0, the likeliest is taken. */
  sampling?: Sampling & { seed: number };
}

/** A picture in a prompt. */
export interface PromptImage {
  /** What tells it from others: the digest of its pixels and its grid. */
  readonly digest: string;
  /** Positions that it takes. */
  readonly rows: number;
  /** f32 [rows, hidden] on the device, once it is encoded. */
  readonly features?: DeviceTensor;
}

/** How to continue a sequence with a prompt; every field is optional. */
export interface PrefillOptions {
  /** The pictures whose rows the ids name, in order. */
  images?: readonly PromptImage[];
  /** Encodes those of `images` whose features are wanted and missing. */
  encode?: (images: readonly PromptImage[], signal?: AbortSignal) => Promise<void>;
  taps?: Taps;
  /** Ends the prompt at the next submit, which is rejected with the signal's reason. */
  signal?: AbortSignal;
  /** Told the positions that are done, of how many. */
  progress?: (done: number, total: number) => void;
}

/** How to decode; a forced token replaces the model's choice as the input of the next step. */
export interface DecodeOptions {
  /** Tokens to decode at most. */
  steps: number;
  /** Steps submitted before the token of the first of them is awaited. */
  ahead?: number;
  forced?: Uint32Array;
  /** Logits of every step are copied here, f32 [steps, vocab], where given. */
  logits?: Tensor;
  /** How many of the likeliest tokens come with each, at most MOST_LOG_PROBS; without it none, nor its own log probability. */
  logProbs?: number;
  /** Ends the answer before its next token, which is rejected with the signal's reason. */
  signal?: AbortSignal;
}

/** A token and its log probability, in nats. */
export interface LogProb {
  token: number;
  logProb: number;
}

/** The model's choice at one step, and when it reached the host (milliseconds of performance.now). */
export interface DecodedToken {
  token: number;
  at: number;
  /** Where they were asked for: the log probability of this token, then of the likeliest, best first. */
  logProbs?: readonly LogProb[];
}

/**
 * One sequence: the pages that hold its keys and values, and what stands at its positions. Sequences with the same beginning
 * share its full pages, at any time.
 */
export class Session {
  readonly capacity: number;
  #engine: Engine;
  #sampling: SessionOptions['sampling'];
  #pages: number[] = [];
  /** What stands at the positions of prompts, and of answers that a prompt came after; and the keys of the pages that it fills. */
  #contents: string[] = [];
  #keys: string[] = [];
  /** Where the last row of the prompt waits for the answer to begin. */
  #slot: number | undefined;
  /** The last token of an answer that a prompt may come after: no step has read it yet. */
  #unfed: number[] = [];
  /** Tokens of the answer so far: those yielded, and those that steps have chosen, awaited or not. */
  #answer: number[] = [];
  #chosen: Promise<DecodedToken>[] = [];
  /** Answers that are past: each draws its own random numbers. */
  #turn = 0;
  #forced: Uint32Array = new Uint32Array();
  #last = 0;

  constructor(engine: Engine, { capacity = engine.capacity, sampling }: SessionOptions = {}) {
    if (sampling) checkSampling(sampling);
    if (!(Number.isInteger(capacity) && capacity > 0 && capacity <= engine.capacity)) {
      throw new PromptError(
        `session: capacity: expected 1 to ${engine.capacity} positions, got ${capacity}; load the model with a longer context`,
      );
    }
    this.#engine = engine;
    this.capacity = capacity;
    this.#sampling = sampling;
  }

  get device(): Device {
    return this.#engine.device;
  }

  get dtype(): DType {
    return this.#engine.dtype;
  }

  get vocab(): number {
    return this.#engine.vocab;
  }

  /** Logits of the latest step of any sequence, f32 [1, vocab]. */
  get logits(): DeviceTensor {
    return this.#engine.logits;
  }

  /** Positions of prompts and answers before the current answer. */
  get promptLength(): number {
    return this.#contents.length;
  }
  /**
   * Continues the sequence, behind its answer so far, with the ids u32 of a prompt (from vocab on: rows of `images`, in order).
   * Full pages that a sequence with the same beginning has computed are shared. Throws PromptError where the prompt is empty or
   * too long, OutOfMemoryError where the pool has no room for it; the sequence is then as before.
   */
  prefill(ids: Uint32Array, options: PrefillOptions = {}): Promise<void> {
    return this.#engine.chunks.run(async () => {
      const total = this.#contents.length + this.#unfed.length + this.#answer.length + ids.length;
      if (ids.length < 1 || total > this.capacity) {
        throw new PromptError(
          `session: prompt: expected 1 to ${this.capacity} positions in all, got ${ids.length && total}; allow a longer context`,
        );
      }
      await this.#settled();
      const [length, unfed, answer] = [this.#contents.length, this.#unfed, this.#answer];
      try {
        await this.#prefill(ids, options);
      } catch (error) {
        this.#rewind(length);
        [this.#unfed, this.#answer] = [unfed, answer];
        throw error;
      }
    });
  }

  /**
   * Makes the sequence one of exactly these ids, as a further turn of a conversation is: it goes back to what both have in common,
   * and continues with the rest. Throws as prefill() does; what was gone back from is lost then.
   */
  async follow(ids: Uint32Array, options: PrefillOptions = {}): Promise<void> {
    await this.#settled();
    this.#commit();
    const contents = this.#contentsOf(ids, options.images ?? []);
    const past = [...this.#contents, ...this.#unfed.map(String)];
    let common = 0;
    while (common < contents.length - 1 && past[common] === contents[common]) common++;
    const kept = Math.min(common, this.#contents.length);
    if (kept < this.#contents.length || common < past.length) this.#unfed = [];
    this.#rewind(kept);
    await this.prefill(ids.subarray(this.#unfed.length > 0 ? kept + 1 : kept), options);
  }

  /** Decodes after a prompt, a few steps ahead of the tokens it yields: see decode(). */
  async *decode({
    steps,
    ahead = STEPS_AHEAD,
    forced = new Uint32Array(),
    logits,
    logProbs,
    signal,
  }: DecodeOptions): AsyncGenerator<DecodedToken> {
    const engine = this.#engine;
    if (this.#slot === undefined) {
      throw new PromptError('decode: expected a session with a prompt, got an empty one; call prefill() first');
    }
    if (this.#contents.length + steps - 1 > this.capacity) {
      throw new PromptError(
        `decode: expected at most ${this.capacity} positions, got ${this.#contents.length} of prompt and ${steps} steps; allow a longer context`,
      );
    }
    const top = this.#checkLogProbs(logProbs);
    const asked = top === undefined ? undefined : { ...(await engine.logProbsPlan()), top };
    const plans = await engine.decodePlans((this.#sampling?.temperature ?? 0) > 0);
    await this.#settled();
    engine.disown(this);
    this.#answer = [];
    this.#chosen = [];
    this.#forced = forced;
    try {
      for (let step = 0; step < steps; step++) {
        while (this.#chosen.length < Math.min(steps, step + ahead)) {
          signal?.throwIfAborted();
          await this.#submit(plans, logits, asked);
        }
        const chosen = await orAborted(this.#chosen[step]!, signal);
        this.#answer.push(forced[step] ?? chosen.token);
        yield chosen;
      }
    } finally {
      engine.disown(this);
    }
  }

  /** A second sequence with the same past, without its answer; they share what they have in common. */
  fork(options: SessionOptions = { capacity: this.capacity }): Session {
    const child = new Session(this.#engine, { ...(this.#sampling && { sampling: this.#sampling }), ...options });
    child.#contents = [...this.#contents];
    child.#keys = [...this.#keys];
    child.#unfed = [...this.#unfed];
    child.#pages = this.#pages.slice(0, Math.ceil(this.#contents.length / PAGE));
    for (const page of child.#pages) this.#engine.pool.hold(page);
    if (this.#slot !== undefined) {
      child.#slot = this.#engine.takeSlot();
      const [from, to] = [this.#slot, child.#slot];
      this.device.run('fork', (encoder) => this.#engine.copyRow(encoder, from, to));
    }
    return child;
  }

  /** Lets go of the pages; those that are full stay known for sequences with the same beginning, until their memory is wanted. */
  dispose(): void {
    this.#commit();
    if (this.#slot !== undefined) this.#engine.giveSlot(this.#slot);
    this.#slot = undefined;
    this.#rewind(0);
  }

  /** Resolves when all steps have reached the host; what they chose past the answer's end is dropped. */
  settled(): Promise<unknown> {
    return this.#settled();
  }

  /** Writes what the next step reads. */
  writeState(): void {
    const { device, state, pool } = this.#engine;
    const n = this.#chosen.length;
    const { places, tables, token, step, forced, forcedCount, settings } = state;
    device.write(places.storage, Uint32Array.of(this.#contents.length - 1 + n, 0));
    device.write(tables.storage, this.#table(pool.pages));
    device.write(token.storage, Uint32Array.of(n > 0 ? (this.#forced[n - 1] ?? this.#last) : 0));
    device.write(step.storage, Uint32Array.of(n));
    device.write(forcedCount.storage, Uint32Array.of(this.#forced.length));
    device.write(forced.storage, this.#forced);
    if (!this.#sampling) return;
    const seed = (this.#sampling.seed + this.#turn * GOLDEN) >>> 0;
    device.write(settings.storage, settingsTensor({ ...this.#sampling, seed }).data);
  }

  async #prefill(ids: Uint32Array, { images = [], encode, taps, signal, progress }: PrefillOptions): Promise<void> {
    const engine = this.#engine;
    this.#commit();
    const all = Uint32Array.from([...this.#unfed, ...ids]);
    const contents = this.#contentsOf(all, images);
    let at = taps ? 0 : this.#share(contents);
    this.#reserve(this.#contents.length + all.length - at);
    const wanted = new Set(
      Array.from(all.subarray(at)).flatMap((id) => (id < this.vocab ? [] : [rowOf(images, id - this.vocab)[0]])),
    );
    await encode?.(
      [...wanted].filter(({ features }) => !features),
      signal,
    );
    while (at < all.length) {
      const rows = Math.min(engine.chunkRows, all.length - at);
      const done = (share: number) => progress?.(at + Math.floor(share * rows), all.length);
      await this.#runChunk(all.subarray(at, at + rows), images, { signal, progress: done }, taps);
      this.#advance(contents.slice(at, at + rows));
      at += rows;
    }
    this.#unfed = [];
    const slot = this.#slot ?? engine.takeSlot();
    this.#slot = slot;
    this.device.run('prompt', (encoder) => engine.keepRow(encoder, slot));
  }

  /** Runs rows of a prompt that stand behind the sequence's positions. */
  async #runChunk(ids: Uint32Array, images: readonly PromptImage[], pieces: PieceOptions, taps?: Taps): Promise<void> {
    const { device, pool, pace } = this.#engine;
    const rows = ids.length;
    const plan = taps ? await this.#engine.planTapped(taps, rows) : await this.#engine.chunk();
    const places = Uint32Array.from({ length: 2 * rows }, (_, i) => (i % 2 ? 0 : this.#contents.length + (i >> 1)));
    try {
      plan.setScalars({ rows, last: rows - 1, keys: this.#contents.length + rows });
      plan.setInputs({
        ids: words([rows], this.#placeFeatures(ids, images)),
        places: words([rows, 2], places),
        tables: words([1, pool.pages], this.#table(pool.pages)),
      });
      await runInPieces(device, plan, pace, pieces);
      await takeTaps(device, plan, taps);
    } finally {
      if (taps) plan.dispose();
    }
  }

  /** Copies the rows of pictures that a chunk reads to where it reads them; the ids that name them there. */
  #placeFeatures(ids: Uint32Array, images: readonly PromptImage[]): Uint32Array {
    const { device, vocab, features } = this.#engine;
    const placed = Uint32Array.from(ids, (id, row) => (id < vocab ? id : vocab + row));
    if (ids.every((id) => id < vocab)) return placed;
    device.run('features', (encoder) => {
      for (let row = 0; row < ids.length; ) {
        if (ids[row]! < vocab) {
          row++;
          continue;
        }
        const [image, first] = rowOf(images, ids[row]! - vocab);
        let count = 1;
        const most = Math.min(image.rows - first, ids.length - row);
        while (count < most && ids[row + count] === ids[row]! + count) count++;
        const bytes = tensorBytes(features) / features.shape[0]!;
        const { buffer, offset } = image.features!.storage;
        encoder.copyBufferToBuffer(buffer, offset + first * bytes, features.storage.buffer, row * bytes, count * bytes);
        row += count;
      }
    });
    return placed;
  }

  /** Submits the next step: the first token after the prompt, or a further one. */
  async #submit(
    { head, step: further }: DecodePlans,
    logits: Tensor | undefined,
    asked: (LogProbsPlan & { top: number }) | undefined,
  ): Promise<void> {
    const engine = this.#engine;
    const step = this.#chosen.length;
    const staging = await engine.takeStaging();
    try {
      this.#reserve(this.#contents.length + step);
      while (!engine.owns(this)) await engine.acquire(this);
      this.device.run('decode', (encoder) => {
        if (step === 0) {
          engine.placeRow(encoder, this.#slot!);
          head.encode(encoder);
        } else {
          further.setScalars({ keys: this.#contents.length + step });
          further.encode(encoder);
        }
        const { history } = engine.state;
        encoder.copyBufferToBuffer(history.storage.buffer, step * CHOICE_BYTES, staging, 0, CHOICE_BYTES);
        if (asked) encodeLogProbs(encoder, history.storage, step, asked, staging);
        if (logits?.storage) {
          const [source, bytes] = [this.logits.storage.buffer, this.vocab * 4];
          encoder.copyBufferToBuffer(source, 0, logits.storage.buffer, logits.storage.offset + step * bytes, bytes);
        }
      });
    } catch (error) {
      engine.giveStaging(staging);
      throw error;
    }
    const token = this.#read(staging, step, asked?.top).finally(() => engine.giveStaging(staging));
    token.catch(() => {}); // it is awaited later; until then a lost device must not count as unhandled
    this.#chosen.push(token);
  }

  async #read(staging: GPUBuffer, step: number, top: number | undefined): Promise<DecodedToken> {
    const bytes = (await this.device.map(staging)).slice().buffer;
    staging.unmap();
    const [token, strays] = new Uint32Array(bytes, 0, 2) as unknown as [number, number];
    this.#last = token;
    const at = performance.now();
    if (strays === 0) return { token, at, ...(top !== undefined && { logProbs: readLogProbs(bytes, top) }) };
    const hint = this.dtype === 'f16' ? 'load the model in f32' : 'is a weight damaged or too large?';
    throw new NotFiniteError(
      `decode: token ${step + 1}: expected ${this.vocab} finite logits, got ${strays} that are not, in ${this.dtype}; ${hint}`,
    );
  }

  #checkLogProbs(count: number | undefined): number | undefined {
    const most = Math.min(MOST_LOG_PROBS, this.vocab);
    if (count === undefined || (Number.isInteger(count) && count >= 0 && count <= most)) return count;
    throw new PromptError(`decode: logProbs: expected an integer from 0 to ${most}, got ${count}; ask for fewer`);
  }

  /** What stands at the positions of some ids: tokens, and rows of pictures by the digest of those. */
  #contentsOf(ids: Uint32Array, images: readonly PromptImage[]): string[] {
    return Array.from(ids, (id) => {
      if (id < this.vocab) return `${id}`;
      const [{ digest }, row] = rowOf(images, id - this.vocab);
      return `${digest}/${row}`;
    });
  }

  /** Takes over pages that hold what a prompt begins with, all of it but its last position at most; how many positions those are. */
  #share(contents: readonly string[]): number {
    const { pool } = this.#engine;
    let at = 0;
    while (this.#engine.reuse && this.#contents.length % PAGE === 0 && contents.length - at > PAGE) {
      const page = pool.find(pageKey(this.#keys.at(-1) ?? '', contents.slice(at, at + PAGE)));
      if (page === undefined) break;
      this.#pages.push(page);
      this.#advance(contents.slice(at, at + PAGE));
      at += PAGE;
    }
    return at;
  }

  /** Makes sure that positions from #contents.length to `end` - 1 stand in pages that may be written. */
  #reserve(end: number): void {
    const { pool, device } = this.#engine;
    const first = Math.floor(this.#contents.length / PAGE);
    const shared = this.#contents.length % PAGE > 0 && !pool.isOwn(this.#pages[first]!);
    const missing = Math.max(0, Math.ceil(end / PAGE) - this.#pages.length);
    if (missing + Number(shared) > pool.available) {
      throw new OutOfMemoryError(
        `session: context: expected ${missing + Number(shared)} free pages of ${PAGE} positions, got ${pool.available} of ${pool.pages}: other sequences hold the rest; end one of them or load the model with a longer context`,
      );
    }
    if (shared) {
      const own = pool.take();
      device.run('page', (encoder) => pool.copy(encoder, this.#pages[first]!, own));
      pool.release(this.#pages[first]!);
      this.#pages[first] = own;
    }
    if (shared) this.#engine.disown(this);
    for (let i = 0; i < missing; i++) {
      const page = pool.take();
      if (this.#engine.owns(this))
        device.write(this.#engine.state.tables.storage, Uint32Array.of(page), 4 * this.#pages.length);
      this.#pages.push(page);
    }
  }

  /** Counts positions whose keys and values are in pages, and publishes the pages that they fill. */
  #advance(contents: readonly string[]): void {
    this.#contents.push(...contents);
    while ((this.#keys.length + 1) * PAGE <= this.#contents.length) {
      const page = this.#keys.length;
      const key = pageKey(this.#keys.at(-1) ?? '', this.#contents.slice(page * PAGE, (page + 1) * PAGE));
      this.#keys.push(key);
      if (this.#engine.reuse) this.#engine.pool.publish(this.#pages[page]!, key);
    }
  }

  /** Forgets the positions from `length` on, and lets go of the pages that hold only those. */
  #rewind(length: number): void {
    this.#contents.length = length;
    this.#keys.length = Math.floor(length / PAGE);
    for (const page of this.#pages.splice(Math.ceil(length / PAGE)).reverse()) this.#engine.pool.release(page);
  }

  /** Makes the answer part of the past: its last token has yet to be fed. */
  #commit(): void {
    if (this.#answer.length === 0) return;
    this.#engine.disown(this);
    this.#advance(this.#answer.slice(0, -1).map(String));
    this.#unfed = this.#answer.slice(-1);
    this.#turn++;
    this.#answer = [];
    this.#chosen = [];
  }

  #settled(): Promise<unknown> {
    return Promise.allSettled(this.#chosen);
  }

  /** The page table, as long as the pool is large. */
  #table(length: number): Uint32Array {
    const table = new Uint32Array(length);
    table.set(this.#pages);
    return table;
  }
}

/** The picture that a row of all pictures' features belongs to, and which of its own rows that is. */
function rowOf(images: readonly PromptImage[], row: number): [PromptImage, number] {
  let first = 0;
  for (const image of images) {
    const count = image.rows;
    if (row < first + count) return [image, row - first];
    first += count;
  }
  throw new PromptError(
    `session: pictures: expected at least ${row + 1} rows of features, got ${first}; pass all pictures`,
  );
}

/** Appends the log probabilities of a step that has just been encoded, and their copy behind its choice. */
function encodeLogProbs(
  encoder: GPUCommandEncoder,
  history: Storage,
  step: number,
  { plan, choice, top }: LogProbsPlan & { top: number },
  staging: GPUBuffer,
): void {
  encoder.copyBufferToBuffer(history.buffer, step * CHOICE_BYTES, choice.storage.buffer, 0, CHOICE_BYTES);
  plan.setScalars({ top });
  plan.encode(encoder);
  [plan.outputs.ids!, plan.outputs.values!].forEach(({ storage }, i) => {
    const at = CHOICE_BYTES + i * LOG_PROB_BYTES;
    encoder.copyBufferToBuffer(storage!.buffer, storage!.offset, staging, at, 4 * (1 + top));
  });
}

function readLogProbs(bytes: ArrayBuffer, top: number): LogProb[] {
  const ids = new Uint32Array(bytes, CHOICE_BYTES, 1 + top);
  const values = new Float32Array(bytes, CHOICE_BYTES + LOG_PROB_BYTES, 1 + top);
  return Array.from(ids, (token, i) => ({ token, logProb: values[i]! }));
}

/** The value of a promise, or a rejection with the signal's reason as soon as it is aborted. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
