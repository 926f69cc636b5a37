import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loadConfig } from '../checkpoint/config.ts';
import { checkpointError, isObject, type JsonObject, readObject, show } from '../checkpoint/json.ts';
import { BYTE_CHARS } from './byte_level.ts';

/** A token that is looked for in text before all else; lstrip and rstrip take the white space beside it along. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Not beside a letter, a digit or an underscore. */
  readonly singleWord: boolean;
  /** Looked for after the tokens that are not. */
  readonly normalized: boolean;
  readonly special: boolean;
}

/** What a tokenizer.json holds, checked. */
export interface TokenizerFile {
  readonly added: readonly AddedToken[];
  readonly vocab: ReadonlyMap<string, number>;
  readonly merges: readonly (readonly [string, string])[];
  /** The tokens that have a role, by its name: bos_token, additional_special_tokens, ... */
  readonly roles: Readonly<Record<string, string | readonly string[]>>;
  /** A word that the vocabulary has is one token, whatever the merges make of it. */
  readonly ignoreMerges: boolean;
  /** The Oniguruma pattern of the words that are encoded each on its own. */
  readonly pattern: string;
}

const MAX_ID = 2 ** 31 - 1;
const ROLES = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];

/**
 * Reads tokenizer.json, and tokenizer_config.json where it exists: as in the reference, its added_tokens_decoder
 * replaces flags, and tokens that it gives a role are special. CheckpointError naming file and key where something is
 * missing, broken or not byte-level BPE, and for an id that repeats or is past the vocab_size of the folder's config.json.
 */
export function readTokenizerFile(dir: string): TokenizerFile {
  const file = Fields.open(join(dir, 'tokenizer.json'));
  const configPath = join(dir, 'tokenizer_config.json');
  const config = existsSync(configPath) ? Fields.open(configPath) : undefined;
  const maxId = existsSync(join(dir, 'config.json')) ? loadConfig(dir).decoder.vocab - 1 : MAX_ID;
  file.expect('normalizer', [undefined]);
  file.expectType('decoder', 'ByteLevel');
  if (file.get('post_processor') !== undefined) file.expectType('post_processor', 'ByteLevel');
  file.expectType('model', 'BPE');
  const model = file.object('model');
  model.expect('dropout', [undefined, 0]);
  model.expect('continuing_subword_prefix', [undefined, '']);
  model.expect('end_of_word_suffix', [undefined, '']);
  const vocab = readVocab(model, maxId);
  const roles = config ? readRoles(config) : {};
  return {
    added: readAdded(file, config, vocab, maxId, new Set(Object.values(roles).flat())),
    roles,
    vocab,
    merges: readMerges(model, vocab),
    ignoreMerges: model.boolean('ignore_merges', false),
    pattern: readPattern(file),
  };
}

function readVocab(model: Fields, maxId: number): Map<string, number> {
  const entries = model.object('vocab');
  const vocab = new Map(entries.keys().map((token) => [token, entries.integer(token, maxId)]));
  const missing = BYTE_CHARS.find((char) => !vocab.has(char));
  model.check(missing === undefined, 'vocab', 'a token for each of the 256 bytes', `none for ${missing}`);
  const ids = new Set(vocab.values()).size;
  model.check(ids === vocab.size, 'vocab', `${vocab.size} ids`, `${ids} that differ`);
  return vocab;
}

function readMerges(model: Fields, vocab: ReadonlyMap<string, number>): [string, string][] {
  return model.array('merges').map((merge, i) => {
    const pair = typeof merge === 'string' ? merge.split(' ') : merge;
    const valid =
      Array.isArray(pair) && pair.length === 2 && pair.every((part) => vocab.has(part)) && vocab.has(pair.join(''));
    model.check(valid, `merges[${i}]`, 'two tokens that make a third one of the vocabulary', show(merge));
    return pair as [string, string];
  });
}

/** The pattern of the one supported shape: words by a pattern, then the bytes of each. */
function readPattern(file: Fields): string {
  file.expectType('pre_tokenizer', 'Sequence');
  const steps = file.object('pre_tokenizer').objects('pretokenizers');
  const types = show(steps.map((step) => step.get('type')));
  file.check(types === '["Split","ByteLevel"]', 'pre_tokenizer', 'Split and ByteLevel', types);
  const [split, bytes] = steps as [Fields, Fields];
  split.expect('behavior', ['Isolated']);
  split.expect('invert', [undefined, false]);
  bytes.expect('add_prefix_space', [false]);
  bytes.expect('use_regex', [false]);
  return split.object('pattern').text('Regex');
}

