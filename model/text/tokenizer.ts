import { join } from 'node:path';
import { Tokenizer as WordEncoder } from '@huggingface/tokenizers';
import { CheckpointError, PromptError } from '../../runtime/index.ts';
import { checkpointError } from '../checkpoint/json.ts';
import { tokenBytes } from './byte_level.ts';
import { withinMillis } from './time_limit.ts';
import { type AddedToken, readTokenizerFile, type TokenizerFile } from './tokenizer_file.ts';

/** Longest work on one text, for a pattern out of a file may take time that grows exponentially. */
const MAX_MILLIS = 5000;
/** Longest text: 32768 positions of 128 characters, as many as the longest word of the 15B model's vocabulary has. */
export const MAX_CHARACTERS = 2 ** 22;
const LETTER_OR_DIGIT = '[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]';
const WORD_START = new RegExp(`^${LETTER_OR_DIGIT}`, 'u');
const WORD_END = new RegExp(`${LETTER_OR_DIGIT}$`, 'u');

/**
 * Byte-level BPE as the Rust library does it. Its JavaScript port splits words and merges bytes here; added tokens,
 * decoding and case folding are done in this class, because the port differs there (see the tests named 'upstream').
 */
export class Tokenizer {
  /** The tokens with a role as chat templates know them: bos_token, eos_token, ... */
  readonly specialTokens: TokenizerFile['roles'];
  readonly #words: WordEncoder;
  /** Added tokens in the order in which they are looked for: those that are not `normalized` come first. */
  readonly #added: readonly AddedTokens[];
  readonly #ids: ReadonlyMap<string, number>;
  readonly #bytes: ReadonlyMap<number, Uint8Array>;
  readonly #special: ReadonlySet<number>;

  private constructor(file: TokenizerFile) {
    const { added, vocab } = file;
    this.specialTokens = file.roles;
    this.#words = wordEncoder(file);
    const unnormalized = added.filter((token) => !token.normalized);
    const normalized = added.filter((token) => token.normalized);
    this.#added = [unnormalized, normalized]
      .filter((tokens) => tokens.length > 0)
      .map((tokens) => new AddedTokens(tokens));
    this.#ids = new Map([...vocab, ...added.map(({ content, id }) => [content, id] as const)]);
    this.#bytes = new Map(Array.from(this.#ids, ([content, id]) => [id, tokenBytes(content)]));
    this.#special = new Set(added.filter((token) => token.special).map((token) => token.id));
  }

  /** Reads the tokenizer of a model folder. CheckpointError naming file and key where readTokenizerFile throws one. */
  static load(dir: string): Tokenizer {
    const file = readTokenizerFile(dir);
    const bad = (reason: string) =>
      checkpointError(
        join(dir, 'tokenizer.json'),
        'pre_tokenizer',
        'a valid pattern',
        reason,
        'download the file again',
      );
    try {
      return withinMillis(
        MAX_MILLIS,
        () => new Tokenizer(file),
        () => bad('one that takes too long'),
      );
    } catch (error) {
      throw error instanceof CheckpointError ? error : bad((error as Error).message);
    }
  }

  /** The ids of a text, none put before or after it; PromptError past 4 million characters or 5 seconds of work. */
  encode(text: string): number[] {
    const error = (got: string) =>
      new PromptError(`tokenizer: text: expected ${MAX_CHARACTERS} characters at most, got ${got}; shorten it`);
    if (text.length > MAX_CHARACTERS) throw error(`${text.length}`);
    try {
      return withinMillis(
        MAX_MILLIS,
        () => this.#encode(text, 0),
        () => error(`${text.length} that take too long`),
      );
    } catch (cause) {
      throw cause instanceof PromptError ? cause : error((cause as Error).message);
    }
  }

  /** The text of some ids; an unknown id has none, and bytes that are not UTF-8 become U+FFFD. */
  decode(ids: Iterable<number>, options: { skipSpecial?: boolean } = {}): string {
    const stream = this.stream(options);
    return Array.from(ids, (id) => stream.push(id)).join('') + stream.end();
  }

  /** The id of a token by its content: `<think>`, or for words the spelling of the vocabulary. */
  idOf(content: string): number | undefined {
    return this.#ids.get(content);
  }

