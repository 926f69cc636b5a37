import { setImmediate } from 'node:timers/promises';
import { DaybreakError, type Device, type HostTensor } from '../../runtime/index.ts';
import {
  type Answer,
  checkSampling,
  generateParts,
  type ModelConfig,
  type Phi4Vision,
  type Processor,
  type Prompt,
} from '../index.ts';
import { Chat, type Kept } from './chat.ts';
import { type AnswerOptions, Generation, type Part, resultOf } from './generation.ts';
import { type ChatMessage, markPictures } from './messages.ts';
import { type PictureOptions, type PictureSource, readPicture } from './picture.ts';

/** What to answer, and how. */
export interface GenerateOptions extends AnswerOptions {
  readonly messages: readonly ChatMessage[];
}

/** A picture in the decoder's space: f32 [rows * cols, hidden], row by row of its grid of patches. */
export interface ImageEmbedding extends HostTensor {
  readonly grid: { readonly rows: number; readonly cols: number };
}

/** An answer that ended before its prompt was known. */
export const NOTHING: Answer = {
  ...{ text: '', reasoning: '', answer: '', finishReason: 'abort', promptTokens: 0, imageTokens: 0, newTokens: 0 },
  ...{ tokenIds: [], ttftMillis: 0, millis: 0, tokensPerSecond: 0 },
};

/** A loaded model that answers; load() makes one. Answers at the same time take turns on its device. */
export class Model {
  readonly config: ModelConfig;
  readonly device: Device;
  #processor: Processor;
  #vision: Phi4Vision;
  #ownsDevice: boolean;
  #disposed = false;
  #running = new Set<AbortController>();

  constructor(processor: Processor, vision: Phi4Vision, ownsDevice: boolean) {
    this.config = vision.config;
    this.device = vision.device;
    this.#processor = processor;
    this.#vision = vision;
    this.#ownsDevice = ownsDevice;
  }

  /**
   * The answer to a conversation whose last message is the user's, part by part. Reading it throws PromptError for what is no
   * conversation or too long, ImageError for a picture, NotFiniteError, OutOfMemoryError, DeviceLostError.
   */
  generate({ messages, ...options }: GenerateOptions): Generation {
    return new Generation(this.#answer(messages, options, undefined));
  }

  /** A conversation that keeps what it has computed; `options` are those of all its turns, `messages` what was said before. */
  chat(options: AnswerOptions = {}, messages: readonly ChatMessage[] = []): Chat {
    return new Chat((...turn) => this.#answer(...turn), options, messages);
  }

  /** Encodes and projects one picture; throws an ImageError, or the signal's reason. */
  async embedImage(source: PictureSource, options: PictureOptions = {}): Promise<ImageEmbedding> {
    this.#assertInUse();
    const patches = await this.#processor.cut(await readPicture(source, options), options.signal);
    options.signal?.throwIfAborted();
    const picture = await this.#vision.encodeImage(patches);
    try {
      return { ...(await this.device.download(picture.features)), grid: patches.grid };
    } finally {
      picture.dispose();
    }
  }

  /** Ends all answers on their way, as aborted, and frees the model, and the device where load() has opened it. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const running of this.#running) running.abort();
    await this.device.idle().catch(() => {}); // a device that is lost has nothing to wait for
    await setImmediate(); // what waited for the device goes on and ends
    this.#vision.dispose();
    if (this.#ownsDevice) this.device.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async *#answer(
    messages: readonly ChatMessage[],
    options: AnswerOptions,
    kept: Kept | undefined,
  ): AsyncGenerator<Part> {
    this.#assertInUse();
    const own = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, own.signal]) : own.signal;
    this.#running.add(own);
    try {
      const sampling = this.#sampling(options);
      const prompt = await this.#prompt(messages, { ...options, signal }, kept).catch((error) => {
        if (!signal.aborted) throw error;
      });
      if (!prompt) {
        yield { text: '', reasoning: '', tokenIds: [], end: resultOf(NOTHING, sampling.seed) };
        return;
      }
      const session = kept && (await this.#session(kept, sampling));
      const parts = generateParts(this.#vision, this.#processor, prompt, { ...options, signal, sampling, session });
      yield* read(parts, sampling.seed);
    } finally {
      this.#running.delete(own);
    }
  }

  async #prompt(messages: readonly ChatMessage[], options: AnswerOptions, kept: Kept | undefined): Promise<Prompt> {
    const { messages: marked, pictures } = markPictures(messages);
    const read = (source: PictureSource, i: number) => kept?.pictures[i] ?? readPicture(source, options);
    const prompt = await this.#processor.prepare(marked, await Promise.all(pictures.map(read)), options);
    if (kept) kept.pictures = prompt.pictures;
    return prompt;
  }

  /** A conversation's sequence, to be answered by in this way. */
  async #session(kept: Kept, sampling: Sampling) {
    kept.session ??= await this.#vision.session();
    kept.session.draw(sampling);
    return kept.session;
  }

  #sampling({ temperature, topK, topP, seed }: AnswerOptions): Sampling {
    const { doSample, ...defaults } = this.config.sampling;
    const sampling = {
      temperature: temperature ?? (doSample ? defaults.temperature : 0),
      topK: topK ?? defaults.topK,
      topP: topP ?? defaults.topP,
      seed: seed ?? Math.floor(Math.random() * 2 ** 32),
    };
    checkSampling(sampling);
    return sampling;
  }

  #assertInUse(): void {
    if (!this.#disposed) return;
    throw new DaybreakError('model: expected one that is in use, got one that was disposed; load it again');
  }
}

type Sampling = Parameters<typeof checkSampling>[0];

/** The parts of an answer as they come, and a last one with the whole. */
async function* read(parts: ReturnType<typeof generateParts>, seed: number): AsyncGenerator<Part> {
  try {
    for (;;) {
      const { done, value } = await parts.next();
      if (done) {
        yield { text: value.text, reasoning: value.reasoning, tokenIds: [], end: resultOf(value.answer, seed) };
        return;
      }
      const { text, reasoning, chosen } = value;
      yield { text, reasoning, tokenIds: [chosen.token], ...(chosen.logProbs && { logProbs: [chosen.logProbs] }) };
    }
  } finally {
    await parts.return(undefined as never);
  }
}
