import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loadConfig } from '../checkpoint/config.ts';
import { Fields } from '../checkpoint/fields.ts';
import { isObject, show } from '../checkpoint/json.ts';
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
  const file = Fields.open(dir, 'tokenizer.json');
  const config = Fields.openOptional(dir, 'tokenizer_config.json');
  const maxId = existsSync(join(dir, 'config.json')) ? loadConfig(dir).decoder.vocab - 1 : MAX_ID;
  const model = file.object('model');
  file.allow('normalizer', null);
  file.object('decoder').require('type', 'ByteLevel');
  if (file.has('post_processor')) file.object('post_processor').require('type', 'ByteLevel');
  model.require('type', 'BPE');
  model.allow('dropout', 0);
  model.allow('continuing_subword_prefix', '');
  model.allow('end_of_word_suffix', '');
  const vocab = readVocab(model, maxId);
  const roles = readRoles(config);
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
  const vocab = new Map(entries.keys().map((token) => [token, entries.integer(token, 0, maxId)]));
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
  const sequence = file.object('pre_tokenizer');
  sequence.require('type', 'Sequence');
  const steps = sequence.objects('pretokenizers');
  const types = show(steps.map((step) => step.get('type')));
  file.check(types === '["Split","ByteLevel"]', 'pre_tokenizer', 'Split and ByteLevel', types);
  const [split, bytes] = steps as [Fields, Fields];
  split.require('behavior', 'Isolated');
  split.allow('invert', false);
  bytes.require('add_prefix_space', false);
  bytes.require('use_regex', false);
  return split.object('pattern').text('Regex');
}

/** The added tokens of tokenizer.json with what tokenizer_config.json changes in them, and adds. */
function readAdded(
  file: Fields,
  config: Fields,
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
  for (const entry of file.objects('added_tokens')) add(entry, entry.integer('id', 0, maxId));
  if (config.has('added_tokens_decoder')) {
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
  const token = (key: string, value: unknown): string => {
    const content = isObject(value) ? value.content : value;
    config.check(typeof content === 'string', key, 'a token, as text or as an object with a content', show(value));
    return content as string;
  };
  const roles = ROLES.filter((key) => config.has(key)).map((key) => [key, token(key, config.get(key))]);
  return {
    ...Object.fromEntries(roles),
    ...(config.has(additional) && { [additional]: config.array(additional).map((value) => token(additional, value)) }),
  };
}
