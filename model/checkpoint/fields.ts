import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { checkpointError, isObject, type JsonObject, readObject, show } from './json.ts';

const MAX_INTEGER = 2 ** 31;
const HINT = 'use the file of a Phi-4-reasoning-vision checkpoint, as published';

/**
 * The keys of one JSON object, each checked as it is read; null counts as absent, as it does in the reference. What fails
 * a check is a CheckpointError naming file, key, expected and got.
 */
export class Fields {
  readonly #file: string;
  readonly #values: JsonObject;
  readonly #prefix: string;
  readonly #asked = new Set<string>();

  private constructor(file: string, values: JsonObject, prefix = '') {
    this.#file = file;
    this.#values = values;
    this.#prefix = prefix;
  }

  /** The object in a file of a folder. */
  static open(dir: string, name: string): Fields {
    const path = join(dir, name);
    return new Fields(path, readObject(path));
  }

  /** The same, without any key where there is no such file. */
  static openOptional(dir: string, name: string): Fields {
    const path = join(dir, name);
    return existsSync(path) ? Fields.open(dir, name) : new Fields(path, {});
  }

  check(condition: boolean, key: string, expected: string, got = show(this.#values[key])): void {
    if (!condition) throw checkpointError(this.#file, this.#prefix + key, expected, got, HINT);
  }

  /** The value of a key; undefined where it is absent. */
  get(key: string): unknown {
    this.#asked.add(key);
    return this.#values[key] ?? undefined;
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  /** The key must hold this value. */
  require(key: string, supported: unknown): void {
    this.check(show(this.get(key)) === show(supported), key, show(supported));
  }

  /** The key may be absent, and otherwise must hold this value. */
  allow(key: string, supported: unknown): void {
    if (this.has(key)) this.require(key, supported);
  }

  number(key: string, valid: (value: number) => boolean, expected: string, fallback?: number): number {
    const value = this.get(key) ?? fallback;
    this.check(typeof value === 'number' && Number.isFinite(value) && valid(value), key, expected);
    return value as number;
  }

  positive(key: string, fallback?: number): number {
    return this.number(key, (x) => x > 0, 'a positive number', fallback);
  }

  integer(key: string, min = 1, max = MAX_INTEGER, fallback?: number): number {
    const valid = (x: number) => Number.isInteger(x) && x >= min && x <= max;
    return this.number(key, valid, `an integer from ${min} to ${max}`, fallback);
  }

  oneOf<T>(key: string, choices: readonly T[]): T {
    const value = this.get(key) as T;
    this.check(choices.includes(value), key, `one of ${choices.join(', ')}`);
    return value;
  }

  boolean(key: string, fallback: boolean): boolean {
    const value = this.get(key) ?? fallback;
    this.check(typeof value === 'boolean', key, 'true or false');
    return value as boolean;
  }

  text(key: string): string {
    const value = this.get(key);
    this.check(typeof value === 'string' && value !== '', key, 'text');
    return value as string;
  }

  array(key: string): unknown[] {
    const value = this.get(key);
    this.check(Array.isArray(value), key, 'an array');
    return value as unknown[];
  }

  object(key: string): Fields {
    return this.#nested(key, this.get(key));
  }

  objects(key: string): Fields[] {
    return this.array(key).map((value, i) => this.#nested(`${key}[${i}]`, value));
  }

  keys(): string[] {
    return Object.keys(this.#values);
  }

  /** Keys that nobody asked for, as paths; null counts here. */
  unasked(): string[] {
    return this.keys().filter((key) => !this.#asked.has(key));
  }

  #nested(key: string, value: unknown): Fields {
    this.check(isObject(value), key, 'an object', show(value));
    return new Fields(this.#file, value as JsonObject, `${this.#prefix}${key}.`);
  }
}
