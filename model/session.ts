import { randomWords, type Sampling, settingsTensor } from '../kernels/index.ts';
import {
  type Device,
  type DeviceTensor,
  type DType,
  NotFiniteError,
  orAborted,
  type PieceOptions,
  PromptError,
  runInPieces,
  type Tensor,
} from '../runtime/index.ts';
import { type DecodePlans, type Engine, words } from './engine.ts';
import { CHOICE_BYTES, checkLogProbs, type LogProb, type LogProbs, readLogProbs } from './log_probs.ts';
import { Past } from './past.ts';
import { contentsOf, imagesIn, type PromptImage, placeFeatures } from './prompt_images.ts';
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

/** The model's choice at one step, and when it reached the host (milliseconds of performance.now). */
export interface DecodedToken {
  token: number;
  at: number;
  /** Where they were asked for: the log probability of this token, then of the likeliest, best first. */
  logProbs?: readonly LogProb[];
}

/** An answer as it is decoded. */
class Decoding {
  /** What goes on in place of the model's choices. */
  readonly forced: Uint32Array;
  /** Tokens that were yielded. */
  readonly tokens: number[] = [];
  /** What each step has chosen, of some that are ahead of the tokens too. */
  readonly chosen: Promise<DecodedToken>[] = [];
  /** The choice that reached the host last. */
  last = 0;

  constructor(forced: Uint32Array) {
    this.forced = forced;
  }

  /** The token to embed next, once all steps have reached the host. */
  get next(): number {
    return this.forced[this.chosen.length - 1] ?? this.last;
  }
}

/** What is to be submitted for each step of an answer. */
interface Stepping {
  plans: DecodePlans;
  logits?: Tensor;
  logProbs?: { plan: LogProbs; top: number };
  signal: AbortSignal;
}

/**
 * One sequence: what stands at its positions, and an answer behind them. Sequences with the same beginning share its full pages,
 * at any time; of one sequence, a later prompt or answer ends the answer before it.
 */
export class Session {
  readonly capacity: number;
  #engine: Engine;
  #sampling: SessionOptions['sampling'];
  #past: Past;
  /** The last token of an answer that a prompt may come after: no step has read it yet. */
  #unfed: number[] = [];
  /** Where the last row of the prompt waits for the answer to begin, and whether that row is the past's last. */
  #slot: number | undefined;
  #prompted = false;
  #answer: Decoding | undefined;
  /** Answers that are past: each draws its own random numbers. */
  #turn = 0;
  /** Aborted when the sequence is disposed of. */
  #end = new AbortController();

  constructor(engine: Engine, options: SessionOptions = {}, past = new Past(engine.pool, engine.reuse)) {
    const { capacity = engine.capacity, sampling } = options;
    if (sampling) checkSampling(sampling);
    if (!(Number.isInteger(capacity) && capacity > 0 && capacity <= engine.capacity)) {
      throw new PromptError(
        `session: capacity: expected 1 to ${engine.capacity} positions, got ${capacity}; load the model with a longer context`,
      );
    }
    this.#engine = engine;
    this.capacity = capacity;
    this.#sampling = sampling;
    this.#past = past;
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
    return this.#past.length;
  }

