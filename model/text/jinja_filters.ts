import { capitalize, replace, SPACE, splitLines, strip } from './python_text.ts';
import {
  compare,
  contains,
  dictKey,
  equal,
  Float,
  iterate,
  length,
  Once,
  Range,
  Tuple,
  text,
  toJson,
  toNumber,
  truth,
  Undefined,
  unsupported,
  type Value,
  View,
} from './python_values.ts';

/** What filters need of the environment: an item of a value, as `value[key]` has it. */
export type ItemOf = (value: Value, key: Value) => Value;

type Named = Map<string, Value>;
type Bound = (value: Value, args: (Value | undefined)[], item: ItemOf) => Value;

/** A filter of the name that is given its value and its arguments. */
export function applyFilter(name: string, value: Value, args: Value[], named: Named, item: ItemOf): Value {
  if (Object.hasOwn(ITEM_FILTERS, name)) return ITEM_FILTERS[name]!(value, args, named, item);
  const [parameters, filter] = Object.hasOwn(FILTERS, name) ? FILTERS[name]! : unsupported(`the filter ${name}`);
  return filter(value, bind(name, parameters, args, named), item);
}

/** A test of the name that is given its value and its arguments. */
export function applyTest(name: string, value: Value, args: Value[] = []): boolean {
  const test = Object.hasOwn(TESTS, name) ? TESTS[name]! : unsupported(`the test ${name}`);
  if (args.length !== test.length - 1) throw new Error(`the test ${name} with ${args.length} arguments`);
  return test(value, args[0]!);
}

/** Arguments in the order of the parameters, a name with ? for an optional one; an Error for any other call. */
export function bind(name: string, parameters: readonly string[], args: readonly Value[], named: Named) {
  const names = parameters.map((parameter) => parameter.replace('?', ''));
  const unknown = Array.from(named.keys()).find((key) => !names.includes(key) || names.indexOf(key) < args.length);
  if (unknown !== undefined || args.length > names.length) {
    unsupported(`${name}() with the argument ${unknown ?? text(args[names.length]!)}`);
  }
  return parameters.map((parameter, i) => {
    const value = args[i] ?? (args.length > i ? args[i] : named.get(names[i]!));
    if (value === undefined && !parameter.endsWith('?')) throw new Error(`${name}() without ${parameter}`);
    return value;
  });
}

type Free = (value: Value, args: Value[], named: Named, item: ItemOf) => Value;

/** Filters that hand arguments on to another filter or test. */
const ITEM_FILTERS: Readonly<Record<string, Free>> = {
  map,
  reject: (value, args) => new Once(iterate(value).filter((one) => !passes(one, args))),
  rejectattr: (value, args, _, item) => selectAttribute(value, args, item, false),
  select: (value, args) => new Once(iterate(value).filter((one) => passes(one, args))),
  selectattr: (value, args, _, item) => selectAttribute(value, args, item, true),
};

const FILTERS: Readonly<Record<string, readonly [string[], Bound]>> = {
  abs: [[], (value) => (value instanceof Float ? new Float(Math.abs(value.value)) : Math.abs(number(value)))],
  capitalize: [[], (value) => capitalize(text(value))],
  count: [[], (value) => length(value)],
  d: [['default_value?', 'boolean?'], orDefault],
  default: [['default_value?', 'boolean?'], orDefault],
  dictsort: [['case_sensitive?', 'by?', 'reverse?'], dictSort],
  first: [[], (value) => one(iterate(value)[0])],
  float: [['default?'], toFloat],
  indent: [['width?', 'first?', 'blank?'], indent],
  int: [['default?'], toInt],
  items: [[], (value) => new Once(value instanceof Undefined ? [] : entries(value))],
  join: [['d?', 'attribute?'], join],
  last: [[], (value) => one(ordered(value).at(-1))],
  length: [[], (value) => length(value)],
  list: [[], (value) => [...iterate(value)]],
  lower: [[], (value) => text(value).toLowerCase()],
  max: [['case_sensitive?', 'attribute?'], (value, args, item) => extreme(value, args, item, 1)],
  min: [['case_sensitive?', 'attribute?'], (value, args, item) => extreme(value, args, item, -1)],
  replace: [['old', 'new', 'count?'], replaced],
  reverse: [[], reverse],
  sort: [['reverse?', 'case_sensitive?', 'attribute?'], sort],
  string: [[], text],
  title: [[], (value) => text(value).replace(WORD, capitalize)],
  tojson: [['ensure_ascii?', 'indent?', 'separators?', 'sort_keys?'], json],
  trim: [['chars?'], (value, [chars]) => strip(text(value), chars)],
  unique: [['case_sensitive?', 'attribute?'], unique],
  upper: [[], (value) => text(value).toUpperCase()],
};

