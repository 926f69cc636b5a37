import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder, type DeviceInfo, loadKernel, readCached, type Variant, writeCached } from '../runtime/index.ts';
import type { Ranking } from './defaults.ts';
import { table as llvmpipe25 } from './measured/llvmpipe_25.ts';
import { table as llvmpipe26 } from './measured/llvmpipe_26.ts';
import { table as swiftshader } from './measured/swiftshader.ts';

/** What was measured of an op on an adapter. */
export interface MeasuredOp {
  /** Of which kernels: a digest of their text. */
  kernels: string;
  /** By problem, as 'op problem', the variants that are right, the fastest first, without the op's name. */
  best: Ranking;
  /** Variants that are wrong there or do not compile, without the op's name, and why. */
  wrong: Readonly<Record<string, string>>;
}

/** What was measured on an adapter, by op. */
export interface MeasuredTable {
  adapter: string;
  driver: string;
  ops: Readonly<Record<string, MeasuredOp>>;
}

/** A file that may hold a table for an adapter: without one where it is damaged or another adapter's. */
export interface TableFile {
  file: string;
  /** Whether it came with this project; else it lies in the user's cache folder. */
  committed: boolean;
  table?: MeasuredTable;
  problem?: 'damaged' | 'foreign';
}

/** The tables that come with this project. */
export const COMMITTED: readonly MeasuredTable[] = [llvmpipe25, llvmpipe26, swiftshader];

type Adapter = Pick<DeviceInfo, 'name' | 'driver'>;

const known = new Map<string, readonly TableFile[]>();
const digests = new WeakMap<readonly Variant[], string>();

/** The files with tables for an adapter, the user's own before one that came with this project; read once. */
export function tablesOf(adapter: Adapter): readonly TableFile[] {
  const key = keyOf(adapter);
  const found = known.get(key) ?? [...userFile(adapter), ...committedFile(adapter)];
  known.set(key, found);
  return found;
}

/** What the tables of an adapter have on an op with these variants as they are now. */
export function measuredOps(adapter: Adapter, op: string, variants: readonly Variant[]): MeasuredOp[] {
  const measured = tablesOf(adapter).flatMap(({ table }) =>
    table && Object.hasOwn(table.ops, op) ? table.ops[op]! : [],
  );
  return measured.filter(({ kernels }) => kernels === digestOf(variants));
}

/**
 * A digest of the names of variants and of what their kernels compute, comments and spaces apart. What runs beside a variant in
 * dispatches of its own is not in it: rms_norm and quantize_rows around a product, attention_merge, and of qkv/apart, which has
 * rope's kernel, matmul and kv_append.
 */
export function digestOf(variants: readonly Variant[]): string {
  const known = digests.get(variants);
  if (known) return known;
  const texts = variants.map(({ name, kernel }) => [name, withoutComments(loadKernel(kernel).text)]);
  const digest = createHash('sha256').update(JSON.stringify(texts)).digest('hex').slice(0, 16);
  digests.set(variants, digest);
  return digest;
}

/** Adds what was measured to the user's table of an adapter; returns its file, or undefined where it cannot be written. */
export function keepMeasured(adapter: Adapter, ops: MeasuredTable['ops']): string | undefined {
  const mine = tablesOf(adapter).find(({ committed }) => !committed)?.table;
  const { name, driver } = adapter;
  const table = { adapter: name, driver, ops: joined(mine?.ops ?? {}, ops) };
  const file = fileOf(adapter);
  known.set(keyOf(adapter), [{ file, committed: false, table }, ...committedFile(adapter)]);
  writeCached(nameOf(adapter), table);
  return existsSync(file) ? file : undefined;
}

/** What is known of ops, and now of some of them again: of the same kernels all that is not measured again stays. */
function joined(before: MeasuredTable['ops'], now: MeasuredTable['ops']): MeasuredTable['ops'] {
  const both = Object.entries(now).map(([op, { kernels, best, wrong }]) => {
    const old = before[op]?.kernels === kernels ? before[op] : undefined;
    return [op, { kernels, best: { ...old?.best, ...best }, wrong }] as const;
  });
  return { ...before, ...Object.fromEntries(both) };
}

/** The name that an adapter's table is committed under: without what changes from one release or machine to the next. */
export function familyOf({ name, driver }: Adapter): { adapter: string; driver: string } {
  return { adapter: name.replace(/ \(.*$/, ''), driver: /Mesa \d+/.exec(driver)?.[0] ?? driver };
}

function committedFile(adapter: Adapter): TableFile[] {
  const family = familyOf(adapter);
  const found = COMMITTED.find((table) => table.adapter === family.adapter && table.driver === family.driver);
  return found
    ? [{ file: `kernels/measured of ${found.adapter}, ${found.driver}`, committed: true, table: found }]
    : [];
}

function userFile(adapter: Adapter): TableFile[] {
  const file = fileOf(adapter);
  if (!existsSync(file)) return [];
  const table = readCached(nameOf(adapter));
  if (!isTable(table)) return [{ file, committed: false, problem: 'damaged' }];
  const mine = table.adapter === adapter.name && table.driver === adapter.driver;
  return [mine ? { file, committed: false, table } : { file, committed: false, problem: 'foreign' }];
}

/** Where the user's table of an adapter is kept. */
export function fileOf(adapter: Adapter): string {
  return join(cacheFolder(), `${nameOf(adapter)}.json`);
}

function nameOf(adapter: Adapter): string {
  return `variants-${createHash('sha256').update(keyOf(adapter)).digest('hex').slice(0, 16)}`;
}

function keyOf({ name, driver }: Adapter): string {
  return `${name}\n${driver}`;
}

function withoutComments(text: string): string {
  return text.replace(/\/\/.*$/gm, '').replace(/\s+/g, ' ');
}

function isTable(value: unknown): value is MeasuredTable {
  if (!isRecord(value) || !isText(value.adapter) || !isText(value.driver)) return false;
  return isRecord(value.ops) && Object.values(value.ops).every(isMeasuredOp);
}

function isMeasuredOp(value: unknown): boolean {
  if (!isRecord(value) || !isText(value.kernels) || !isRecord(value.best) || !isRecord(value.wrong)) return false;
  const lists = Object.values(value.best);
  return lists.every((list) => Array.isArray(list) && list.every(isText)) && Object.values(value.wrong).every(isText);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}
