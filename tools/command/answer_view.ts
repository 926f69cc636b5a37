import { type ProgressBar, progressBar } from '../../bench/progress.ts';
import { digits } from '../../bench/report.ts';
import type { GenerateOptions } from '../../model/index.ts';
import { say, write } from './terminal.ts';

/** Until a note says why there may be no token yet. */
const PATIENCE_MILLIS = 4000;

/** An answer on its way to the user: the answer itself on standard output; on standard error its reasoning, and how far it is before. */
export class AnswerView {
  #quiet: boolean;
  #bars = new Map<string, ProgressBar>();
  #timer: NodeJS.Timeout | undefined;
  #reasons = false;
  #last = '';

  /** A quiet one shows only how far the answer is before it begins. */
  constructor(quiet = false) {
    this.#quiet = quiet;
    if (!quiet) this.#timer = setTimeout(() => this.#explainWait(), PATIENCE_MILLIS);
  }

  /** Shows how far pictures and prompt are. */
  readonly onProgress: NonNullable<GenerateOptions['onProgress']> = (phase, done, total) => {
    if (!this.#bars.has(phase)) this.#stopBars();
    const bar = this.#bars.get(phase) ?? progressBar(phase);
    this.#bars.set(phase, bar);
    bar.update(done, total);
  };

  /** Shows what came. */
  add({ text, reasoning }: { text: string; reasoning: string }): void {
    this.#stopWaiting();
    if (this.#quiet) return;
    write(process.stderr, reasoning, 'faint');
    this.#reasons ||= reasoning !== '';
    if (text === '') return;
    if (this.#reasons && this.#last === '') say('\n');
    write(process.stdout, text);
    this.#last = text;
  }

  /** Ends the last line. */
  end(): void {
    this.#stopWaiting();
    if (this.#last === '' && this.#reasons) say('');
    if (this.#last !== '' && !this.#last.endsWith('\n')) process.stdout.write('\n');
  }

  #stopWaiting(): void {
    clearTimeout(this.#timer);
    this.#stopBars();
  }

  #explainWait(): void {
    const explain = () =>
      say(
        'note: no token yet; a long prompt takes its time, and a driver compiles each kernel at its first use, here or after an update: after that answers begin sooner',
      );
    const bar = [...this.#bars.values()].at(-1);
    if (bar) bar.above(explain);
    else explain();
  }

  #stopBars(): void {
    for (const bar of this.#bars.values()) bar.stop();
    this.#bars.clear();
  }
}

/** What an answer took, in a line. */
export function statistics(answer: {
  promptTokens: number;
  imageTokens: number;
  newTokens: number;
  finishReason: string;
  ttftMillis: number;
  tokensPerSecond: number;
  computed?: number;
}): string {
  const { promptTokens, imageTokens, newTokens, finishReason, ttftMillis, tokensPerSecond, computed } = answer;
  const counted = computed === undefined ? '' : `, ${computed} of them computed`;
  return (
    `${promptTokens} prompt tokens (${imageTokens} of pictures)${counted}, ${newTokens} new tokens, finish reason ${finishReason}, ` +
    `TTFT ${digits(ttftMillis)} ms, ${digits(tokensPerSecond)} tokens/s`
  );
}
