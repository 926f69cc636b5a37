import { PromptError } from '../../runtime/index.ts';
import type { Answer, GenerateOptions, LogProb, PromptOptions } from '../index.ts';
import type { PictureOptions } from './picture.ts';

/**
 * How to answer; every field is optional. As in transformers, what is not told of sampling follows the model's
 * generation_config.json: that of the published model draws, at temperature 0.8 and topP 0.95, and top_k, which it leaves out, is 50.
 * Unlike there, temperature 0 takes the likeliest token (as do_sample false does there), an answer has 4096 tokens at most instead of
 * 20, and the same seed gives other tokens.
 */
export interface AnswerOptions extends PictureOptions {
  /** Whether the model thinks before it answers: as it likes ('hybrid', unless told), always or never. */
  readonly mode?: PromptOptions['mode'];
  /** Tokens to answer with at most, reasoning included; 4096 unless told. */
  readonly maxTokens?: number;
  /** 0 takes the likeliest token; else logits are divided by it before one is drawn. */
  readonly temperature?: number;
  /** Draw from the so many likeliest; 0 from all. */
  readonly topK?: number;
  /** Draw from the likeliest that together reach this probability; 1 from all. */
  readonly topP?: number;
  /** The same seed, below 2^32, gives the same answer on the same device; a random one unless told. */
  readonly seed?: number;
  /** Texts that end the answer, which then lacks them; none unless told. */
  readonly stop?: readonly string[];
  /** How many of the likeliest tokens come with each, 0 to 20, beside its own log probability; none of these unless told. */
  readonly logProbs?: number;
  /** Tokens of reasoning at most: then the tag that ends it is put in; no bound unless told. */
  readonly thinkingBudget?: number;
  /** Ends the answer, which then is what there is so far. */
  readonly signal?: AbortSignal;
  /** Told the share of the pictures that are encoded, then the positions of the prompt that are done, of how many. */
  readonly onProgress?: GenerateOptions['onProgress'];
}

/** An answer, why it ended, what it took and how long. */
export interface Result {
  /** The answer, and what the model thought before it, both without white space around. */
  readonly text: string;
  readonly reasoning: string;
  /** The tokens of both, tags and the token that ends the answer included. */
  readonly tokenIds: readonly number[];
  /** Where they were asked for: each token with its log probability, then the likeliest with theirs. */
  readonly logProbs?: readonly (readonly LogProb[])[];
  /** stop: the model ended it; length: maxTokens or the context did; stop_string: one of `stop`; abort: the signal. */
  readonly finishReason: Answer['finishReason'];
  /** Positions of the prompt, those of them that pictures take, and tokens of the answer. */
  readonly usage: { readonly promptTokens: number; readonly imageTokens: number; readonly newTokens: number };
  /** From the prepared prompt to the first token (0 where there is none) and to the end, and the rate after the first token. */
  readonly timing: { readonly ttftMillis: number; readonly millis: number; readonly tokensPerSecond: number };
  /** What its tokens were drawn with. */
  readonly seed: number;
}

/** What came of an answer since the part before. */
export interface Part {
  /** Text of the answer; may be empty, as while the model thinks. */
  readonly text: string;
  /** Text of the reasoning before it. */
  readonly reasoning: string;
  /** The tokens that came; characters that they only begin are in a later part. */
  readonly tokenIds: readonly number[];
  readonly logProbs?: Result['logProbs'];
  /** In the last part alone: the whole answer. */
  readonly end?: Result;
}

/** An answer on its way: its parts as they come, or all of it at once. It begins when it is first asked for a part. */
export class Generation implements AsyncIterable<Part> {
  #parts: AsyncGenerator<Part>;

  constructor(parts: AsyncGenerator<Part>) {
    this.#parts = parts;
  }

  /** The parts as they come; leaving the loop ends the answer. */
  [Symbol.asyncIterator](): AsyncGenerator<Part> {
    return this.#parts;
  }

  /** Reads what is left and returns the whole answer; throws a PromptError where its end was read or given up before. */
  async result(): Promise<Result> {
    for await (const { end } of this.#parts) if (end) return end;
    throw new PromptError('generation: expected one that has not ended, got one that was read; keep its last part');
  }
}

/** The result of the parts below. */
export function resultOf(answer: Answer, seed: number): Result {
  const { reasoning, tokenIds, logProbs, finishReason, promptTokens, imageTokens, newTokens } = answer;
  const { ttftMillis, millis, tokensPerSecond } = answer;
  return {
    text: answer.answer,
    reasoning,
    tokenIds,
    ...(logProbs && { logProbs }),
    finishReason,
    usage: { promptTokens, imageTokens, newTokens },
    timing: { ttftMillis, millis, tokensPerSecond },
    seed,
  };
}