const TESTS: Readonly<Record<string, (value: Value, other: Value) => boolean>> = {
  boolean: (value) => typeof value === 'boolean',
  callable: (value) => typeof value === 'function' || value instanceof Undefined,
  defined: (value) => !(value instanceof Undefined),
  even: (value) => number(value) % 2 === 0,
  false: (value) => value === false,
  float: (value) => value instanceof Float,
  integer: (value) => typeof value === 'number',
  iterable: (value) => typeof value === 'string' || Array.isArray(value) || isOneOf(value, [Map, Once, Undefined]),
  lower: (value) => /\p{Cased}/u.test(text(value)) && text(value) === text(value).toLowerCase(),
  mapping: (value) => value instanceof Map,
  none: (value) => value === null,
  number: (value) => toNumber(value) !== undefined,
  odd: (value) => Math.abs(number(value) % 2) === 1,
  sequence: (value) =>
    typeof value === 'string' || isOneOf(value, [Map, Undefined]) || (Array.isArray(value) && !(value instanceof View)),
  string: (value) => typeof value === 'string',
  true: (value) => value === true,
  undefined: (value) => value instanceof Undefined,
  upper: (value) => /\p{Cased}/u.test(text(value)) && text(value) === text(value).toUpperCase(),
  ...relations(['eq', '==', 'equalto'], equal),
  ...relations(['ne', '!='], (a, b) => !equal(a, b)),
  ...relations(['lt', '<', 'lessthan'], (a, b) => compare(a, b) < 0),
  ...relations(['gt', '>', 'greaterthan'], (a, b) => compare(a, b) > 0),
  ...relations(['le', '<='], (a, b) => compare(a, b) <= 0),
  ...relations(['ge', '>='], (a, b) => compare(a, b) >= 0),
  ...relations(['in'], (a, b) => contains(b, a)),
};

/** A word of the filter title: what stands between these characters and white space. */
const WORD = new RegExp(`(?:(?!${SPACE})[^-({[<])+`, 'gu');

function relations(names: string[], test: (value: Value, other: Value) => boolean) {
  return Object.fromEntries(names.map((name) => [name, test]));
}

function isOneOf(value: Value, classes: (new (...args: never[]) => unknown)[]): boolean {
  return classes.some((kind) => value instanceof kind);
}

function number(value: Value): number {
  return toNumber(value) ?? unsupported(`${text(value)} as a number`);
}

function orDefault(value: Value, [other = '', alsoFalse = false]: (Value | undefined)[]): Value {
  return value instanceof Undefined || (truth(alsoFalse) && !truth(value)) ? other : value;
}

function entries(value: Value): Value[] {
  if (value instanceof Map) return Array.from(value, (entry) => Tuple.from(entry));
  throw new Error('items of what is no mapping');
}

/** An item that may be missing. */
function one(item: Value | undefined): Value {
  return item === undefined ? new Undefined('an item of nothing') : item;
}

/** The items of what can be read backwards. */
function ordered(value: Value): Value[] {
  if (value instanceof Once || value instanceof Undefined) throw new Error('the last of a generator');
  return iterate(value);
}

function reverse(value: Value): Value {
  if (typeof value === 'string') return Array.from(value).reverse().join('');
  const items = [...iterate(value)].reverse();
  return value instanceof Once ? items : new Once(items);
}

