import { readFileSync, statSync } from 'node:fs';
import { CheckpointError } from '../../runtime/errors.ts';

/** A JSON object from a file: its keys and values are untrusted. */
export type JsonObject = Record<string, unknown>;

/** Largest JSON text that is parsed, in bytes; the limit of the safetensors reference. */
export const MAX_JSON_BYTES = 100_000_000;
const MAX_DEPTH = 64;
const MAX_NODES = 2 ** 20;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A CheckpointError `<file>: <what>: expected ..., got ...; <hint>` of bounded length, free of control characters. */
export function checkpointError(file: string, what: string, expected: string, got: string, hint: string) {
  const message = `${file}: ${clip(what)}: expected ${clip(expected)}, got ${clip(got)}; ${clip(hint)}`;
  return new CheckpointError(message.replace(/\p{Cc}/gu, '?'));
}

/** A JSON value as text for a message; an absent one is 'nothing', a number past the range of f64 is Infinity. */
export function show(value: unknown): string {
  return typeof value === 'number' ? `${value}` : (JSON.stringify(value) ?? 'nothing');
}

/** Whether a JSON value is an object and not an array. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * The object that UTF-8 JSON bytes hold. CheckpointError for bad UTF-8 or JSON, another kind of value, more than 64
 * levels of nesting, more than 2^20 keys, arrays and objects (which would take minutes and gigabytes to parse), and a
 * key that an object repeats (JSON.parse would keep the last one silently).
 */
export function parseObject(file: string, what: string, bytes: Uint8Array): JsonObject {
  let value: unknown;
  try {
    const text = utf8.decode(bytes);
    checkStructure(file, text);
    value = JSON.parse(text);
  } catch (error) {
    if (error instanceof CheckpointError) throw error;
    throw checkpointError(file, what, 'UTF-8 JSON', (error as Error).message, 'download the file again');
  }
  if (!isObject(value)) throw checkpointError(file, what, 'an object', show(value), 'download the file again');
  return value;
}

/** The object in a JSON file of at most 100 MB. CheckpointError when it cannot be read or parsed. */
export function readObject(path: string): JsonObject {
  const bytes = readSmall(path);
  refuseLfsPointer(path, bytes);
  return parseObject(path, 'file', bytes);
}

/** The bytes of a file of at most 100 MB. CheckpointError when it cannot be read. */
export function readSmall(path: string): Uint8Array {
  try {
    const { size } = statFile(path);
    if (size > MAX_JSON_BYTES) throw new Error(`${size} bytes`);
    return readFileSync(path);
  } catch (error) {
    const expected = `a readable file of at most ${MAX_JSON_BYTES} bytes`;
    throw checkpointError(path, 'file', expected, (error as Error).message, 'pass the folder of a complete checkpoint');
  }
}

const LFS_MARK = Buffer.from('version https://git-lfs.github.com/spec/');
/** How many of a file's first bytes refuseLfsPointer needs. */
export const LFS_BYTES = LFS_MARK.length;

/** Throws CheckpointError where a file begins as a Git LFS pointer, which stands for a file that was not fetched. */
export function refuseLfsPointer(path: string, bytes: Uint8Array): void {
  if (!LFS_MARK.equals(bytes.subarray(0, LFS_BYTES))) return;
  throw checkpointError(path, 'file', 'its contents', 'a Git LFS pointer', 'run git lfs pull in its folder');
}

/** The status of a regular file; an Error for anything else, so that nobody waits on a pipe. */
export function statFile(path: string): { size: number } {
  const status = statSync(path);
  if (!status.isFile()) throw new Error('a folder or a device');
  return status;
}

/** Scans JSON before it is parsed: in valid JSON a string is a key exactly when a colon follows it. */
function checkStructure(file: string, text: string): void {
  const open: (Set<string> | undefined)[] = [];
  let nodes = 0;
  const limit = (what: string, count: number, most: number) => {
    if (count > most) throw checkpointError(file, what, `at most ${most}`, 'more', 'download the file again');
  };
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === '{' || char === '[') {
      limit('levels of nesting', open.push(char === '{' ? new Set() : undefined), MAX_DEPTH);
      limit('keys, arrays and objects', ++nodes, MAX_NODES);
    } else if (char === '}' || char === ']') {
      open.pop();
    } else if (char === '"') {
      const start = i;
      i = stringEnd(text, i);
      if (!isColonNext(text, i + 1)) continue;
      limit('keys, arrays and objects', ++nodes, MAX_NODES);
      const key: string = JSON.parse(text.slice(start, i + 1));
      const keys = open.at(-1);
      if (keys?.has(key)) throw checkpointError(file, key, 'one entry', 'a second one', 'download the file again');
      keys?.add(key);
    }
  }
}

function stringEnd(text: string, start: number): number {
  let i = start + 1;
  while (i < text.length && text[i] !== '"') i += text[i] === '\\' ? 2 : 1;
  return i;
}

function isColonNext(text: string, start: number): boolean {
  let i = start;
  while (text[i] === ' ' || text[i] === '\n' || text[i] === '\r' || text[i] === '\t') i++;
  return text[i] === ':';
}

function clip(text: string): string {
  return text.length > 400 ? `${text.slice(0, 400)}...` : text;
}
