import { PromptError } from '../../runtime/index.ts';
import type { Patches, Session } from '../index.ts';
import { type AnswerOptions, Generation, type Part } from './generation.ts';
import type { ChatMessage, Content } from './messages.ts';

/** What a conversation keeps between its turns. */
export interface Kept {
  /** Its sequence, once there is one. */
  session?: Session;
  /** Its pictures so far, in order, as the vision tower takes them. */
  pictures: readonly Patches[];
}

/** Answers messages, of which what is kept may know the first. */
export type Answerer = (messages: readonly ChatMessage[], options: AnswerOptions, kept: Kept) => AsyncGenerator<Part>;

/**
 * A conversation that computes only what is new in each turn: its keys and values and its pictures stay, also in turns that replace
 * an answer with thinking by the answer alone. It holds memory of the model's until it is disposed of.
 */
export class Chat {
  #answer: Answerer;
  #options: AnswerOptions;
  #messages: readonly ChatMessage[];
  #kept: Kept = { pictures: [] };
  #turn: object | undefined;

  constructor(answer: Answerer, options: AnswerOptions, messages: readonly ChatMessage[]) {
    this.#answer = answer;
    this.#options = options;
    this.#messages = [...messages];
  }

  /** What was said so far, without reasoning. */
  get messages(): readonly ChatMessage[] {
    return this.#messages;
  }

  /**
   * The answer to a further message, with options that replace the conversation's. A turn counts as far as its answer was read, also
   * where it is aborted or left; one that fails, or ends so before any text, leaves the conversation as it was. PromptError while
   * another turn is on its way.
   */
  send(content: Content, options: AnswerOptions = {}): Generation {
    return new Generation(this.#send([...this.#messages, { role: 'user', content }], { ...this.#options, ...options }));
  }

  async *#send(messages: readonly ChatMessage[], options: AnswerOptions): AsyncGenerator<Part> {
    if (this.#turn)
      throw new PromptError(
        'chat: send: expected no answer on its way, got one; read it to its end, leave its loop or reset()',
      );
    const turn = {};
    this.#turn = turn;
    const kept = this.#kept;
    const { pictures } = kept;
    let [said, counts] = ['', false];
    try {
      for await (const part of this.#answer(messages, options, kept)) {
        said += part.text;
        counts = said !== '' || (part.end !== undefined && part.end.finishReason !== 'abort');
        yield part;
      }
    } catch (error) {
      counts = false;
      throw error;
    } finally {
      if (!counts) kept.pictures = pictures;
      if (this.#turn === turn) {
        this.#turn = undefined;
        if (counts) this.#messages = [...messages, { role: 'assistant', content: said }];
      }
    }
  }

  /** Begins anew with the messages given, none unless told; an answer on its way counts no more. */
  reset(messages: readonly ChatMessage[] = []): void {
    this.dispose();
    this.#messages = [...messages];
  }

  /** Lets go of what it keeps; a further turn would compute all of it again. */
  dispose(): void {
    this.#turn = undefined;
    this.#kept.session?.dispose();
    this.#kept = { pictures: [] };
  }

  /** As dispose(), for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}
