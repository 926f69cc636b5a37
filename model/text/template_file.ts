import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CheckpointError } from '../../runtime/index.ts';
import { checkpointError, isObject, readObject, refuseLfsPointer, show, statFile } from '../checkpoint/json.ts';

/** Longest template, in bytes. */
export const MAX_BYTES = 2 ** 20;
const FOLDER = 'additional_chat_templates';
const HINT = 'download the folder again, with its template';

/**
 * The default chat template of a model folder and the file that it stands in: as transformers has it, a file of its own
 * comes before tokenizer_config.json; last comes chat_template.json, where older processors kept theirs. CheckpointError where there is none.
 */
export function findTemplate(dir: string): { path: string; source: string } {
  const file = join(dir, 'chat_template.jinja');
  const named = existsSync(join(dir, FOLDER)) ? readdirSync(join(dir, FOLDER)).filter(isTemplate).sort() : [];
  const path = named.includes('default.jinja') ? join(dir, FOLDER, 'default.jinja') : file;
  if (existsSync(path)) return { path, source: readText(path) };
  if (named.length > 0) {
    throw checkpointError(join(dir, FOLDER), 'template', 'a default.jinja', named.join(', '), HINT);
  }
  for (const name of ['tokenizer_config.json', 'chat_template.json']) {
    const holder = join(dir, name);
    const value = existsSync(holder) ? (readObject(holder).chat_template ?? undefined) : undefined;
    if (value !== undefined) return { path: holder, source: defaultOf(holder, value) };
  }
  const places = `it, or a chat_template in tokenizer_config.json or chat_template.json`;
  throw checkpointError(file, 'template', places, 'none', HINT);
}

function isTemplate(name: string): boolean {
  return name.endsWith('.jinja');
}

/** The template that a JSON file holds: a text, or the one named default in a list. */
function defaultOf(path: string, value: unknown): string {
  const entries = Array.isArray(value) ? value.filter(isObject) : [];
  const source = typeof value === 'string' ? value : entries.findLast(({ name }) => name === 'default')?.template;
  if (typeof source === 'string' && Buffer.byteLength(source) <= MAX_BYTES) return source;
  const expected = `a text of at most ${MAX_BYTES} bytes, or a list with { name: "default", template: a text }`;
  throw checkpointError(path, 'chat_template', expected, show(value), HINT);
}

function readText(path: string): string {
  try {
    const { size } = statFile(path);
    if (size > MAX_BYTES) throw new Error(`${size} bytes`);
    const bytes = readFileSync(path);
    refuseLfsPointer(path, bytes);
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw asCheckpointError(path, error);
  }
}

/** What is wrong with a template, as a CheckpointError that names its file. */
export function asCheckpointError(path: string, error: unknown): Error {
  if (error instanceof CheckpointError) return error;
  const expected = `a Jinja chat template of at most ${MAX_BYTES} bytes`;
  return checkpointError(
    path,
    'template',
    expected,
    (error as Error).message,
    'download it again, or write it without that',
  );
}
