import { NotFiniteError, Owned, PromptError, type Storage, type Tensor } from '../runtime/index.ts';
import { type ImageFeatures, joinFeatures, type Phi4Vision } from './phi4_vision.ts';
import type { Processor, Prompt } from './processor.ts';
import type { Session, SessionOptions } from './session.ts';
import { splitAnswer } from './text/chat.ts';

/** Steps submitted before the token of the first of them is awaited. */
const STEPS_AHEAD = 3;

/** A row of a session's history. */
const CHOICE_BYTES = 8;

/** How to decode; a forced token replaces the model's choice as the input of the next step. */
export interface DecodeOptions {
  /** Tokens to decode at most. */
  steps: number;
  forced?: Uint32Array;
  /** Logits of every step are copied here, f32 [steps, vocab], where given. */
  logits?: Tensor;
}

/** The model's choice at one step, and when it reached the host (milliseconds of performance.now). */
export interface DecodedToken {
  token: number;
  at: number;
}

/**
 * Decodes after a prefill, a few steps ahead of the tokens it yields; the caller stops by leaving the loop.
 * Throws PromptError where the session holds no prompt, or prompt and steps pass its capacity; NotFiniteError in place of a
 * token whose logits are not all finite; DeviceLostError when the device goes away.
 */
export async function* decode(
  session: Session,
  { steps, forced, logits }: DecodeOptions,
): AsyncGenerator<DecodedToken> {
  const { device, capacity, promptLength } = session;
  if (promptLength + steps - 1 > capacity) {
    throw new PromptError(
      `decode: expected at most ${capacity} positions, got ${promptLength} of prompt and ${steps} steps; allow a longer context`,
    );
  }
  const ring = Array.from({ length: STEPS_AHEAD }, () => device.readbackBuffer(16, 'token'));
  const pending: Promise<DecodedToken>[] = [];
  try {
    for (let step = 0; step < steps; step++) {
      if (pending.length === STEPS_AHEAD) yield await pending.shift()!;
      const encoder = step === 0 ? session.start(forced) : session.step();
      const staging = ring[step % STEPS_AHEAD]!;
      encoder.copyBufferToBuffer(session.history.storage.buffer, step * CHOICE_BYTES, staging, 0, CHOICE_BYTES);
      if (logits) copyRow(encoder, session, logits.storage!, step);
      device.submit(encoder, 'decode');
      const token = readToken(session, staging, step);
      token.catch(() => {}); // it is awaited later; until then a lost device must not count as unhandled
      pending.push(token);
    }
    while (pending.length > 0) yield await pending.shift()!;
  } finally {
    await Promise.allSettled(pending);
    for (const buffer of ring) device.free(buffer);
  }
}

function copyRow(encoder: GPUCommandEncoder, { logits, vocab }: Session, target: Storage, step: number): void {
  encoder.copyBufferToBuffer(logits.storage.buffer, 0, target.buffer, target.offset + step * vocab * 4, vocab * 4);
}

async function readToken({ device, vocab, dtype }: Session, staging: GPUBuffer, step: number): Promise<DecodedToken> {
  const bytes = await device.map(staging);
  const [token, strays] = new Uint32Array(bytes.slice(0, CHOICE_BYTES).buffer) as unknown as [number, number];
  staging.unmap();
  if (strays === 0) return { token, at: performance.now() };
  const hint = dtype === 'f16' ? 'load the model in f32' : 'is a weight damaged or too large?';
  throw new NotFiniteError(
    `decode: token ${step + 1}: expected ${vocab} finite logits, got ${strays} that are not, in ${dtype}; ${hint}`,
  );
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

/** Positions of a prompt and the longest answer to it: the capacity that generate() gives its session. */
export function answerCapacity({ ids, context }: Prompt, maxTokens = MAX_TOKENS): number {
  return ids.length + Math.min(maxTokens, context - ids.length + 1);
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
  const capacity = answerCapacity(prompt, maxTokens);
  const session = await prefill(model, prompt, { capacity, sampling: options.sampling }, options.releaseVision);
  try {
    const text = processor.tokenizer.stream({ skipSpecial: true });
    const pieces: string[] = [];
    const emit = (piece: string) => {
      if (!piece) return;
      pieces.push(piece);
      options.onText?.(piece);
    };
    const arrivals: number[] = [];
    let finishReason: Answer['finishReason'] = 'length';
    for await (const { token, at } of decode(session, { steps: capacity - ids.length })) {
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
    session.dispose();
  }
}

/** A session that has run the prompt; the cache is made after its pictures are encoded, and their features are freed. */
async function prefill(
  model: Phi4Vision,
  { ids, pictures }: Prompt,
  options: SessionOptions,
  releaseVision = false,
): Promise<Session> {
  const images: ImageFeatures[] = [];
  const owned = new Owned(model.device);
  try {
    for (const patches of pictures) images.push(await model.encodeImage(patches));
    if (releaseVision) model.releaseVision();
    return await owned.orFree(async () => {
      const session = owned.keep(await model.session(options));
      await session.prefill(ids, joinFeatures(images));
      return session;
    });
  } finally {
    for (const image of images) image.dispose();
  }
}
