import { decidedText, END_OF_THINKING, type Mode, splitAnswer, THINK } from './text/chat.ts';
import type { Tokenizer, TokenStream } from './text/tokenizer.ts';

/** What decides about a text as it comes. */
interface AnswerTextOptions {
  stop?: readonly string[];
  thinkingBudget?: number;
  onText?: (text: string) => void;
}

/** The text of an answer as it comes, token by token: held back where it may be the beginning of a stop text. */
export class AnswerText {
  /** All that was given out. */
  whole = '';
  #tokenizer: Tokenizer;
  #stream: TokenStream;
  #mode: Mode;
  #stop: readonly string[];
  #budget: number;
  #onText: (text: string) => void;
  #held = '';
  #tokens = 0;
  #ended = false;
  /** Characters of what splitAnswer makes of the text that were taken. */
  #taken = { reasoning: 0, answer: 0 };

  constructor(tokenizer: Tokenizer, mode: Mode, { stop = [], thinkingBudget, onText }: AnswerTextOptions) {
    this.#tokenizer = tokenizer;
    this.#stream = tokenizer.stream({ skipSpecial: true });
    this.#mode = mode;
    this.#stop = stop.filter((text) => text.length > 0);
    this.#budget = thinkingBudget ?? Number.POSITIVE_INFINITY;
    this.#onText = onText ?? (() => {});
  }

  /** Takes a token; whether a stop text stands in the answer now, which ends before it. */
  push(token: number): boolean {
    this.#tokens++;
    this.#held += this.#stream.push(token);
    const stops = this.#stop.map((text) => this.#held.indexOf(text)).filter((at) => at >= 0);
    if (stops.length > 0) {
      this.#give(Math.min(...stops));
      this.#held = '';
      return true;
    }
    this.#give(this.#held.length - this.#undecided());
    return false;
  }

  /** Whether the reasoning has taken all the tokens that it may, and goes on. */
  get thoughtEnough(): boolean {
    if (this.#tokens < this.#budget) return false;
    const text = this.whole + this.#held;
    const thinks = this.#mode === 'think' || text.trimStart().startsWith(THINK);
    return thinks && !text.includes(END_OF_THINKING);
  }

  /** Ends the reasoning; the ids of the tag that does. */
  endThinking(): Uint32Array {
    const ids = Uint32Array.from(this.#tokenizer.encode(END_OF_THINKING));
    for (const id of ids) this.push(id);
    return ids;
  }

  /** Gives out what was held back. */
  end(): void {
    this.#held += this.#stream.end();
    this.#give(this.#held.length);
    this.#ended = true;
  }

  /** What is certain of reasoning and answer and was not taken before; all of it once the text has ended. */
  take(): { reasoning: string; text: string } {
    const { reasoning, answer } = splitAnswer(this.#ended ? this.whole : decidedText(this.whole), this.#mode);
    const part = { reasoning: reasoning.slice(this.#taken.reasoning), text: answer.slice(this.#taken.answer) };
    this.#taken = { reasoning: reasoning.length, answer: answer.length };
    return part;
  }

  /** How many of the last characters may be the beginning of a stop text. */
  #undecided(): number {
    const begins = (count: number) => this.#stop.some((text) => text.startsWith(this.#held.slice(-count)));
    const longest = Math.min(this.#held.length, Math.max(0, ...this.#stop.map((text) => text.length - 1)));
    for (let count = longest; count > 0; count--) if (begins(count)) return count;
    return 0;
  }

  #give(count: number): void {
    const text = this.#held.slice(0, count);
    this.#held = this.#held.slice(count);
    if (text === '') return;
    this.whole += text;
    this.#onText(text);
  }
}