/** The function that finds an attribute such as `a.b`, or the value itself without one. */
function getter(attribute: Value | undefined, item: ItemOf, fallback?: Value): (value: Value) => Value {
  if (attribute === undefined || attribute === null) return (value) => value;
  if (typeof attribute === 'string' && attribute.includes(',')) unsupported('several attributes');
  const parts = typeof attribute === 'string' ? attribute.split('.') : [attribute];
  const keys = parts.map((part) => (typeof part === 'string' && /^[0-9]+$/.test(part) ? Number(part) : part));
  return (value) =>
    keys.reduce((at, key) => {
      const found = item(at, key);
      return found instanceof Undefined && fallback !== undefined && fallback !== null ? fallback : found;
    }, value);
}

/** The function that finds what items are ordered by: small letters unless the case counts. */
function orderKey(caseSensitive: Value | undefined, attribute: Value | undefined, item: ItemOf) {
  const get = getter(attribute, item);
  return (value: Value): Value => {
    const key = get(value);
    return typeof key === 'string' && !truth(caseSensitive ?? false) ? key.toLowerCase() : key;
  };
}

function sortBy(items: Value[], key: (value: Value) => Value, reversed: Value = false): Value[] {
  const sign = truth(reversed) ? -1 : 1;
  return items.toSorted((a, b) => sign * compare(key(a), key(b)));
}

function sort(value: Value, [reversed, caseSensitive, attribute]: (Value | undefined)[], item: ItemOf): Value {
  return sortBy([...iterate(value)], orderKey(caseSensitive, attribute, item), reversed);
}

function dictSort(value: Value, [caseSensitive, by = 'key', reversed]: (Value | undefined)[], item: ItemOf): Value {
  if (by !== 'key' && by !== 'value') throw new Error('dictsort by neither key nor value');
  return sortBy(entries(value), orderKey(caseSensitive, by === 'key' ? 0 : 1, item), reversed);
}

function extreme(value: Value, [caseSensitive, attribute]: (Value | undefined)[], item: ItemOf, sign: 1 | -1): Value {
  const key = orderKey(caseSensitive, attribute, item);
  const [first, ...others] = iterate(value);
  if (first === undefined) return new Undefined('the largest or smallest of nothing');
  return others.reduce((best, one) => (sign * compare(key(one), key(best)) > 0 ? one : best), first);
}

function unique(value: Value, [caseSensitive, attribute]: (Value | undefined)[], item: ItemOf): Value {
  const key = orderKey(caseSensitive, attribute, item);
  const seen: Value[] = [];
  const isNew = (found: Value) => !seen.some((other) => equal(other, found)) && seen.push(found) > 0;
  return new Once(iterate(value).filter((item) => isNew(dictKey(key(item)))));
}

function join(value: Value, [separator = '', attribute]: (Value | undefined)[], item: ItemOf): Value {
  return Array.from(iterate(value), getter(attribute, item)).map(text).join(text(separator));
}

function map(value: Value, args: Value[], named: Named, item: ItemOf): Value {
  const items = Array.from(iterate(value));
  const [filter, ...rest] = args;
  if (filter !== undefined) {
    return new Once(items.map((one) => applyFilter(text(filter), one, rest, named, item)));
  }
  const [attribute, fallback] = bind('map', ['attribute', 'default?'], [], named);
  return new Once(items.map(getter(attribute, item, fallback)));
}

function passes(value: Value, [test, ...args]: Value[]): boolean {
  return test === undefined ? truth(value) : applyTest(text(test), value, args);
}

function selectAttribute(value: Value, [attribute, ...test]: Value[], item: ItemOf, wanted: boolean): Value {
  if (attribute === undefined) throw new Error('an attribute is missing');
  const get = getter(attribute, item);
  return new Once(Array.from(iterate(value)).filter((one) => passes(get(one), test) === wanted));
}

function replaced(value: Value, [old, by, count]: (Value | undefined)[]): Value {
  return replace(text(value), text(old!), text(by!), count === undefined || count === null ? -1 : number(count));
}

