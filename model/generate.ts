import { PromptError } from '../runtime/index.ts';
import { type Phi4Vision, PromptPicture } from './phi4_vision.ts';
import type { Processor, Prompt } from './processor.ts';
import type { DecodedToken, DecodeOptions, PromptImage, Session, SessionOptions } from './session.ts';
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
  /** Whether to free the weights that only pictures need once this prompt's are encoded, before memory goes to the cache. */
  releaseVision?: boolean;
  /** Told each piece of text as it comes. */
  onText?: (text: string) => void;
}

/** An answer, why it ended, and how long it took. */
export interface Answer {
  /** The text as generated, special tokens left out. */
  text: string;
  /** What stands between <think> and </think>, and what comes after. */
  reasoning: string;
  answer: string;
  /** stop: the model ended it; length: maxTokens or the context did. */
  finishReason: 'stop' | 'length';
  promptTokens: number;
  imageTokens: number;
  newTokens: number;
  /** From the call to the first token. */
  ttftMillis: number;
  /** After the first token; 0 where there is no second. */
  tokensPerSecond: number;
}

const MAX_TOKENS = 4096;

/** Tokens of the longest answer to a prompt. */
export function answerSteps({ ids, context }: Prompt, maxTokens = MAX_TOKENS): number {
  return Math.min(maxTokens, context - ids.length + 1);
}

/**
 * Answers a prompt: encodes its pictures, fills the KV cache, decodes until an end token, maxTokens or the context's end.
 * Throws OutOfMemoryError or CapabilityError where the cache does not fit, NotFiniteError, DeviceLostError.
 */
export async function generate(
  model: Phi4Vision,
  processor: Processor,
  prompt: Prompt,
  options: GenerateOptions = {},
): Promise<Answer> {
  const start = performance.now();
  const { ids, mode } = prompt;
  const { maxTokens = MAX_TOKENS } = options;
  if (!(Number.isInteger(maxTokens) && maxTokens > 0)) {
    throw new PromptError(
      `generate: maxTokens: expected an integer from 1 on, got ${maxTokens}; ask for one token at least`,
    );
  }
  const images = prompt.pictures.map((patches) => new PromptPicture(patches));
  let session: Session | undefined;
  try {
    if (options.releaseVision) {
      await model.encodeImages(images);
      model.releaseVision();
    }
    session = await model.session({ sampling: options.sampling });
    await prefill(model, session, ids, images);
    const text = processor.tokenizer.stream({ skipSpecial: true });
    const pieces: string[] = [];
    const emit = (piece: string) => {
      if (!piece) return;
      pieces.push(piece);
      options.onText?.(piece);
    };
    const arrivals: number[] = [];
    let finishReason: Answer['finishReason'] = 'length';
    for await (const { token, at } of decode(session, { steps: answerSteps(prompt, maxTokens) })) {
      arrivals.push(at);
      if (model.config.tokens.eos.includes(token)) {
        finishReason = 'stop';
        break;
      }
      emit(text.push(token));
    }
    emit(text.end());
    const whole = pieces.join('');
    const [first = start, last = start] = [arrivals[0], arrivals.at(-1)];
    const newTokens = arrivals.length;
    return {
      text: whole,
      ...splitAnswer(whole, mode),
      finishReason,
      promptTokens: ids.length,
      imageTokens: ids.filter((id) => id >= model.config.decoder.vocab).length,
      newTokens,
      ttftMillis: first - start,
      tokensPerSecond: newTokens > 1 ? ((newTokens - 1) * 1000) / (last - first) : 0,
    };
  } finally {
    session?.dispose();
    for (const image of images) image.dispose();
  }
}

/** Runs a prompt, for which only those of its pictures are encoded whose positions are not known yet. */
function prefill(
  model: Phi4Vision,
  session: Session,
  ids: Uint32Array,
  images: readonly PromptPicture[],
): Promise<void> {
  const encode = (wanted: readonly PromptImage[]) =>
    model.encodeImages(images.filter((image) => wanted.includes(image)));
  return session.prefill(ids, { images, encode });
}
