import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja';
import { CheckpointError, PromptError } from '../../runtime/index.ts';
import { checkpointError, show, statFile } from '../checkpoint/json.ts';
import { withinMillis } from './time_limit.ts';
import { MAX_CHARACTERS, type Tokenizer } from './tokenizer.ts';

/** Whether the model thinks before it answers: as it likes, always or never. */
export type Mode = 'hybrid' | 'think' | 'nothink';

/**
 * One turn of a conversation; a picture is <image> in a content, and `\<image>` is that text. What becomes of a system message is the
 * template's choice: the official one has a system text of its own and leaves the message out.
 */
export interface Message {
  readonly role: 'user' | 'assistant' | 'system';
  readonly content: string;
}

const THINK = '<think>';
const END_OF_THINKING = '</think>';
const NO_THINKING = '<|dummy_84|>';
const OPENINGS: Record<Mode, string> = { hybrid: '', think: THINK, nothink: NO_THINKING };

/** Bounds of what a template may do; the longest range() is that of the reference. */
const MAX_MILLIS = 2000;
const MAX_BYTES = 2 ** 20;
const MAX_RANGE = 100_000;
const MAX_VALUE = 4 * MAX_CHARACTERS;

/** The template of a model folder, which turns a conversation into a prompt. */
export class ChatTemplate {
  readonly #path: string;
  readonly #program: unknown;
  readonly #tokenizer: Tokenizer;

  private constructor(path: string, tokenizer: Tokenizer) {
    this.#path = path;
    this.#tokenizer = tokenizer;
    this.#program = guard(path, () => parse(tokenize(readText(path), { lstrip_blocks: true, trim_blocks: true })));
  }

  /** Reads chat_template.jinja; CheckpointError where it is missing, too long (1 MiB) or not a template. */
  static load(dir: string, tokenizer: Tokenizer): ChatTemplate {
    return new ChatTemplate(join(dir, 'chat_template.jinja'), tokenizer);
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
    const variables = { ...GLOBALS, messages: turns, add_generation_prompt: open };
    return guard(this.#path, () => evaluate(this.#program, variables)) + opening;
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

/** The text of a template; line ends become \n, as the reference has it. */
function readText(path: string): string {
  const { size } = statFile(path);
  if (size > MAX_BYTES) throw new Error(`${size} bytes`);
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(readFileSync(path)).replace(/\r\n?/g, '\n');
}

/** Runs a step of a template that is not trusted: whatever it throws becomes a CheckpointError. */
function guard<T>(path: string, body: () => T): T {
  const error = (got: string) =>
    checkpointError(path, 'template', `a Jinja chat template of at most ${MAX_BYTES} bytes`, got, 'download it again');
  try {
    return withinMillis(MAX_MILLIS, body, () => error(`one that takes more than ${MAX_MILLIS} ms`));
  } catch (cause) {
    throw cause instanceof CheckpointError ? cause : error((cause as Error).message);
  }
}

/** What templates find beside the variables of a conversation. */
const GLOBALS = {
  ...{ true: true, True: true, false: false, False: false, none: null, None: null },
  range,
  raise_exception: (reason: unknown) => {
    throw new Error(String(reason));
  },
};

/** Python's range(), of bounded length. */
function range(...bounds: number[]): number[] {
  const [start, stop, step] = bounds.length > 1 ? [bounds[0]!, bounds[1]!, bounds[2] ?? 1] : [0, bounds[0]!, 1];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= MAX_RANGE)) throw new Error(`range() of ${length} numbers`);
  return Array.from({ length }, (_, i) => start + i * step);
}

function evaluate(program: unknown, variables: Record<string, unknown>): string {
  const environment = new Environment();
  for (const [name, value] of Object.entries(variables)) environment.set(name, value);
  return new BoundedInterpreter(environment).run(program).value as string;
}

/** The part of the interpreter that is used here: its package's own types do not resolve in an ES module. */
interface TemplateInterpreter {
  run(program: unknown): { value: unknown };
  evaluate(...args: unknown[]): { value: unknown };
}

/** Stops a template that doubles text or lists before they fill the memory. */
class BoundedInterpreter extends (Interpreter as new (environment: unknown) => TemplateInterpreter) {
  override evaluate(...args: unknown[]): { value: unknown } {
    const result = super.evaluate(...args);
    const { value } = result;
    const size = typeof value === 'string' || Array.isArray(value) ? value.length : 0;
    if (size > MAX_VALUE) throw new Error(`a value of size ${size}`);
    return result;
  }
}
