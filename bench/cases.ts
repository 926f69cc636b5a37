import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import type { Message, Mode } from '../model/index.ts';
import { type Kind, MESSAGE, MODE, parseAs, picturesBeside, readText } from './parse.ts';

const FOLDER = fileURLToPath(new URL('./cases', import.meta.url));
const KIND: Kind = { text: 'a JSON list of cases', root: 'file', hint: 'see bench/cases/README.md' };
const CASE = v.pipe(
  v.strictObject({
    name: v.pipe(v.string(), v.regex(/^[\w-]+$/, 'letters, digits, _ and -')),
    text: v.optional(v.string()),
    messages: v.optional(v.pipe(v.array(MESSAGE), v.nonEmpty('one at least'))),
    images: v.optional(v.array(v.string()), []),
    mode: MODE,
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
  const cases = parseAs(CASES, readText(path, KIND.text, KIND), path, KIND);
  return cases.map(({ text, messages = [{ role: 'user', content: text! }], images, ...rest }, i) => {
    return { ...rest, messages, images: picturesBeside(path, images, `${path}: ${i}.images`, KIND) };
  });
}
