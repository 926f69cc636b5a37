/** What a variable of a template may be: a number is an int, a Map a dict. */
export type Value =
  | null
  | boolean
  | number
  | string
  | Float
  | Undefined
  | Value[]
  | Map<Value, Value>
  | Once
  | Namespace
  | Loop
  | Callable;

/** A function with its positional and its named arguments. */
export type Callable = (args: Value[], named: Map<string, Value>) => Value;

export class Float {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/** What a name stands for that nothing was assigned to. */
export class Undefined {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

export class Tuple extends Array<Value> {}
export class Range extends Array<Value> {}
/** The keys, values or items of a dict. */
export class View extends Array<Value> {}

/** A generator: its items can be taken once. */
export class Once {
  #items: Value[];

  constructor(items: Value[]) {
    this.#items = items;
  }

  take(): Value[] {
    const items = this.#items;
    this.#items = [];
    return items;
  }
}

/** What namespace() makes. */
export class Namespace {
  readonly values = new Map<Value, Value>();
}

/** The variable `loop` of a for statement. */
export class Loop {
  readonly items: readonly Value[];
  index = 0;

  constructor(items: readonly Value[]) {
    this.items = items;
  }
}

/** Throws an Error that names something which templates may contain and this project does not have. */
export function unsupported(what: string): never {
  throw new Error(`${what}, which is not supported here`);
}

/** Python's name of a value's type. */
export function typeName(value: Value): string {
  if (value === null) return 'NoneType';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'number') return 'int';
  if (typeof value === 'string') return 'str';
  if (typeof value === 'function') return 'function';
  if (value instanceof Map) return 'dict';
  if (value instanceof Once) return 'generator';
  return value.constructor === Array ? 'list' : value.constructor.name.toLowerCase();
}

/** Python's bool(). */
export function truth(value: Value): boolean {
  if (value instanceof Float) return value.value !== 0;
  if (value instanceof Undefined) return false;
  if (Array.isArray(value)) return value.length > 0;
  return value instanceof Map ? value.size > 0 : Boolean(value);
}

/** The number that a value is in arithmetic, where a bool is one. */
export function toNumber(value: Value): number | undefined {
  if (value instanceof Float) return value.value;
  return typeof value === 'boolean' ? Number(value) : typeof value === 'number' ? value : undefined;
}

/** Python's ==. */
export function equal(a: Value, b: Value): boolean {
  const [x, y] = [toNumber(a), toNumber(b)];
  if (x !== undefined && y !== undefined) return x === y;
  if (a instanceof Undefined) return b instanceof Undefined;
  if (Array.isArray(a) && Array.isArray(b)) {
    if (a instanceof View || b instanceof View) unsupported('a comparison of dict views');
    return a.constructor === b.constructor && a.length === b.length && a.every((item, i) => equal(item, b[i]!));
  }
  if (a instanceof Map && b instanceof Map)
    return a.size === b.size && Array.from(a).every(([key, value]) => b.has(key) && equal(value, b.get(key)!));
  return a === b;
}

/** Negative, zero or positive; an Error where Python does not order such values. */
export function compare(a: Value, b: Value): number {
  const [x, y] = [toNumber(a), toNumber(b)];
  if (x !== undefined && y !== undefined) return x - y;
  if (typeof a === 'string' && typeof b === 'string') return compareText(a, b);
  if (Array.isArray(a) && Array.isArray(b)) unsupported('an order of lists');
  throw new Error(`no order between ${typeName(a)} and ${typeName(b)}`);
}

/** Negative, zero or positive: the order of two texts by their characters. */
function compareText(a: string, b: string): number {
  const [x, y] = [Array.from(a), Array.from(b)];
  const i = x.findIndex((char, at) => char !== y[at]);
  if (i < 0) return x.length - y.length;
  return x[i]!.codePointAt(0)! - (y[i]?.codePointAt(0) ?? -1);
}

/** The items that a for statement would visit. */
export function iterate(value: Value): Value[] {
  if (typeof value === 'string') return Array.from(value);
  if (Array.isArray(value)) return value;
  if (value instanceof Map) return [...value.keys()];
  if (value instanceof Once) return value.take();
  if (value instanceof Undefined) return [];
  throw new Error(`${typeName(value)} is not iterable`);
}

/** Python's `item in container`. */
export function contains(container: Value, item: Value): boolean {
  if (typeof container === 'string') {
    if (typeof item === 'string') return container.includes(item);
    throw new Error(`'in <str>' with ${typeName(item)}`);
  }
  if (container instanceof Map) return container.has(dictKey(item));
  return iterate(container).some((other) => equal(other, item));
}

/** Python's len(). */
export function length(value: Value): number {
  if (value instanceof Once) throw new Error('a generator has no length');
  if (value instanceof Map) return value.size;
  return iterate(value).length;
}

/** A value as the key of a dict; True and 1.0 are the key 1. */
export function dictKey(value: Value): Value {
  if (typeof value === 'object' && value !== null && !(value instanceof Float)) {
    unsupported(`a key of type ${typeName(value)}`);
  }
  return toNumber(value) ?? value;
}

/** Python's str(). */
export function text(value: Value): string {
  if (typeof value === 'string') return value;
  return value instanceof Undefined ? '' : repr(value);
}

function repr(value: Value): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'number') return String(value);
  if (typeof value === 'string') return quote(value);
  if (value instanceof Float) return floatText(value.value);
  if (value instanceof Undefined) return 'Undefined';
  if (value instanceof Map) {
    return `{${Array.from(value, ([key, item]) => `${repr(key)}: ${repr(item)}`).join(', ')}}`;
  }
  if (value instanceof Tuple) return `(${value.map(repr).join(', ')}${value.length === 1 ? ',' : ''})`;
  if (Array.isArray(value) && value.constructor === Array) return `[${value.map(repr).join(', ')}]`;
  return unsupported(`a ${typeName(value)} as text`);
}

