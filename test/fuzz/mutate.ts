import type { Random } from '../../kernels/spec.ts';
import { pick } from './target.ts';

const BYTES = [0, 1, 0x0a, 0x20, 0x22, 0x2d, 0x39, 0x5b, 0x5c, 0x7b, 0x7f, 0x80, 0xc0, 0xff];

/** Texts of JSON values that a reader may not expect. */
const HOSTILE = [
  ...['null', 'true', 'false', '0', '-0', '-1', '1', '2', '3', '0.5', '1e-320', '1e308', '1e999', '-1e999'],
  ...['255', '65536', '1000000', '2147483647', '2147483648', '4294967296', '9007199254740993', '18446744073709551616'],
  ...['""', '" "', '"a"', '"\\u0000\\u001b[31m\\n"', '"\\ud800"', '"../../etc/passwd"', '"__proto__"', '"<image>"'],
  ...['"(a+)+$"', '"(?"', '"[^"', '"(?i:s)|\\\\p{L}"', '"{{ 1 / 0 }}"', '"BF16"', '"I8"', '"F64"', '"f32"'],
  ...['[]', '{}', '[[]]', '[null]', '[1,1]', '[0,0]', '[-1]', '[1e308,1e308]', '{"":0}', '{"a":{"b":[]}}'],
  ...['{"__proto__":{"x":1}}', '{"constructor":1}', '{"toString":null,"length":-1}', '{"a":1,"a":2}'],
  `"${'x'.repeat(20_000)}"`,
  `${'['.repeat(100)}${']'.repeat(100)}`,
  `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`,
];

/** Some bytes flipped, overwritten, inserted, deleted, doubled, moved, or the end cut off. */
export function mutateBytes(bytes: Uint8Array, random: Random): Buffer {
  let result: Buffer = Buffer.from(bytes);
  const times = 1 + random.below(random.below(2) ? 2 : 12);
  for (let i = 0; i < times; i++) result = mutateOnce(result, random);
  return result;
}

function mutateOnce(bytes: Buffer, random: Random): Buffer {
  const at = random.below(bytes.length + 1);
  const length = 1 + random.below(random.below(4) ? 8 : 1 + bytes.length);
  const [head, range, tail] = [bytes.subarray(0, at), bytes.subarray(at, at + length), bytes.subarray(at + length)];
  const noise = () => Buffer.from(range.map(() => (random.below(2) ? pick(random, BYTES) : random.below(256))));
  switch (random.below(8)) {
    case 0:
      return Buffer.concat([head, tail]);
    case 1:
      return Buffer.concat([head, range, range, tail]);
    case 2:
      return Buffer.concat([head, noise(), range, tail]);
    case 3:
      return Buffer.concat([head, Buffer.alloc(range.length, pick(random, BYTES)), tail]);
    case 4:
      return random.below(4) ? mutateOnce(bytes, random) : Buffer.from(head);
    case 5:
      return Buffer.concat([head, noise(), tail]);
    case 6:
      return Buffer.concat([head, bytes.subarray(random.below(bytes.length + 1)).subarray(0, length), tail]);
    default: {
      const flipped = Buffer.from(bytes);
      if (at < bytes.length) flipped[at]! ^= 1 << random.below(8);
      return flipped;
    }
  }
}

type Container = Record<string, unknown>;

/** JSON with one or two of its values replaced, removed, doubled or renamed; the text need not be JSON any more. */
export function mutateJson(text: string, random: Random): string {
  const root = { root: JSON.parse(text) } as Container;
  const raw: string[] = [];
  for (let i = random.below(3); i < 3; i += 2) mutateValue(root, random, raw);
  return JSON.stringify(root.root ?? null, undefined, random.below(3))
    .replace(/"RAW(\d+)RAW"/g, (_, index) => raw[Number(index)]!)
    .replaceAll('TWICE"', '"');
}

function mutateValue(root: Container, random: Random, raw: string[]): void {
  const all = places(root);
  if (all.length === 0) return;
  const [container, key] = pick(random, all);
  const value = container[key];
  const insert = (json: string) => `RAW${raw.push(json) - 1}RAW`;
  switch (random.below(8)) {
    case 0:
      if (Array.isArray(container)) container.splice(Number(key), 1);
      else delete container[key];
      break;
    case 1:
      if (Array.isArray(container)) container.splice(Number(key), 0, value);
      else container[`${key}TWICE`] = random.below(2) ? value : insert(pick(random, HOSTILE));
      break;
    case 2:
      delete container[key];
      container[pick(random, ['', 'x', '__proto__x', key.toUpperCase(), `${key} `, '\u0000'])] = value;
      break;
    case 3:
    case 4:
      container[key] = typeof value === 'number' ? insert(near(value, random)) : insert(pick(random, HOSTILE));
      break;
    case 5: {
      const [other, otherKey] = pick(random, all);
      container[key] = structuredClone(other[otherKey]);
      break;
    }
    default:
      container[key] = insert(pick(random, HOSTILE));
  }
}

/** Every value of a tree by its container and key; each of few levels is as likely as the many leaves together. */
function places(root: Container): [Container, string][] {
  const found: [Container, string][] = [];
  const visit = (container: Container, depth: number) => {
    for (const [key, value] of Object.entries(container)) {
      found.push([container, key]);
      if (depth < 3) for (let i = 0; i < 8 / 4 ** depth; i++) found.push([container, key]);
      if (typeof value === 'object' && value !== null) visit(value as Container, depth + 1);
    }
  };
  visit(root, 0);
  return found;
}

function near(value: number, random: Random): string {
  const changes = [value + 1, value - 1, 2 * value, value / 2, value / 3, -value, value * 1e6, value + 8, value * 8];
  return `${pick(random, changes)}`;
}