  /** Decodes ids one by one; skipSpecial drops the special tokens among them. */
  stream({ skipSpecial = false }: { skipSpecial?: boolean } = {}): TokenStream {
    return new TokenStream((id) => (skipSpecial && this.#special.has(id) ? undefined : this.#bytes.get(id)));
  }

  #encode(text: string, stage: number): number[] {
    const added = this.#added[stage];
    if (!added) return this.#words.encode(text, { add_special_tokens: false }).ids;
    return added.split(text).flatMap((part) => (typeof part === 'number' ? part : this.#encode(part, stage + 1)));
  }
}

/** Text out of ids that come one by one: a character is given out with the last of its bytes. */
export class TokenStream {
  readonly #bytesOf: (id: number) => Uint8Array | undefined;
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  constructor(bytesOf: (id: number) => Uint8Array | undefined) {
    this.#bytesOf = bytesOf;
  }

  /** The text that this id completes, perhaps none. */
  push(id: number): string {
    return this.#decoder.decode(this.#bytesOf(id), { stream: true });
  }

  /** What is held back: U+FFFD for a character that lacks bytes. */
  end(): string {
    return this.#decoder.decode();
  }
}

/** Finds added tokens in text: the leftmost one, and the longest of those that start there. */
class AddedTokens {
  readonly #tokens: ReadonlyMap<string, AddedToken>;
  readonly #pattern: RegExp;

  constructor(tokens: readonly AddedToken[]) {
    this.#tokens = new Map(tokens.map((token) => [token.content, token]));
    const longestFirst = [...this.#tokens.keys()].sort((a, b) => b.length - a.length);
    this.#pattern = new RegExp(
      longestFirst.map((content) => content.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')).join('|'),
      'gu',
    );
  }

  /** Ids of added tokens, and the text between them without the white space that they take along. */
  split(text: string): (string | number)[] {
    const parts: (string | number)[] = [];
    let done = 0;
    for (const { 0: content, index } of text.matchAll(this.#pattern)) {
      const token = this.#tokens.get(content)!;
      const after = index + content.length;
      if (token.singleWord && isInWord(text, index, after)) continue;
      const start = token.lstrip ? whiteSpaceStart(text, index, done) : index;
      const end = token.rstrip ? whiteSpaceEnd(text, after) : after;
      if (done < start) parts.push(text.slice(done, start));
      if (start < end) parts.push(token.id);
      done = end;
    }
    if (done < text.length) parts.push(text.slice(done));
    return parts;
  }
}

function isInWord(text: string, start: number, end: number): boolean {
  return WORD_END.test(text.slice(Math.max(start - 2, 0), start)) || WORD_START.test(text.slice(end, end + 2));
}

function whiteSpaceStart(text: string, end: number, min: number): number {
  let start = Math.max(end, min);
  while (start > min && isWhiteSpace(text[start - 1])) start--;
  return start;
}

function whiteSpaceEnd(text: string, start: number): number {
  let end = start;
  while (isWhiteSpace(text[end])) end++;
  return end;
}

/** White space as Unicode has it: with U+0085 and without U+FEFF, unlike trim() and \s. */
function isWhiteSpace(char: string | undefined): boolean {
  return char !== undefined && /\p{White_Space}/u.test(char);
}

function wordEncoder({ vocab, merges, ignoreMerges, pattern }: TokenizerFile): WordEncoder {
  const model = { type: 'BPE', vocab: Object.fromEntries(vocab), merges, ignore_merges: ignoreMerges };
  const pretokenizers = [
    { type: 'Split', pattern: { Regex: foldCase(pattern) }, behavior: 'Isolated', invert: false },
    { type: 'ByteLevel', add_prefix_space: false, use_regex: false },
  ];
  const pre_tokenizer = { type: 'Sequence', pretokenizers };
  return new WordEncoder(
    { model, pre_tokenizer, normalizer: null, decoder: null, post_processor: null, added_tokens: [] },
    {},
  );
}

/** Oniguruma's `(?i:s)` and `(?i:k)` match a long s and a Kelvin sign too; the port only tells capitals from small letters. */
function foldCase(pattern: string): string {
  const fold = (letter: string) => (letter.toLowerCase() === 's' ? '[sS\u017f]' : '[kK\u212a]');
  return pattern.replace(/\(\?i:[^()\\]*\)/g, (group) => group.replace(/[sk]/gi, fold));
}
