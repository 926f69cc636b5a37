import { PromptError } from '../runtime/index.ts';
import { AnswerText } from './answer_text.ts';
import type { LogProb } from './log_probs.ts';
import { type Phi4Vision, PromptPicture } from './phi4_vision.ts';
import type { Processor, Prompt } from './processor.ts';
import type { PromptImage } from './prompt_images.ts';
import type { DecodedToken, DecodeOptions, Session, SessionOptions } from './session.ts';
import { splitAnswer } from './text/chat.ts';

/**
 * Decodes after a prompt, a few steps ahead of the tokens it yields; the caller stops by leaving the loop, and the steps on their
 * way are dropped. Throws PromptError where the session holds no prompt, or prompt and steps pass its capacity; NotFiniteError in
 * place of a token whose logits are not all finite; OutOfMemoryError where the pool has no page left; DeviceLostError when the
 * device goes away; the signal's reason once it is aborted.
 */
export function decode(session: Session, options: DecodeOptions): AsyncGenerator<DecodedToken> {
  return session.decode(options);
}

/** How to answer; every field is optional. */
export interface GenerateOptions {
  /** Tokens to answer with at most. */
  maxTokens?: number;
  /** How tokens are drawn; without it the likeliest is taken. */
  sampling?: SessionOptions['sampling'];
  /** A sequence to go on with, as of a conversation whose next turn this is: what it has in common with the prompt is not computed again, and it is kept. */
  session?: Session;
  /** Texts that end the answer, which then lacks them. */
  stop?: readonly string[];
  /** How many of the likeliest tokens come with each token of the answer: see Answer. */
  logProbs?: number;
  /** Tokens of reasoning at most: then the tag that ends it is put in. */
  thinkingBudget?: number;
  /** Ends the answer, which then is what there is so far. */
  signal?: AbortSignal;
  /** Whether to free the weights that only pictures need once this prompt's are encoded, before memory goes to the cache. */
  releaseVision?: boolean;
  /** Told each piece of text as it comes. */
  onText?: (text: string) => void;
  /** Told the share of the pictures that are encoded, then the positions of the prompt that are done, of how many. */
  onProgress?: (phase: 'pictures' | 'prompt', done: number, total: number) => void;
}

/** What an answer has got by one more token: text of the answer, and of the reasoning before it. */
export interface AnswerPart {
  text: string;
  reasoning: string;
  chosen: DecodedToken;
}

/** An answer, why it ended, and how long it took. */
export interface Answer {
  /** The text as generated, special tokens left out. */
  text: string;
  /** What stands between <think> and </think>, and what comes after. */
  reasoning: string;
  answer: string;
  /** stop: the model ended it; length: maxTokens or the context did; stop_string: one of `stop`; abort: the signal. */
  finishReason: 'stop' | 'length' | 'stop_string' | 'abort';
  promptTokens: number;
  imageTokens: number;
  newTokens: number;
  /** The ids of these. */
  tokenIds: readonly number[];
  /** Where they were asked for: each token of the answer with its log probability, then the likeliest with theirs. */
  logProbs?: readonly (readonly LogProb[])[];
  /** From the call to the first token; 0 where there is none. */
  ttftMillis: number;
  /** From the call to the end. */
  millis: number;
  /** After the first token; 0 where there is no second. */
  tokensPerSecond: number;
}

const MAX_TOKENS = 4096;

/** Tokens of the longest answer to a prompt. */
export function answerSteps({ ids, context }: Prompt, maxTokens = MAX_TOKENS): number {
  return Math.min(maxTokens, context - ids.length + 1);
}

/**
 * Answers a prompt: encodes its pictures, fills the KV cache, decodes until an end token, a stop text, maxTokens or the context's
 * end. Throws OutOfMemoryError or CapabilityError where the cache does not fit, NotFiniteError, DeviceLostError.
 */
export async function generate(
  model: Phi4Vision,
  processor: Processor,
  prompt: Prompt,
  options: GenerateOptions = {},
): Promise<Answer> {
  const parts = generateParts(model, processor, prompt, options);
  for (;;) {
    const { done, value } = await parts.next();
    if (done) return value.answer;
  }
}

