import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import type { Message, Mode } from '../model/index.ts';
import { UsageError } from '../runtime/index.ts';

const FOLDER = fileURLToPath(new URL('./cases', import.meta.url));
const MESSAGE = v.strictObject({ role: v.picklist(['system', 'user', 'assistant']), content: v.string() });
const CASE = v.pipe(
  v.strictObject({
    name: v.pipe(v.string(), v.regex(/^[\w-]+$/, 'letters, digits, _ and -')),
    text: v.optional(v.string()),
    messages: v.optional(v.pipe(v.array(MESSAGE), v.nonEmpty('one at least'))),
    images: v.optional(v.array(v.string()), []),
    mode: v.optional(v.picklist(['hybrid', 'think', 'nothink'] satisfies Mode[]), 'hybrid'),
  }),
  v.check(({ text, messages }) => (text === undefined) !== (messages === undefined), 'either text or messages'),
);
const CASES = v.pipe(
  v.array(CASE),
  v.nonEmpty('one at least'),
  v.check((all) => new Set(all.map(({ name }) => name)).size === all.length, 'every name once'),
);

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
  const { success, output, issues } = v.safeParse(CASES, parseJson(path));
  if (!success) {
    const { kind, expected, received, message } = issues[0];
    const wanted = kind === 'validation' ? message : expected === 'never' ? 'no such field' : expected!;
    throw wrong(`${path}: ${v.getDotPath(issues[0]) ?? 'file'}`, wanted, received);
  }
  return output.map(({ text, messages = [{ role: 'user', content: text! }], images, ...rest }, i) => {
    const paths = images.map((image) => join(dirname(path), image));
    const missing = paths.find((image) => !existsSync(image));
    if (missing) throw wrong(`${path}: ${i}.images`, 'pictures that there are', missing);
    return { ...rest, messages, images: paths };
  });
}

function parseJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw wrong(`${path}: file`, 'a JSON list of cases', (error as Error).message);
  }
}

function wrong(where: string, expected: string, got: string): UsageError {
  return new UsageError(`${where}: expected ${expected}, got ${got.slice(0, 200)}; see bench/cases/README.md`);
}
