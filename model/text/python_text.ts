import { Tuple, typeName, unsupported, type Value } from './python_values.ts';

/** A character that Python takes for white space, as a pattern. */
export const SPACE = '[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]';
const LINE_ENDS = '[\\n-\\r\\x1c-\\x1e\\x85\\u2028\\u2029]';
const LINE_END = new RegExp(`\\r\\n|${LINE_ENDS}`);
const WORDS = new RegExp(`(?:(?!${SPACE}).)+`, 'gsu');

/** Python's str methods by name: their parameters, and what they do; optional ones are undefined where they are absent. */
export const TEXT_METHODS: Readonly<Record<string, readonly [string[], (text: string, ...args: Value[]) => Value]>> = {
  upper: [[], (text) => text.toUpperCase()],
  lower: [[], (text) => text.toLowerCase()],
  title: [[], (text) => text.replace(/\p{Cased}+/gu, capitalize)],
  capitalize: [[], capitalize],
  strip: [['chars?'], (text, chars) => strip(text, chars)],
  lstrip: [['chars?'], (text, chars) => strip(text, chars, 'start')],
  rstrip: [['chars?'], (text, chars) => strip(text, chars, 'end')],
  startswith: [['prefix'], (text, prefix) => choices(prefix).some((part) => text.startsWith(part))],
  endswith: [['suffix'], (text, suffix) => choices(suffix).some((part) => text.endsWith(part))],
  removeprefix: [['prefix'], (text, prefix) => (text.startsWith(str(prefix)) ? text.slice(str(prefix).length) : text)],
  removesuffix: [
    ['suffix'],
    (text, suffix) => (text.endsWith(str(suffix)) ? text.slice(0, text.length - str(suffix).length) : text),
  ],
  split: [['sep?', 'maxsplit?'], (text, sep, most) => split(text, sep, int(most ?? -1))],
  rsplit: [['sep?', 'maxsplit?'], rsplit],
  splitlines: [[], splitLines],
  partition: [['sep'], (text, sep) => partition(text, str(sep), text.indexOf(str(sep)))],
  rpartition: [['sep'], (text, sep) => rpartition(text, str(sep), text.lastIndexOf(str(sep)))],
  replace: [['old', 'new', 'count?'], (text, old, by, count) => replace(text, str(old), str(by), int(count ?? -1))],
  join: [
    ['iterable'],
    (text, parts) => (Array.isArray(parts) ? parts : unsupported('join() of this')).map(str).join(text),
  ],
  count: [['sub'], (text, sub) => text.split(nonEmpty(sub)).length - 1],
  find: [['sub'], (text, sub) => characterIndex(text, text.indexOf(str(sub)))],
  rfind: [['sub'], (text, sub) => characterIndex(text, text.lastIndexOf(str(sub)))],
  isspace: [[], (text) => new RegExp(`^${SPACE}+$`).test(text)],
  isdigit: [[], (text) => /^[0-9]+$/.test(ascii('isdigit', text))],
  isalpha: [[], (text) => /^[a-z]+$/i.test(ascii('isalpha', text))],
  isalnum: [[], (text) => /^[a-z0-9]+$/i.test(ascii('isalnum', text))],
  islower: [[], (text) => /\p{Cased}/u.test(text) && text === text.toLowerCase()],
  isupper: [[], (text) => /\p{Cased}/u.test(text) && text === text.toUpperCase()],
};

/** Python's str methods that are not here: to be refused, not undefined. */
export const OTHER_TEXT_METHODS = new Set(
  (
    'casefold center encode expandtabs format format_map index isascii isdecimal isidentifier isnumeric ' +
    'isprintable istitle ljust maketrans rindex rjust swapcase translate zfill'
  ).split(' '),
);

/** A text without the white space, or the characters of `chars`, at its sides. */
export function strip(text: string, chars: Value | undefined, side: 'start' | 'end' | 'both' = 'both'): string {
  const drop = chars === undefined || chars === null ? undefined : new Set(str(chars));
  const space = new RegExp(SPACE);
  const dropped = (char: string) => (drop ? drop.has(char) : space.test(char));
  const all = Array.from(text);
  let [start, end] = [0, all.length];
  if (side !== 'end') while (start < end && dropped(all[start]!)) start++;
  if (side !== 'start') while (end > start && dropped(all[end - 1]!)) end--;
  return all.slice(start, end).join('');
}

/** A text with at most `count` of its `old` replaced, all where that is negative. */
export function replace(text: string, old: string, by: string, count = -1): string {
  const parts = split(text, nonEmpty(old), count);
  return parts.join(by);
}

/** The lines of a text, without their ends. */
export function splitLines(text: string): string[] {
  const lines = text.split(LINE_END);
  return lines.at(-1) === '' ? lines.slice(0, -1) : lines;
}

/** A text with a capital first and small letters after it. */
export function capitalize(text: string): string {
  if (/(?![\0-\u017f])\p{Cased}|[\xdf\u0149]/u.test(text)) unsupported('a capital for letters past U+017F');
  return text.slice(0, 1).toUpperCase() + text.slice(1).toLowerCase();
}

function str(value: Value): string {
  return typeof value === 'string' ? value : fail(`a str expected, not ${typeName(value)}`);
}

function int(value: Value): number {
  return typeof value === 'number' ? value : fail(`an int expected, not ${typeName(value)}`);
}

function fail(reason: string): never {
  throw new Error(reason);
}

function nonEmpty(value: Value): string {
  return str(value) === '' ? unsupported('a search for nothing') : str(value);
}

function ascii(name: string, text: string): string {
  return /[^\0-\x7f]/.test(text) ? unsupported(`${name}() past ASCII`) : text;
}

function choices(value: Value): string[] {
  return value instanceof Tuple ? value.map(str) : [str(value)];
}

function split(text: string, sep: Value | undefined, most: number): string[] {
  if (sep !== undefined && sep !== null) {
    const parts = text.split(nonEmpty(sep));
    return most < 0 || parts.length <= most + 1 ? parts : [...parts.slice(0, most), parts.slice(most).join(str(sep))];
  }
  const words = Array.from(text.matchAll(WORDS));
  if (most < 0 || words.length <= most) return words.map(([word]) => word);
  const rest = strip(text.slice(words[most]!.index), undefined, 'start');
  return [...words.slice(0, most).map(([word]) => word), rest];
}

function rsplit(text: string, sep: Value | undefined, most: Value | undefined): string[] {
  if (sep === undefined || sep === null) unsupported('rsplit() by white space');
  const parts = text.split(nonEmpty(sep));
  const kept = int(most ?? -1);
  if (kept < 0 || parts.length <= kept + 1) return parts;
  const cut = parts.length - kept;
  return [parts.slice(0, cut).join(str(sep)), ...parts.slice(cut)];
}

function partition(text: string, sep: string, at: number): Value {
  if (sep === '') fail('empty separator');
  return Tuple.from(at < 0 ? [text, '', ''] : [text.slice(0, at), sep, text.slice(at + sep.length)]);
}

function rpartition(text: string, sep: string, at: number): Value {
  return at < 0 && sep !== '' ? Tuple.from(['', '', text]) : partition(text, sep, at);
}

function characterIndex(text: string, at: number): number {
  return at < 0 ? at : Array.from(text.slice(0, at)).length;
}