/** Answers as generate() does, a part for each token as it comes; returns what the text's end has yet to give, and the answer. */
export async function* generateParts(
  model: Phi4Vision,
  processor: Processor,
  prompt: Prompt,
  options: GenerateOptions = {},
): AsyncGenerator<AnswerPart, { text: string; reasoning: string; answer: Answer }> {
  const start = performance.now();
  checkCount('maxTokens', options.maxTokens);
  checkCount('thinkingBudget', options.thinkingBudget);
  const text = new AnswerText(processor.tokenizer, prompt.mode, options);
  const tokens: DecodedToken[] = [];
  let finishReason: Answer['finishReason'] = 'abort';
  try {
    finishReason = yield* answer(model, prompt, options, text, tokens);
  } catch (error) {
    if (!options.signal?.aborted) throw error;
  }
  text.end();
  const [first = start, last = start] = [tokens[0]?.at, tokens.at(-1)?.at];
  const newTokens = tokens.length;
  const whole: Answer = {
    text: text.whole,
    ...splitAnswer(text.whole, prompt.mode),
    finishReason,
    promptTokens: prompt.ids.length,
    imageTokens: prompt.ids.filter((id) => id >= model.config.decoder.vocab).length,
    newTokens,
    tokenIds: tokens.map(({ token }) => token),
    ...(options.logProbs !== undefined && { logProbs: tokens.map(({ logProbs }) => logProbs!) }),
    ttftMillis: first - start,
    millis: performance.now() - start,
    tokensPerSecond: newTokens > 1 ? ((newTokens - 1) * 1000) / (last - first) : 0,
  };
  return { ...text.take(), answer: whole };
}

/** Runs the prompt and decodes; why it ended. */
async function* answer(
  model: Phi4Vision,
  prompt: Prompt,
  options: GenerateOptions,
  text: AnswerText,
  tokens: DecodedToken[],
): AsyncGenerator<AnswerPart, Answer['finishReason']> {
  const { signal, sampling } = options;
  const images = prompt.pictures.map((patches) => new PromptPicture(patches));
  let own: Session | undefined;
  try {
    signal?.throwIfAborted();
    if (options.releaseVision) {
      await model.encodeImages(images, pictureOptions(options));
      model.releaseVision();
    }
    own = options.session ? undefined : await model.session({ ...(sampling && { sampling }) });
    const session = options.session ?? own!;
    await prefill(model, session, prompt.ids, images, options);
    const steps = answerSteps(prompt, options.maxTokens);
    while (tokens.length < steps) {
      const room = session.capacity - session.promptLength + 1;
      const decoding = { steps: Math.min(steps - tokens.length, room), signal, logProbs: options.logProbs };
      for await (const chosen of decode(session, decoding)) {
        const { token } = chosen;
        tokens.push(chosen);
        const ended = model.config.tokens.eos.includes(token);
        const stopped = !ended && text.push(token);
        yield { ...text.take(), chosen };
        if (ended) return 'stop';
        if (stopped) return 'stop_string';
        if (text.thoughtEnough) break;
      }
      if (!text.thoughtEnough || tokens.length >= steps) break;
      await session.prefill(text.endThinking(), { signal });
    }
    return 'length';
  } finally {
    own?.dispose();
    for (const image of images) image.dispose();
  }
}

/** Runs a prompt, for which only those of its pictures are encoded whose positions are not known yet. */
function prefill(
  model: Phi4Vision,
  session: Session,
  ids: Uint32Array,
  images: readonly PromptPicture[],
  options: GenerateOptions,
): Promise<void> {
  const encode = (wanted: readonly PromptImage[]) =>
    model.encodeImages(
      images.filter((image) => wanted.includes(image)),
      pictureOptions(options),
    );
  const progress = (done: number, total: number) => options.onProgress?.('prompt', done, total);
  return session.follow(ids, { images, encode, progress, signal: options.signal });
}

function pictureOptions({ signal, onProgress }: GenerateOptions) {
  return { signal, progress: (share: number) => onProgress?.('pictures', share, 1) };
}

function checkCount(what: string, count: number | undefined): void {
  if (count === undefined || (Number.isInteger(count) && count > 0)) return;
  throw new PromptError(`generate: ${what}: expected an integer from 1 on, got ${count}; ask for one token at least`);
}
