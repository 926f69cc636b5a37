import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isObject, show } from '../model/checkpoint/json.ts';
import type { Message, Mode } from '../model/index.ts';
import { UsageError } from '../runtime/index.ts';

const FOLDER = fileURLToPath(new URL('./cases', import.meta.url));
const FIELDS = ['name', 'text', 'messages', 'images', 'mode'];
const MODES: readonly unknown[] = ['hybrid', 'think', 'nothink'] satisfies Mode[];

/** A conversation that is benched, with the paths of the pictures for the <image> marks in it. */
export interface Case {
  readonly name: string;
  readonly messages: readonly Message[];
  readonly images: readonly string[];
  readonly mode: Mode;
}

/**
 * The cases of bench/cases, and the reference file that the official code wrote of them on the checkpoint in
 * bench/reference/tiny. Throws UsageError.
 */
export function caseFiles(): { cases: readonly Case[]; reference: string } {
  return { cases: readCases(join(FOLDER, 'cases.json')), reference: join(FOLDER, 'expected.safetensors') };
}

/** Reads cases in the format of tools/reference.py, except for ids, forced and steps; UsageError names what is wrong. */
export function readCases(path: string): Case[] {
  const cases = parseList(path).map((value, i) => readCase(value, `${path}: case ${i}`, dirname(path)));
  const twice = cases.find(({ name }, i) => cases.findIndex((other) => other.name === name) < i);
  if (twice) throw wrong(path, 'name', 'every name once', show(twice.name));
  return cases;
}

function parseList(path: string): unknown[] {
  try {
    const list: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (Array.isArray(list) && list.length > 0) return list;
    throw new Error(show(list).slice(0, 80));
  } catch (error) {
    throw wrong(path, 'file', 'a JSON list of cases', (error as Error).message);
  }
}

function readCase(value: unknown, where: string, folder: string): Case {
  const check = (valid: boolean, what: string, expected: string, got: unknown) => {
    if (!valid) throw wrong(where, what, expected, show(got).slice(0, 200));
  };
  const fields = isObject(value) ? value : {};
  const { name, text, messages = [{ role: 'user', content: text }], images = [], mode = 'hybrid' } = fields;
  const unknown = Object.keys(fields).find((key) => !FIELDS.includes(key));
  check(isObject(value), 'case', 'an object', value);
  check(unknown === undefined, 'field', FIELDS.join(', '), unknown);
  check(typeof name === 'string' && /^[\w-]+$/.test(name), 'name', 'letters, digits, _ and -', name);
  check('text' in fields !== 'messages' in fields, 'text', 'either text or messages', text);
  check(isConversation(messages), 'messages', 'a list of {role, content}, both strings', messages);
  check(Array.isArray(images) && images.every((image) => typeof image === 'string'), 'images', 'file names', images);
  check(MODES.includes(mode), 'mode', MODES.join(', '), mode);
  const paths = (images as string[]).map((image) => join(folder, image));
  const missing = paths.find((image) => !existsSync(image));
  check(missing === undefined, 'images', 'pictures that there are', missing);
  return { name, messages, images: paths, mode } as Case;
}

function isConversation(value: unknown): boolean {
  if (!Array.isArray(value) || value.length === 0) return false;
  return value.every(
    (message) =>
      isObject(message) &&
      Object.keys(message).sort().join() === 'content,role' &&
      typeof message.role === 'string' &&
      typeof message.content === 'string',
  );
}

function wrong(where: string, what: string, expected: string, got: string): UsageError {
  return new UsageError(`${where}: ${what}: expected ${expected}, got ${got}; see bench/cases/README.md`);
}
