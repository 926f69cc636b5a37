import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { statFile } from '../model/checkpoint/json.ts';
import type { Mode } from '../model/index.ts';
import { UsageError } from '../runtime/index.ts';

/** A message of a conversation, and whether the model is to think, as files of questions have them. */
export const MESSAGE = v.strictObject({ role: v.picklist(['system', 'user', 'assistant']), content: v.string() });
export const MODE = v.optional(v.picklist(['hybrid', 'think', 'nothink'] satisfies Mode[]), 'hybrid');

/** What a text is as a whole, what it holds, and what to do about a wrong one. */
export interface Kind {
  readonly text: string;
  readonly root: string;
  readonly hint: string;
}

/** JSON as a schema has it; UsageError `<where>: <field>: expected ..., got ...`. */
export function parseAs<S extends v.GenericSchema>(
  schema: S,
  text: string,
  where: string,
  kind: Kind,
): v.InferOutput<S> {
  const { success, output, issues } = v.safeParse(schema, parseJson(text, where, kind), { abortEarly: true });
  if (success) return output;
  const [{ kind: reason, expected, received, message }] = issues;
  const wanted = reason === 'validation' ? message : expected === 'never' ? 'no such field' : expected!;
  throw wrong(`${where}: ${(v.getDotPath(issues[0]) ?? kind.root).slice(0, 80)}`, wanted, received, kind);
}

function parseJson(text: string, where: string, kind: Kind): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw wrong(where, kind.text, (error as Error).message, kind);
  }
}

/** The text of a file; UsageError where it cannot be read. */
export function readText(file: string, expected: string, kind: Pick<Kind, 'hint'>): string {
  try {
    statFile(file);
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw wrong(file, expected, (error as Error).message, kind);
  }
}

/** The paths of pictures that lie beside a file; UsageError where one does not. */
export function picturesBeside(file: string, images: readonly string[], where: string, kind: Kind): string[] {
  const paths = images.map((image) => join(dirname(file), image));
  const missing = paths.find((path) => !existsSync(path));
  if (missing) throw wrong(where, 'pictures that there are', missing, kind);
  return paths;
}

/** What is wrong with a text that anyone may have written, on one line. */
export function wrong(where: string, expected: string, got: string, { hint }: Pick<Kind, 'hint'>): UsageError {
  return new UsageError(`${where}: expected ${expected}, got ${got.slice(0, 200)}; ${hint}`.replace(/\p{Cc}/gu, '?'));
}