function indent(value: Value, [width = 4, first = false, blank = false]: (Value | undefined)[]): Value {
  const margin = typeof width === 'string' ? width : ' '.repeat(Math.max(number(width), 0));
  if (typeof value !== 'string') throw new Error('indent of what is no text');
  const lines = splitLines(`${value}\n`);
  return lines
    .map((line, i) => ((i === 0 ? truth(first) : line !== '' || truth(blank)) ? margin + line : line))
    .join('\n');
}

function toInt(value: Value, [fallback = 0]: (Value | undefined)[]): Value {
  if (value instanceof Undefined) throw new Error(`${value.name} is undefined`);
  const plain = toNumber(value) ?? (typeof value === 'string' ? parseNumber(value) : undefined);
  return plain === undefined ? fallback : Math.trunc(plain);
}

function toFloat(value: Value, [fallback = new Float(0)]: (Value | undefined)[]): Value {
  if (value instanceof Undefined) throw new Error(`${value.name} is undefined`);
  const plain = toNumber(value) ?? (typeof value === 'string' ? parseNumber(value) : undefined);
  return plain === undefined ? fallback : new Float(plain);
}

function parseNumber(value: string): number | undefined {
  const digits = strip(value, undefined);
  if (/^[+-]?(inf|infinity|nan)$/i.test(digits) || /[^\0-\x7f]|_/.test(digits)) unsupported(`${digits} as a number`);
  return /^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?$/i.test(digits) ? Number(digits) : undefined;
}

/** The filter tojson of transformers: not that of Jinja, which escapes for HTML. */
function json(
  value: Value,
  [ascii = false, width = null, separators = null, sorted = false]: (Value | undefined)[],
): Value {
  const margin = width === null ? undefined : typeof width === 'string' ? width : ' '.repeat(number(width));
  const given = separators === null ? [margin === undefined ? ', ' : ',', ': '] : iterate(separators).map(text);
  if (given.length !== 2) throw new Error('separators that are not two');
  const [item, key] = given as [string, string];
  return toJson(value, { indent: margin, item, key, ascii: truth(ascii), sorted: truth(sorted) });
}

/** Python's range(), of the length that Jinja's sandbox allows. */
export function range(args: Value[]): Value {
  const bounds = args.map((bound) => (typeof bound === 'number' ? bound : Number.NaN));
  const [start, stop, step] =
    bounds.length > 1 ? [bounds[0]!, bounds[1]!, bounds[2] ?? 1] : [0, bounds[0] ?? Number.NaN, 1];
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (!(count <= 100_000) || args.length > 3) throw new Error(`range() of ${count} numbers`);
  return Range.from({ length: count }, (_, i) => start + i * step);
}

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const MONTHS = 'January February March April May June July August September October November December'.split(' ');

/** A time as Python's strftime() writes it in the C locale. */
export function strftime(time: Date, format: string): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const [year, month, day, hour] = [time.getFullYear(), time.getMonth(), time.getDate(), time.getHours()];
  const fields: Record<string, () => string> = {
    Y: () => String(year),
    y: () => two(year % 100),
    m: () => two(month + 1),
    d: () => two(day),
    B: () => MONTHS[month]!,
    b: () => MONTHS[month]!.slice(0, 3),
    A: () => DAYS[time.getDay()]!,
    a: () => DAYS[time.getDay()]!.slice(0, 3),
    H: () => two(hour),
    I: () => two(hour % 12 || 12),
    p: () => (hour < 12 ? 'AM' : 'PM'),
    M: () => two(time.getMinutes()),
    S: () => two(time.getSeconds()),
    j: () => String(1 + Math.round((Date.UTC(year, month, day) - Date.UTC(year, 0, 1)) / 86_400_000)).padStart(3, '0'),
    F: () => strftime(time, '%Y-%m-%d'),
    T: () => strftime(time, '%H:%M:%S'),
    D: () => strftime(time, '%m/%d/%y'),
    '%': () => '%',
  };
  return format.replace(/%(-?)(.?)/gsu, (all, flag, letter) => {
    const field = Object.hasOwn(fields, letter) ? fields[letter]!() : unsupported(`strftime_now with ${all}`);
    return flag ? field.replace(/^0+(?=\d)/, '') : field;
  });
}