/** The added tokens of tokenizer.json with what tokenizer_config.json changes in them, and adds. */
function readAdded(
  file: Fields,
  config: Fields | undefined,
  vocab: ReadonlyMap<string, number>,
  maxId: number,
  special: ReadonlySet<string>,
): AddedToken[] {
  const contents = new Map(Array.from(vocab, ([content, id]) => [id, content]));
  const ids = new Map(vocab);
  const added = new Map<number, AddedToken>();
  const add = (entry: Fields, id: number) => {
    const content = entry.text('content');
    const rival = contents.get(id) ?? content;
    entry.check(rival === content, 'content', `another id than ${id} of ${show(rival)}`, show(content));
    const other = ids.get(content) ?? id;
    entry.check(other === id, 'content', `the id ${other} that ${show(content)} has`, `${id}`);
    contents.set(id, content);
    ids.set(content, id);
    const isSpecial = entry.boolean('special', false);
    added.set(id, {
      id,
      content,
      lstrip: entry.boolean('lstrip', false),
      rstrip: entry.boolean('rstrip', false),
      singleWord: entry.boolean('single_word', false),
      normalized: entry.boolean('normalized', !isSpecial),
      special: isSpecial || special.has(content),
    });
  };
  for (const entry of file.objects('added_tokens')) add(entry, entry.integer('id', maxId));
  if (config?.get('added_tokens_decoder') !== undefined) {
    const entries = config.object('added_tokens_decoder');
    for (const key of entries.keys()) {
      entries.check(/^\d+$/.test(key) && Number(key) <= maxId, key, `an id of at most ${maxId}`, key);
      add(entries.object(key), Number(key));
    }
  }
  return [...added.values()];
}

/** The tokens to which tokenizer_config.json gives a role, each as a string or as an object with a content. */
function readRoles(config: Fields): Record<string, string | string[]> {
  const additional = 'additional_special_tokens';
  const roles: Record<string, string | string[]> = {};
  for (const role of ROLES.filter((key) => config.get(key) !== undefined)) roles[role] = config.token(role);
  if (config.get(additional) !== undefined) {
    roles[additional] = config.array(additional).map((_, i) => config.token(additional, i));
  }
  return roles;
}

/** The values of one JSON object, each checked as it is read; null counts as absent, as it does in the reference. */
class Fields {
  readonly #file: string;
  readonly #values: JsonObject;
  readonly #prefix: string;

  constructor(file: string, values: JsonObject, prefix: string) {
    this.#file = file;
    this.#values = values;
    this.#prefix = prefix;
  }

  static open(path: string): Fields {
    return new Fields(path, readObject(path), '');
  }

  check(condition: boolean, key: string, expected: string, got: string): void {
    if (condition) return;
    const hint = 'use the tokenizer of a Phi-4-reasoning-vision checkpoint, as published';
    throw checkpointError(this.#file, this.#prefix + key, expected, got, hint);
  }

  keys(): string[] {
    return Object.keys(this.#values);
  }

  get(key: string): unknown {
    return this.#values[key] ?? undefined;
  }

  /** The key must hold one of these values; undefined among them lets it be absent. */
  expect(key: string, values: readonly unknown[]): void {
    const value = this.get(key);
    this.check(values.includes(value), key, values.map((supported) => show(supported)).join(' or '), show(value));
  }

  expectType(key: string, type: string): void {
    this.object(key).expect('type', [type]);
  }

  boolean(key: string, fallback: boolean): boolean {
    const value = this.get(key) ?? fallback;
    this.check(typeof value === 'boolean', key, 'true or false', show(value));
    return value as boolean;
  }

  integer(key: string, max: number): number {
    const value = this.get(key);
    const valid = Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max;
    this.check(valid, key, `an integer from 0 to ${max}`, show(value));
    return value as number;
  }

  text(key: string): string {
    const value = this.get(key);
    this.check(typeof value === 'string' && value !== '', key, 'text', show(value));
    return value as string;
  }

  /** A token as a string or as an object with a content: of the key, or one of those in its array. */
  token(key: string, i?: number): string {
    const value = i === undefined ? this.get(key) : this.array(key)[i];
    const content = isObject(value) ? value.content : value;
    this.check(typeof content === 'string', key, 'a token, as text or as an object with a content', show(value));
    return content as string;
  }

  array(key: string): unknown[] {
    const value = this.get(key);
    this.check(Array.isArray(value), key, 'an array', show(value));
    return value as unknown[];
  }

  object(key: string): Fields {
    return this.#nested(key, this.get(key));
  }

  objects(key: string): Fields[] {
    return this.array(key).map((value, i) => this.#nested(`${key}[${i}]`, value));
  }

  #nested(key: string, value: unknown): Fields {
    this.check(isObject(value), key, 'an object', show(value));
    return new Fields(this.#file, value as JsonObject, `${this.#prefix}${key}.`);
  }
}