/** A float as Python shows it; those that it shows with an exponent are refused. */
function floatText(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && !(size >= 1e-4 && size < 1e16)) unsupported('a float with an exponent');
  return Object.is(value, -0) ? '-0.0' : Number.isInteger(value) ? value.toFixed(1) : String(value);
}

function quote(value: string): string {
  const mark = value.includes("'") && !value.includes('"') ? '"' : "'";
  const named: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\', [mark]: `\\${mark}` };
  const escaped = value.replace(/[\p{C}\p{Z}\\'"]/gu, (char) => {
    if (named[char]) return named[char];
    if (' \'"'.includes(char)) return char;
    const code = char.codePointAt(0)!;
    const [letter, digits] = code < 0x100 ? ['x', 2] : code < 0x10000 ? ['u', 4] : ['U', 8];
    return `\\${letter}${code.toString(16).padStart(digits as number, '0')}`;
  });
  return mark + escaped + mark;
}

/** How toJson writes: what stands between items and after keys, and the white space of a level where lines are wanted. */
export interface JsonStyle {
  indent: string | undefined;
  item: string;
  key: string;
  ascii: boolean;
  sorted: boolean;
}

/** Python's json.dumps(). */
export function toJson(value: Value, style: JsonStyle, level = 1): string {
  const jsonText = (string: string) => {
    const json = JSON.stringify(string);
    const escaped = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
    return style.ascii ? json.replace(/[^ -~]/g, escaped) : json;
  };
  if (value === null) return 'null';
  if (typeof value === 'boolean' || typeof value === 'number') return String(value);
  if (typeof value === 'string') return jsonText(value);
  if (value instanceof Float) return floatText(value.value);
  const nested = (open: string, items: string[], close: string) => {
    if (style.indent === undefined || items.length === 0) return open + items.join(style.item) + close;
    const line = `\n${style.indent.repeat(level)}`;
    return open + line + items.join(style.item + line) + line.slice(0, line.length - style.indent.length) + close;
  };
  if (value instanceof Map) {
    const entries = [...value].map(
      ([key, item]) => [typeof key === 'string' ? key : toJson(key, style), item] as const,
    );
    if (style.sorted) entries.sort(([a], [b]) => compareText(a, b));
    const items = entries.map(([key, item]) => jsonText(key) + style.key + toJson(item, style, level + 1));
    return nested('{', items, '}');
  }
  if (Array.isArray(value) && !(value instanceof View) && !(value instanceof Range)) {
    return nested(
      '[',
      value.map((item) => toJson(item, style, level + 1)),
      ']',
    );
  }
  throw new Error(`${typeName(value)} is not JSON serializable`);
}
