import { applyFilter, applyTest, bind, range, strftime } from './jinja_filters.ts';
import { type Node, parseTemplate } from './jinja_syntax.ts';
import { OTHER_TEXT_METHODS, TEXT_METHODS } from './python_text.ts';
import {
  type Callable,
  compare,
  contains,
  dictKey,
  equal,
  Float,
  iterate,
  Loop,
  Namespace,
  Range,
  Tuple,
  text,
  toNumber,
  truth,
  typeName,
  Undefined,
  unsupported,
  type Value,
  View,
} from './python_values.ts';

/** Variables by their names; a statement's own before those around it. */
class Scope {
  readonly values = new Map<string, Value>();
  readonly #parent: Scope | undefined;
  readonly #read = new Set<string>();
  readonly #readInside = new Set<string>();

  constructor(parent?: Scope) {
    this.#parent = parent;
  }

  get(name: string, inside = false): Value | undefined {
    if (this.values.has(name) || !this.#parent) return this.values.get(name);
    (inside ? this.#readInside : this.#read).add(name);
    return this.#parent.get(name, true);
  }

  /** Jinja takes a variable for undefined in an inner block that reads it before the block around it assigns to it. */
  set(name: string, value: Value): void {
    const isLate = this.#readInside.has(name) && !this.#read.has(name) && this.isGiven(name);
    if (isLate) unsupported(`an assignment to ${name} after a block that reads it`);
    this.values.set(name, value);
  }

  private isGiven(name: string): boolean {
    return this.values.has(name) ? !this.#parent : (this.#parent?.isGiven(name) ?? false);
  }
}

/** How a list of statements ended where it did not reach its end. */
type Jump = 'break' | 'continue' | undefined;

const CONSTANTS = new Map<string, Value>([
  ...(['true', 'True'] as const).map((name) => [name, true] as const),
  ...(['false', 'False'] as const).map((name) => [name, false] as const),
  ...(['none', 'None'] as const).map((name) => [name, null] as const),
]);
const NOT_HERE = new Set(['varargs', 'kwargs', 'self', 'cycler', 'joiner', 'lipsum']);
const LIST_METHODS = new Set('append clear copy count extend index insert pop remove reverse sort'.split(' '));
const DICT_METHODS = new Set('clear copy fromkeys pop popitem setdefault update'.split(' '));

const GLOBALS: Readonly<Record<string, Callable>> = {
  range,
  dict: (args, named) => toDict(args, named),
  namespace: (args, named) => {
    const made = new Namespace();
    for (const [key, value] of toDict(args, named)) made.values.set(key, value);
    return made;
  },
  raise_exception: ([reason]) => {
    throw new Error(text(reason ?? ''));
  },
  strftime_now: (args, named) => strftime(new Date(), text(bind('strftime_now', ['format'], args, named)[0]!)),
  __generation: (_, named) => (named.get('caller') as Callable)([], new Map()),
};

/**
 * A Jinja template as transformers renders it, of which no text or value may be larger than `maxSize`. The package's
 * parser reads it; it is evaluated here with Python's meaning of every value, from which the package's interpreter differs
 * (see the tests named 'upstream'). What is not implemented is an Error that names it.
 */
export class Template {
  readonly #program: readonly Node[];
  readonly #maxSize: number;

  constructor(source: string, maxSize: number) {
    this.#program = parseTemplate(source);
    this.#maxSize = maxSize;
  }

  /** The text for some variables, each a string, a number, a boolean, null, or an array or object of such. */
  render(variables: Readonly<Record<string, unknown>>): string {
    const scope = new Scope();
    for (const [name, value] of Object.entries({ ...GLOBALS, ...variables })) scope.values.set(name, toValue(value));
    return new Evaluator(this.#maxSize).block(this.#program, new Scope(scope));
  }
}

/** The value of what JSON can hold, and of a function. */
function toValue(value: unknown): Value {
  if (Array.isArray(value)) return value.map(toValue);
  if (typeof value === 'number') return Number.isInteger(value) ? value : new Float(value);
  if (typeof value !== 'object' || value === null) return value as Value;
  return new Map(Object.entries(value).map(([key, item]) => [key, toValue(item)]));
}

function toDict(args: Value[], named: Map<string, Value>): Map<Value, Value> {
  if (args.length > 1 || args.some((arg) => !(arg instanceof Map))) unsupported('a dict of anything but a dict');
  return new Map<Value, Value>([...((args[0] as Map<Value, Value>) ?? []), ...named]);
}

class Evaluator {
  readonly #maxSize: number;
  #written = 0;

  constructor(maxSize: number) {
    this.#maxSize = maxSize;
  }

  /** The text of some statements that none may leave by break or continue. */
  block(statements: readonly Node[], scope: Scope): string {
    const out: string[] = [];
    if (this.#run(statements, scope, out)) unsupported('break or continue out of a block');
    return out.join('');
  }

  #run(statements: readonly Node[], scope: Scope, out: string[]): Jump {
    for (const statement of statements) {
      const jump = this.#statement(statement, scope, out);
      if (jump) return jump;
    }
    return undefined;
  }

  #statement(node: Node, scope: Scope, out: string[]): Jump {
    switch (node.type) {
      case 'If':
        return this.#run(truth(this.#value(node.test, scope)) ? node.body : node.alternate, scope, out);
      case 'For':
        return this.#for(node, scope, out);
      case 'Break':
        return 'break';
      case 'Continue':
        return 'continue';
      case 'Set':
        this.#assign(
          node.assignee,
          node.value ? this.#value(node.value, scope) : this.block(node.body, new Scope(scope)),
          scope,
        );
        return undefined;
      case 'Macro':
        scope.set(node.name.value, this.#macro(node.name.value, node.args, node.body, scope));
        return undefined;
      case 'CallStatement':
        this.#write(this.#call(node.call, scope, this.#macro('caller', node.callerArgs ?? [], node.body, scope)), out);
        return undefined;
      case 'FilterStatement':
        this.#write(this.#filter(node.filter, this.block(node.body, new Scope(scope)), scope), out);
        return undefined;
      default:
        this.#write(this.#value(withoutSafe(node), scope), out);
        return undefined;
    }
  }

  #write(value: Value, out: string[]): void {
    const written = text(value);
    this.#written += written.length;
    if (this.#written > this.#maxSize) throw new Error(`a value of size ${this.#written}`);
    out.push(written);
  }

  #for({ loopvar, iterable, body, defaultBlock }: Node, scope: Scope, out: string[]): Jump {
    const select = iterable.type === 'SelectExpression' ? iterable : undefined;
    const all = Array.from(iterate(this.#value(select ? select.lhs : iterable, scope)));
    const items = select
      ? all.filter((item) => truth(this.#value(select.test, this.#inner(loopvar, item, scope))))
      : all;
    const loop = new Loop(items);
    let completed = false;
    for (; loop.index < items.length; loop.index++) {
      const inner = this.#inner(loopvar, items[loop.index]!, scope);
      inner.values.set('loop', loop);
      const jump = this.#run(body, inner, out);
      if (jump === 'break') break;
      if (!jump) completed = true;
    }
    return completed ? undefined : this.#run(defaultBlock, new Scope(scope), out);
  }

  #inner(loopvar: Node, item: Value, scope: Scope): Scope {
    const inner = new Scope(scope);
    this.#assign(loopvar, item, inner);
    return inner;
  }

  #assign(target: Node, value: Value, scope: Scope): void {
    if (target.type === 'Identifier') {
      if (CONSTANTS.has(target.value)) throw new Error(`${target.value} is a constant`);
      scope.set(target.value, value);
    } else if (target.type === 'TupleLiteral') {
      const items = iterate(value);
      if (items.length !== target.value.length) {
        throw new Error(`${items.length} values for ${target.value.length} names`);
      }
      target.value.forEach((part: Node, i: number) => {
        this.#assign(part, items[i]!, scope);
      });
    } else if (target.type === 'MemberExpression' && !target.computed) {
      const object = this.#value(target.object, scope);
      if (!(object instanceof Namespace)) throw new Error('an attribute is set of what is no namespace');
      object.values.set(target.property.value, value);
    } else unsupported(`set of a ${target.type}`);
  }

  /** A macro, or the body of a call block: it sees the variables where it stands, not those where it is called. */
  #macro(name: string, parameters: readonly Node[], body: readonly Node[], scope: Scope): Callable {
    const names = parameters.map((parameter): string => parameter.value.value ?? parameter.value);
    const keys = parameters.map((parameter, i): string => parameter.key?.value ?? names[i]!);
    return (args, named) => {
      const inner = new Scope(scope);
      const { caller = new Undefined('caller'), ...others } = Object.fromEntries(named);
      inner.values.set('caller', caller);
      const values = bind(
        name,
        keys.map((key) => `${key}?`),
        args,
        new Map(Object.entries(others)),
      );
      keys.forEach((key, i) => {
        const value = values[i];
        inner.values.set(key, value === undefined ? new Undefined(key) : value);
      });
      parameters.forEach((parameter, i) => {
        if (values[i] === undefined && parameter.key) inner.values.set(keys[i]!, this.#value(parameter.value, inner));
      });
      return this.block(body, inner);
    };
  }

  #value(node: Node, scope: Scope): Value {
    const value = this.#evaluate(node, scope);
    const size = typeof value === 'string' || Array.isArray(value) ? value.length : 0;
    if (size > this.#maxSize) throw new Error(`a value of size ${size}`);
    return value;
  }

  #evaluate(node: Node, scope: Scope): Value {
    switch (node.type) {
      case 'StringLiteral':
        return node.value;
      case 'IntegerLiteral':
        return integer(node.value);
      case 'FloatLiteral':
        return new Float(node.value);
      case 'ArrayLiteral':
        return node.value.map((item: Node) => this.#value(item, scope));
      case 'TupleLiteral':
        return Tuple.from(node.value, (item: Node) => this.#value(item, scope));
      case 'ObjectLiteral':
        return new Map(
          Array.from(node.value as Map<Node, Node>, ([key, item]) => [
            dictKey(this.#value(key, scope)),
            this.#value(item, scope),
          ]),
        );
      case 'Identifier':
        return this.#name(node.value, scope);
      case 'MemberExpression':
        return this.#member(node, scope);
      case 'CallExpression':
        return this.#call(node, scope);
      case 'FilterExpression':
        return this.#filter(node.filter, this.#value(node.operand, scope), scope);
      case 'TestExpression':
        return applyTest(node.test.value, this.#value(node.operand, scope)) !== node.negate;
      case 'UnaryExpression':
        return unary(node.operator.value, this.#value(node.argument, scope));
      case 'BinaryExpression':
        return this.#binary(node, scope);
      case 'Ternary':
        return this.#value(truth(this.#value(node.condition, scope)) ? node.trueExpr : node.falseExpr, scope);
      case 'SelectExpression':
        return truth(this.#value(node.test, scope))
          ? this.#value(node.lhs, scope)
          : new Undefined('an if without else');
      default:
        return unsupported(`a ${node.type}`);
    }
  }

  #name(name: string, scope: Scope): Value {
    const constant = CONSTANTS.get(name);
    if (constant !== undefined) return constant;
    const value = scope.get(name);
    if (value === undefined && NOT_HERE.has(name)) unsupported(name);
    return value ?? (value === null ? null : new Undefined(name));
  }

  #member({ object, property, computed }: Node, scope: Scope): Value {
    const value = this.#value(object, scope);
    if (property.type === 'SliceExpression') {
      const bounds = [property.start, property.stop, property.step].map((bound) => bound && this.#value(bound, scope));
      return slice(value, bounds);
    }
    if (computed) return itemOf(value, this.#value(property, scope));
    return property.type === 'IntegerLiteral' ? itemOf(value, property.value) : attributeOf(value, property.value);
  }

  #call({ callee, args }: Node, scope: Scope, caller?: Callable): Value {
    const called = this.#value(callee, scope);
    if (called instanceof Undefined) throw new Error(`${called.name} is undefined`);
    if (typeof called !== 'function') throw new Error(`a ${typeName(called)} is not a function`);
    const [positional, named] = this.#arguments(args, scope);
    if (caller) named.set('caller', caller);
    return called(positional, named);
  }

  #filter(filter: Node, value: Value, scope: Scope): Value {
    if (filter.type === 'Identifier') return applyFilter(filter.value, value, [], new Map(), itemOf);
    if (filter.type !== 'CallExpression' || filter.callee.type !== 'Identifier') unsupported('such a filter');
    return applyFilter(filter.callee.value, value, ...this.#arguments(filter.args, scope), itemOf);
  }

  #arguments(nodes: readonly Node[], scope: Scope): [Value[], Map<string, Value>] {
    const args: Value[] = [];
    const named = new Map<string, Value>();
    for (const node of nodes) {
      if (node.type === 'KeywordArgumentExpression') named.set(node.key.value, this.#value(node.value, scope));
      else if (node.type === 'SpreadExpression') args.push(...iterate(this.#value(node.argument, scope)));
      else if (node.type === 'KeywordSpreadExpression') {
        const spread = this.#value(node.argument, scope);
        if (!(spread instanceof Map)) throw new Error(`** of a ${typeName(spread)}`);
        for (const [key, value] of spread) named.set(text(key), value);
      } else args.push(this.#value(node, scope));
    }
    return [args, named];
  }

  #binary({ operator, left, right }: Node, scope: Scope): Value {
    const a = this.#value(left, scope);
    if (operator.value === 'and') return truth(a) ? this.#value(right, scope) : a;
    if (operator.value === 'or') return truth(a) ? a : this.#value(right, scope);
    return binary(operator.value, a, this.#value(right, scope));
  }
}

/** An expression whose last filter is `safe`, which means nothing where it is written out, and is refused elsewhere. */
function withoutSafe(node: Node): Node {
  return node.type === 'FilterExpression' && node.filter.value === 'safe' ? withoutSafe(node.operand) : node;
}

function integer(value: number): number {
  return Number.isSafeInteger(value) ? value + 0 : unsupported('an integer past 2^53');
}

function unary(operator: string, value: Value): Value {
  if (operator === 'not') return !truth(value);
  const number = toNumber(value) ?? typeError(operator, value);
  const result = operator === '-' ? -number : number;
  return value instanceof Float ? new Float(result) : integer(result);
}

function typeError(operator: string, ...values: Value[]): never {
  const missing = values.find((value) => value instanceof Undefined) as Undefined | undefined;
  if (missing) throw new Error(`${missing.name} is undefined`);
  throw new Error(`${operator} of ${values.map(typeName).join(' and ')}`);
}

function binary(operator: string, a: Value, b: Value): Value {
  switch (operator) {
    case '==':
      return equal(a, b);
    case '!=':
      return !equal(a, b);
    case '<':
      return compare(a, b) < 0;
    case '<=':
      return compare(a, b) <= 0;
    case '>':
      return compare(a, b) > 0;
    case '>=':
      return compare(a, b) >= 0;
    case 'in':
      return contains(b, a);
    case 'not in':
      return !contains(b, a);
    case '~':
      return text(a) + text(b);
    default:
      return arithmetic(operator, a, b);
  }
}

function arithmetic(operator: string, a: Value, b: Value): Value {
  const [x, y] = [toNumber(a), toNumber(b)];
  if (x === undefined || y === undefined) return sequenceArithmetic(operator, a, b);
  if ('/%'.includes(operator[0]!) && y === 0) throw new Error('division by zero');
  const results: Record<string, () => number> = {
    '+': () => x + y,
    '-': () => x - y,
    '*': () => x * y,
    '/': () => x / y,
    '//': () => Math.floor(x / y),
    '%': () => x - y * Math.floor(x / y),
    '**': () => (y < 0 ? unsupported('a negative power') : x ** y),
  };
  const result = results[operator]!();
  return operator === '/' || a instanceof Float || b instanceof Float ? new Float(result) : integer(result);
}

function sequenceArithmetic(operator: string, a: Value, b: Value): Value {
  if (operator === '%' && typeof a === 'string') unsupported('text % values');
  if (operator === '+' && typeof a === 'string' && typeof b === 'string') return a + b;
  if (operator === '+' && isPlain(a) && isPlain(b) && a.constructor === b.constructor) return a.concat(b);
  if (operator === '*' && typeof a === 'string' && typeof b === 'number') return a.repeat(Math.max(b, 0));
  if (operator === '*' && isPlain(a)) unsupported('a list times a number');
  return typeError(operator, a, b);
}

/** Whether a value is a list or a tuple. */
function isPlain(value: Value): value is Value[] {
  return Array.isArray(value) && (value.constructor === Array || value instanceof Tuple);
}

/** value[key], undefined where there is none. */
function itemOf(value: Value, key: Value): Value {
  if (value instanceof Undefined) throw new Error(`${value.name} is undefined`);
  if (value instanceof Map) {
    const hashable = !(key instanceof Map || Array.isArray(key));
    const found = hashable ? value.get(dictKey(key)) : undefined;
    if (found !== undefined) return found;
  } else if (
    (isSequence(value) || typeof value === 'string') &&
    toNumber(key) !== undefined &&
    !(key instanceof Float)
  ) {
    const found = (typeof value === 'string' ? Array.from(value) : value).at(toNumber(key)!);
    return found ?? (found === null ? null : new Undefined(`[${text(key)}]`));
  }
  return typeof key === 'string' ? attributeOf(value, key) : new Undefined(`[${text(key)}]`);
}

/** Whether a value has items by their numbers. */
function isSequence(value: Value): value is Value[] {
  return Array.isArray(value) && !(value instanceof View);
}

/** value.name: a method or attribute before an item of a dict, undefined where there is none. */
function attributeOf(value: Value, name: string): Value {
  if (value instanceof Undefined) throw new Error(`${value.name} is undefined`);
  if (value instanceof Namespace) return value.values.get(name) ?? missing(value.values, name);
  if (value instanceof Loop) return loopAttribute(value, name);
  if (value instanceof Map) {
    const method = dictMethod(value, name);
    return method ?? value.get(name) ?? missing(value, name);
  }
  const unknown = typeof value === 'string' ? OTHER_TEXT_METHODS.has(name) : value !== null && LIST_METHODS.has(name);
  if (unknown || name.startsWith('__') || typeof value === 'function' || toNumber(value) !== undefined) {
    unsupported(`.${name} of a ${typeName(value)}`);
  }
  return typeof value === 'string' && Object.hasOwn(TEXT_METHODS, name) ? textMethod(value, name) : new Undefined(name);
}

function missing(values: Map<Value, Value>, name: string): Value {
  if (name.startsWith('__')) unsupported(`.${name}`);
  return values.has(name) ? null : new Undefined(name);
}

function textMethod(value: string, name: string): Callable {
  const [parameters, body] = TEXT_METHODS[name]!;
  return (args, named) => body(value, ...(bind(name, parameters, args, named) as Value[]));
}

function dictMethod(value: Map<Value, Value>, name: string): Callable | undefined {
  const methods: Record<string, Callable> = {
    get: (args, named) => {
      const [key, fallback = null] = bind('get', ['key', 'default?'], args, named);
      const found = value.get(dictKey(key!));
      return found === undefined ? fallback! : found;
    },
    items: () => View.from(value, (entry) => Tuple.from(entry)),
    keys: () => View.from(value.keys()),
    values: () => View.from(value.values()),
  };
  if (DICT_METHODS.has(name)) unsupported(`.${name} of a dict`);
  return Object.hasOwn(methods, name) ? methods[name] : undefined;
}

function loopAttribute(loop: Loop, name: string): Value {
  const { items, index } = loop;
  const attributes: Record<string, () => Value> = {
    index: () => index + 1,
    index0: () => index,
    revindex: () => items.length - index,
    revindex0: () => items.length - index - 1,
    first: () => index === 0,
    last: () => index === items.length - 1,
    length: () => items.length,
    depth: () => 1,
    depth0: () => 0,
    previtem: () => (index > 0 ? items[index - 1]! : new Undefined('loop.previtem')),
    nextitem: () => (index < items.length - 1 ? items[index + 1]! : new Undefined('loop.nextitem')),
    cycle: () => (args) => args[index % args.length] ?? null,
  };
  return Object.hasOwn(attributes, name) ? attributes[name]!() : unsupported(`loop.${name}`);
}

/** value[start:stop:step]. */
function slice(value: Value, bounds: (Value | undefined)[]): Value {
  if (value instanceof Undefined) throw new Error(`${value.name} is undefined`);
  if (typeof value !== 'string' && !isSequence(value)) throw new Error(`a slice of a ${typeName(value)}`);
  const [start, stop, given] = bounds.map((bound) => bound ?? undefined);
  if ([start, stop, given].some((bound) => bound !== undefined && typeof bound !== 'number')) {
    throw new Error('a slice by what is no int');
  }
  const items: Value[] = typeof value === 'string' ? Array.from(value) : value;
  const step = (given as number | undefined) ?? 1;
  if (step === 0) throw new Error('a slice by steps of 0');
  const [low, high] = step > 0 ? [0, items.length] : [-1, items.length - 1];
  const place = (bound: Value | undefined, open: number) =>
    bound === undefined
      ? open
      : Math.min(Math.max((bound as number) < 0 ? (bound as number) + items.length : (bound as number), low), high);
  const [from, to] = [place(start, step > 0 ? low : high), place(stop, step > 0 ? high : low)];
  const count = Math.max(0, Math.ceil((to - from) / step));
  const taken = Array.from({ length: count }, (_, i) => items[from + i * step]!);
  if (typeof value === 'string') return taken.join('');
  return value instanceof Range ? Range.from(taken) : value instanceof Tuple ? Tuple.from(taken) : taken;
}