  /**
   * Continues the sequence, behind its answer so far, with the ids u32 of a prompt (from vocab on: rows of `images`, in order).
   * Full pages that a sequence with the same beginning has computed are shared. Throws PromptError where the prompt is empty or
   * too long, OutOfMemoryError where the pool has no room for it; another prompt may then come in its place.
   */
  prefill(ids: Uint32Array, options: PrefillOptions = {}): Promise<void> {
    return this.#inTurn(options, (own) => {
      const answered = this.#answer ? this.#answer.tokens.length : 0;
      this.#checkLength(this.#past.length + this.#unfed.length + answered + ids.length, ids.length);
      this.#commit();
      return this.#continue(ids, own);
    });
  }

  /**
   * Makes the sequence one of exactly these ids, as a further turn of a conversation is: it goes back to what both have in common,
   * and continues with the rest. Throws as prefill() does; where memory lacks or the signal ends it, what was gone back from is lost.
   */
  follow(ids: Uint32Array, options: PrefillOptions = {}): Promise<void> {
    return this.#inTurn(options, (own) => {
      this.#checkLength(ids.length, ids.length);
      const contents = contentsOf(ids, own.images ?? [], this.vocab);
      this.#commit();
      const kept = Math.min(this.#past.common(contents), ids.length - 1);
      const unfed = kept === this.#past.length && kept + 1 < ids.length && `${this.#unfed[0]}` === contents[kept];
      if (kept < this.#past.length) this.#prompted = false;
      if (!unfed) this.#unfed = [];
      this.#past.rewind(kept);
      return this.#continue(ids.subarray(kept + this.#unfed.length), own);
    });
  }

  /** Draws the tokens of answers to come in this way, with the same random numbers as a new sequence; the answer so far ends. */
  draw(sampling: SessionOptions['sampling']): void {
    if (sampling) checkSampling(sampling);
    this.#commit();
    this.#sampling = sampling;
    this.#turn = 0;
  }

  /** Decodes after a prompt, a few steps ahead of the tokens it yields: see decode(). */
  async *decode(options: DecodeOptions): AsyncGenerator<DecodedToken> {
    const { steps, ahead = STEPS_AHEAD, forced = new Uint32Array() } = options;
    this.#checkDecoding(options);
    const stepping = await this.#stepping(options);
    this.#checkDecoding(options);
    const answer = new Decoding(forced);
    this.#answer = answer;
    for (let step = 0; step < steps; step++) {
      while (answer.chosen.length < Math.min(steps, step + ahead)) await this.#submit(answer, stepping);
      const chosen = await orAborted(answer.chosen[step]!, stepping.signal);
      this.#checkCurrent(answer);
      answer.tokens.push(forced[step] ?? chosen.token);
      yield chosen;
    }
  }

  /** A second sequence with the same past, without its answer; they share what they have in common. */
  fork(options: SessionOptions = { capacity: this.capacity }): Session {
    this.#end.signal.throwIfAborted();
    const { lastRows } = this.#engine;
    const slot = this.#prompted ? lastRows.take() : undefined;
    const sampling = this.#sampling && { sampling: this.#sampling };
    const child = new Session(this.#engine, { ...sampling, ...options }, this.#past.fork());
    child.#unfed = [...this.#unfed];
    child.#slot = slot;
    child.#prompted = this.#prompted;
    if (slot !== undefined) this.device.run('fork', (encoder) => lastRows.fork(encoder, this.#slot!, slot));
    return child;
  }

  /**
   * Ends what the sequence does and lets go of its pages; those that are full stay known for sequences with the same beginning,
   * until their memory is wanted.
   */
  dispose(): void {
    if (this.#end.signal.aborted) return;
    this.#commit();
    this.#end.abort(new PromptError('session: expected one in use, got one that was disposed; make another'));
    if (this.#slot !== undefined) this.#engine.lastRows.give(this.#slot);
    this.#past.rewind(0);
  }

  /** Runs what continues the past after what others do to theirs; `options` as given, with a signal that this sequence's end aborts too. */
  #inTurn(options: PrefillOptions, body: (own: PrefillOptions & Signalled) => Promise<void>): Promise<void> {
    const own = { ...options, signal: this.#signalWith(options.signal) };
    return this.#engine.chunks.run(() => body(own), own.signal);
  }

  #signalWith(signal: AbortSignal | undefined): AbortSignal {
    return signal ? AbortSignal.any([signal, this.#end.signal]) : this.#end.signal;
  }

  /** Puts a prompt behind the past; where that fails the past is what it was. */
  async #continue(ids: Uint32Array, options: PrefillOptions & Signalled): Promise<void> {
    const { lastRows } = this.#engine;
    const [past, unfed, prompted] = [this.#past, this.#unfed, this.#prompted];
    const { length } = past;
    this.#prompted = false;
    this.#slot ??= lastRows.take();
    const slot = this.#slot;
    try {
      await this.#runPrompt(Uint32Array.from([...unfed, ...ids]), options);
      options.signal.throwIfAborted();
      this.device.run('prompt', (encoder) => lastRows.keep(encoder, slot));
      this.#unfed = [];
      this.#prompted = true;
    } catch (error) {
      if (!this.#end.signal.aborted) past.rewind(length);
      this.#prompted = prompted;
      throw error;
    }
  }

  async #runPrompt(ids: Uint32Array, options: PrefillOptions & Signalled): Promise<void> {
    const [engine, past] = [this.#engine, this.#past];
    const { images = [], encode, taps, signal, progress } = options;
    const contents = contentsOf(ids, images, this.vocab);
    let at = taps ? 0 : past.share(contents);
    past.reserve(this.device, past.length + ids.length - at);
    const wanted = imagesIn(ids.subarray(at), images, this.vocab).filter(({ features }) => !features);
    if (wanted.length > 0) await encode?.(wanted, signal);
    while (at < ids.length) {
      const rows = Math.min(engine.chunkRows, ids.length - at);
      const done = (share: number) => progress?.(at + Math.floor(share * rows), ids.length);
      await this.#runChunk(ids.subarray(at, at + rows), images, { signal, progress: done }, taps);
      signal.throwIfAborted();
      past.advance(contents.slice(at, at + rows));
      at += rows;
    }
  }

  /** Runs rows of a prompt that stand behind the sequence's positions. */
  async #runChunk(
    ids: Uint32Array,
    images: readonly PromptImage[],
    pieces: PieceOptions & Signalled,
    taps?: Taps,
  ): Promise<void> {
    const { device, chunk, pace, features, tablePages, vocab } = this.#engine;
    const rows = ids.length;
    const plan = await orAborted(taps ? this.#engine.planTapped(taps, rows) : chunk(), pieces.signal);
    const places = new Uint32Array(2 * rows);
    for (let row = 0; row < rows; row++) places[2 * row] = this.#past.length + row;
    try {
      plan.setScalars({ rows, last: rows - 1, keys: this.#past.length + rows });
      plan.setInputs({
        ids: words([rows], placeFeatures(device, ids, images, vocab, features)),
        places: words([rows, 2], places),
        tables: words([1, tablePages], this.#past.table(tablePages)),
      });
      await runInPieces(device, plan, pace, pieces);
      await takeTaps(device, plan, taps);
    } finally {
      if (taps) plan.dispose();
    }
  }

  async #stepping({ logits, logProbs: top, signal: given }: DecodeOptions): Promise<Stepping> {
    const engine = this.#engine;
    const signal = this.#signalWith(given);
    const sampled = (this.#sampling?.temperature ?? 0) > 0;
    return {
      plans: await orAborted(engine.decodePlans(sampled), signal),
      ...(logits && { logits }),
      ...(top !== undefined && { logProbs: { plan: await orAborted(engine.logProbs(), signal), top } }),
      signal,
    };
  }

  /** Submits the next step: the first token after the prompt, or a further one. */
  async #submit(answer: Decoding, { plans, logits, logProbs, signal }: Stepping): Promise<void> {
    const [engine, past] = [this.#engine, this.#past];
    const { history } = engine.state;
    const step = answer.chosen.length;
    const staging = await engine.staging.take(signal);
    try {
      if (!engine.owns(answer)) await orAborted(Promise.allSettled(answer.chosen.slice(answer.tokens.length)), signal);
      signal.throwIfAborted();
      this.#checkCurrent(answer);
      const grown = past.reserve(this.device, past.length + step);
      const taken = !engine.owns(answer);
      if (taken) this.#writeState(answer);
      else if (grown) this.#writeTable();
      this.device.run('decode', (encoder) => {
        if (step === 0) {
          engine.lastRows.place(encoder, this.#slot!);
          plans.head.encode(encoder);
        } else {
          if (taken) plans.embed.encode(encoder);
          plans.step.setScalars({ keys: past.length + step });
          plans.step.encode(encoder);
        }
        const at = step * CHOICE_BYTES;
        encoder.copyBufferToBuffer(history.storage.buffer, at, staging, 0, CHOICE_BYTES);
        if (logProbs) logProbs.plan.encode(encoder, history.storage, at, logProbs.top, staging);
        if (logits?.storage) {
          const [source, bytes] = [this.logits.storage.buffer, this.vocab * 4];
          encoder.copyBufferToBuffer(source, 0, logits.storage.buffer, logits.storage.offset + step * bytes, bytes);
        }
      });
    } catch (error) {
      engine.staging.give(staging);
      throw error;
    }
    const token = this.#read(answer, staging, step, logProbs?.top).finally(() => engine.staging.give(staging));
    token.catch(() => {}); // it is awaited later; until then a lost device must not count as unhandled
    answer.chosen.push(token);
  }

  async #read(answer: Decoding, staging: GPUBuffer, step: number, top: number | undefined): Promise<DecodedToken> {
    const bytes = (await this.device.map(staging)).slice().buffer;
    staging.unmap();
    const [token, strays] = new Uint32Array(bytes, 0, 2) as unknown as [number, number];
    answer.last = token;
    const at = performance.now();
    if (strays === 0) return { token, at, ...(top !== undefined && { logProbs: readLogProbs(bytes, top) }) };
    const hint = this.dtype === 'f16' ? 'load the model in f32' : 'is a weight damaged or too large?';
    throw new NotFiniteError(
      `decode: token ${step + 1}: expected ${this.vocab} finite logits, got ${strays} that are not, in ${this.dtype}; ${hint}`,
    );
  }

  /** Writes what the next step of an answer reads, of which all steps have reached the host. */
  #writeState(answer: Decoding): void {
    const { device, state } = this.#engine;
    const { places, token, random, forced, settings } = state;
    const n = answer.chosen.length;
    this.#engine.claim(answer);
    this.#writeTable();
    device.write(places.storage, Uint32Array.of(this.#past.length - 1 + n, 0));
    device.write(token.storage, Uint32Array.of(answer.next));
    device.write(forced.storage, Uint32Array.from([answer.forced.length, ...answer.forced]));
    const seed = ((this.#sampling?.seed ?? 0) + this.#turn * GOLDEN) >>> 0;
    device.write(random.storage, randomWords(seed, n).data);
    if (this.#sampling) device.write(settings.storage, settingsTensor(this.#sampling).data);
  }

  #writeTable(): void {
    const { device, state, tablePages } = this.#engine;
    device.write(state.tables.storage, this.#past.table(tablePages));
  }

  /** Makes the answer part of the past: its last token has yet to be fed. */
  #commit(): void {
    const { tokens = [] } = this.#answer ?? {};
    this.#answer = undefined;
    if (tokens.length === 0) return;
    this.#prompted = false;
    this.#past.advance(tokens.slice(0, -1).map(String));
    this.#unfed = tokens.slice(-1);
    this.#turn++;
  }

  #checkLength(total: number, ids: number): void {
    if (ids >= 1 && total <= this.capacity) return;
    throw new PromptError(
      `session: prompt: expected 1 to ${this.capacity} positions in all, got ${ids && total}; allow a longer context`,
    );
  }

  #checkDecoding({ steps, logProbs }: DecodeOptions): void {
    this.#end.signal.throwIfAborted();
    checkLogProbs(logProbs, this.vocab);
    if (!this.#prompted) {
      throw new PromptError('decode: expected a session with a prompt, got an empty one; call prefill() first');
    }
    if (this.#past.length + steps - 1 <= this.capacity) return;
    throw new PromptError(
      `decode: expected at most ${this.capacity} positions, got ${this.#past.length} of prompt and ${steps} steps; allow a longer context`,
    );
  }

  #checkCurrent(answer: Decoding): void {
    if (this.#answer === answer) return;
    throw new PromptError(
      "decode: expected the sequence's latest answer, got one that a prompt or another answer has ended; read an answer to its end first",
    );
  }
}

/** What holds a signal for certain. */
interface Signalled {
  signal: AbortSignal;
}
