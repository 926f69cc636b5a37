import { roundUp } from '../../runtime/index.ts';

const CONST = /^const (\w+)(?:: \w+)? = ([^;]+);/gm;
const ALIAS = /^alias (\w+) = ([^;]+);/gm;
const WORKGROUP = /^var<workgroup> \w+: ([^;]+);/gm;
const SUFFIX = /\b(0x[\da-f]+|\d+)[ui]\b/gi;
const TOKEN = /\w+|[=!<>]=|&&|\|\||<<|>>|\S/g;
const SCALARS: Record<string, number> = { f32: 4, u32: 4, i32: 4, f16: 2 };
const SUFFIXES: Record<string, string> = { f: 'f32', i: 'i32', u: 'u32', h: 'f16' };
const FUNCTIONS: Record<string, (...args: number[]) => number> = {
  min: Math.min,
  max: Math.max,
  select: (no, yes, condition) => (condition ? yes! : no!),
  u32: Math.trunc,
  i32: Math.trunc,
};
/** Binary operators of integers, those that bind least first. */
const OPERATORS: Record<string, (a: number, b: number) => number>[] = [
  { '||': (a, b) => Number(a || b), '&&': (a, b) => Number(a && b) },
  {
    '==': (a, b) => Number(a === b),
    '!=': (a, b) => Number(a !== b),
    '<': (a, b) => Number(a < b),
    '>': (a, b) => Number(a > b),
    '<=': (a, b) => Number(a <= b),
    '>=': (a, b) => Number(a >= b),
  },
  { '<<': (a, b) => a * 2 ** b, '>>': (a, b) => Math.floor(a / 2 ** b) },
  { '+': (a, b) => a + b, '-': (a, b) => a - b },
  { '*': (a, b) => a * b, '/': (a, b) => Math.trunc(a / b), '%': (a, b) => a % b },
];

/**
 * Bytes of the `var<workgroup>` lines of a specialised module, each a multiple of 16 as the device's limit counts them;
 * undefined where a type is none of scalars, vectors, atomics and arrays, or a length no constant that can be worked out.
 */
export function workgroupMemory(source: string): number | undefined {
  const constants = new Map([...source.matchAll(CONST)].map(([, name, value]) => [name!, value!]));
  const aliases = new Map([...source.matchAll(ALIAS)].map(([, name, type]) => [name!, type!]));
  const types = [...source.matchAll(WORKGROUP)].map((match) => match[1]!.trim());
  const sizes = types.map((type) => layout(type, constants, aliases)?.size);
  return sizes.includes(undefined) ? undefined : sizes.reduce<number>((sum, size) => sum + roundUp(size!, 16), 0);
}

interface Layout {
  size: number;
  align: number;
}

function layout(type: string, constants: Map<string, string>, aliases: Map<string, string>): Layout | undefined {
  const inner = (text: string) => layout(text.trim(), constants, aliases);
  const scalar = SCALARS[type];
  if (scalar) return { size: scalar, align: scalar };
  const alias = aliases.get(type);
  if (alias) return inner(alias);
  const [, atomic] = /^atomic<(.+)>$/.exec(type) ?? [];
  if (atomic) return inner(atomic);
  const [, width, element, suffix] = /^vec([234])(?:<(.+)>|([fiuh]))$/.exec(type) ?? [];
  if (width) {
    const part = inner(element ?? SUFFIXES[suffix!]!);
    return part && { size: part.size * Number(width), align: part.size * (width === '2' ? 2 : 4) };
  }
  const [, item, length] = /^array<(\w+(?:<.+>)?),([^<>]+)>$/.exec(type) ?? [];
  if (!item) return undefined;
  const [part, count] = [inner(item), evaluate(length!, constants)];
  return part && count !== undefined ? { size: roundUp(part.size, part.align) * count, align: part.align } : undefined;
}

/** The value of a constant integer or boolean expression. */
function evaluate(text: string, constants: Map<string, string>): number | undefined {
  const tokens: string[] = text.replace(SUFFIX, '$1').match(TOKEN) ?? [];
  let at = 0;
  const binary = (level: number): number => {
    const operators = OPERATORS[level];
    if (!operators) return operand();
    let value = binary(level + 1);
    for (let operator = operators[tokens[at]!]; operator; operator = operators[tokens[at]!]) {
      at++;
      value = operator(value, binary(level + 1));
    }
    return value;
  };
  const operand = (): number => {
    const token = tokens[at++] ?? '';
    if (token === '(') return list()[0]!;
    if (token === '-') return -operand();
    if (token === '!') return Number(!operand());
    if (/^(0x[\da-f]+|\d+)$/i.test(token)) return Number(token);
    if (token === 'true' || token === 'false') return Number(token === 'true');
    if (tokens[at] === '(') {
      at++;
      return FUNCTIONS[token]?.(...list()) ?? Number.NaN;
    }
    return evaluate(constants.get(token) ?? '', constants) ?? Number.NaN;
  };
  const list = (): number[] => {
    const values = [binary(0)];
    while (tokens[at++] === ',') values.push(binary(0));
    return values;
  };
  const value = tokens.length > 0 ? binary(0) : Number.NaN;
  return Number.isInteger(value) && at === tokens.length ? value : undefined;
}
