import { PromptError } from '../../runtime/index.ts';
import { show } from '../checkpoint/json.ts';
import { Template } from './jinja.ts';
import { asCheckpointError, findTemplate } from './template_file.ts';
import { withinMillis } from './time_limit.ts';
import { MAX_CHARACTERS, type Tokenizer } from './tokenizer.ts';

/** Whether the model thinks before it answers: as it likes, always or never. */
export type Mode = 'hybrid' | 'think' | 'nothink';

/**
 * One turn of a conversation; a picture is <image> in a content, and `\<image>` is that text. What becomes of a system
 * message is the template's choice: the official one has a system text of its own and leaves the message out.
 */
export interface Message {
  readonly role: 'user' | 'assistant' | 'system';
  readonly content: string;
}

export const THINK = '<think>';
export const END_OF_THINKING = '</think>';
const NO_THINKING = '<|dummy_84|>';
const OPENINGS: Record<Mode, string> = { hybrid: '', think: THINK, nothink: NO_THINKING };

/** Bounds of what a template may do. */
const MAX_MILLIS = 2000;
const MAX_VALUE = 4 * MAX_CHARACTERS;

/** The template of a model folder, which turns a conversation into a prompt. */
export class ChatTemplate {
  readonly #path: string;
  readonly #template: Template;
  readonly #tokenizer: Tokenizer;

  private constructor(path: string, source: string, tokenizer: Tokenizer) {
    this.#path = path;
    this.#tokenizer = tokenizer;
    this.#template = guard(path, () => new Template(source, MAX_VALUE));
  }

  /** Reads the template that findTemplate finds; CheckpointError where it is missing, too long (1 MiB) or none. */
  static load(dir: string, tokenizer: Tokenizer): ChatTemplate {
    const { path, source } = findTemplate(dir);
    return new ChatTemplate(path, source, tokenizer);
  }

  /**
   * The prompt of a conversation, open for an answer in a mode unless `open` is false; the thinking of earlier answers
   * is left out. PromptError for no or malformed messages, a user's without text or picture, and a mode whose token the
   * tokenizer lacks or that there is not; CheckpointError where the template fails, or takes more than 2 seconds or 16 million characters.
   */
  render(messages: readonly Message[], mode: Mode = 'hybrid', open = true): string {
    checkMessages(messages);
    if (!Object.hasOwn(OPENINGS, mode)) {
      throw new PromptError(`chat: mode: expected ${Object.keys(OPENINGS).join(', ')}, got ${show(mode)}`);
    }
    const opening = open ? OPENINGS[mode] : '';
    if (opening !== '' && this.#tokenizer.idOf(opening) === undefined) {
      throw new PromptError(`chat: mode ${mode}: expected a token ${opening}, got a tokenizer without; use hybrid`);
    }
    const turns = messages.map(({ role, content }) => ({
      role,
      content: role === 'assistant' ? spoken(content) : content,
    }));
    const given = { messages: turns, tools: null, documents: null, add_generation_prompt: open };
    const variables = { ...this.#tokenizer.specialTokens, ...given };
    return guard(this.#path, () => this.#template.render(variables)) + opening;
  }
}

/**
 * Parts a generated text into what stands between <think> and </think> and the answer after it, both without white
 * space around; forced to think, the text lacks its <think>, and one that was cut short has no answer yet.
 */
export function splitAnswer(text: string, mode: Mode): { reasoning: string; answer: string } {
  const generated = text.replaceAll(NO_THINKING, '').trim();
  const opened = generated.startsWith(THINK);
  if (!opened && mode !== 'think') return { reasoning: '', answer: generated };
  const thinking = opened ? generated.slice(THINK.length) : generated;
  const end = thinking.indexOf(END_OF_THINKING);
  if (end < 0) return { reasoning: thinking.trim(), answer: '' };
  return { reasoning: thinking.slice(0, end).trim(), answer: thinking.slice(end + END_OF_THINKING.length).trim() };
}

/** A generated text without what may be the beginning of a tag at its end: what splitAnswer makes of it only grows. */
export function decidedText(text: string): string {
  const begins = (at: number) => [THINK, END_OF_THINKING, NO_THINKING].some((tag) => tag.startsWith(text.slice(at)));
  const longest = Math.max(0, text.length - NO_THINKING.length);
  for (let at = longest; at < text.length; at++) if (begins(at)) return text.slice(0, at);
  return text;
}

/** What an earlier answer said, whichever mode it came from; one without thinking stays as it is. */
function spoken(content: string): string {
  if (![THINK, END_OF_THINKING, NO_THINKING].some((tag) => content.includes(tag))) return content;
  return splitAnswer(content, content.includes(END_OF_THINKING) ? 'think' : 'hybrid').answer;
}

function checkMessages(messages: readonly Message[]): void {
  const check = (valid: boolean, what: string, expected: string, got: string) => {
    if (!valid) throw new PromptError(`chat: ${what}: expected ${expected}, got ${got}`);
  };
  check(messages.length > 0, 'messages', 'one at least', 'none; ask something');
  messages.forEach(({ role, content }, i) => {
    const what = `messages[${i}]`;
    check(['user', 'assistant', 'system'].includes(role), `${what}.role`, 'user, assistant or system', show(role));
    const hint = 'join its parts, and write <image> for a picture';
    check(typeof content === 'string', `${what}.content`, 'a string', `${typeof content}; ${hint}`);
    check(role !== 'user' || content.trim() !== '', `${what}.content`, 'text or a picture', 'neither; ask something');
    check(
      content.length <= MAX_CHARACTERS,
      `${what}.content`,
      `at most ${MAX_CHARACTERS} characters`,
      `${content.length}; shorten it`,
    );
  });
}

/** Runs a step of a template that is not trusted: whatever it throws becomes a CheckpointError. */
function guard<T>(path: string, body: () => T): T {
  try {
    return withinMillis(MAX_MILLIS, body, () => new Error(`one that takes more than ${MAX_MILLIS} ms`));
  } catch (error) {
    throw asCheckpointError(path, error);
  }
}
