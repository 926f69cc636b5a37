import { basename, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { writeDurably } from './durable_file.ts';
import { checkpointError, isObject, type JsonObject, readObject, readSmall, show } from './json.ts';
import { type Checkpoint, INDEX, SafetensorsFile, type TensorInfo } from './safetensors.ts';
import { showSum } from './safetensors_writer.ts';

/** What to do about altered files. */
export const DAMAGED = 'download or quantise it again';

/** Compares tensors with their checksums while they are read. */
export class Checksums {
  #begun = new Map<TensorInfo, { next: number; sum: number }>();

  /** Takes the bytes of a tensor from its first to its last, in pieces; at the last, CheckpointError where they differ. */
  add(info: TensorInfo, byteOffset: number, bytes: Uint8Array): void {
    const before = this.#begun.get(info) ?? { next: 0, sum: 0 };
    if (before.next !== byteOffset) throw new Error(`${info.name}: read from ${byteOffset}, not ${before.next} on`);
    const next = byteOffset + bytes.byteLength;
    const sum = crc32(bytes, before.sum);
    this.#begun.set(info, { next, sum });
    if (next < info.bytes) return;
    this.#begun.delete(info);
    checkSum(info.file, info.name, info.sum, sum);
  }
}

/** Writes the index of a quantised checkpoint: which shard holds which tensor, and the sum of every file beside it. */
export function writeIndex(dir: string, shards: readonly string[], others: readonly string[]): void {
  const files = shards.map((name) => SafetensorsFile.open(join(dir, name)));
  const entries = shards.flatMap((shard, i) => [...files[i]!.tensors.values()].map((info) => ({ shard, info })));
  const sums = [
    ...shards.map((name, i) => [name, showSum(files[i]!.headerSum)]),
    ...others.map((name) => [name, showSum(fileSum(join(dir, name)))]),
  ];
  for (const file of files) file.close();
  const total_size = entries.reduce((sum, { info }) => sum + info.bytes, 0);
  const weight_map = Object.fromEntries(entries.map(({ shard, info }) => [info.name, shard]));
  const metadata = { total_size, sums: Object.fromEntries(sums) };
  const index = { metadata: { ...metadata, sum: ownSum(metadata, weight_map) }, weight_map };
  writeDurably(join(dir, INDEX), Buffer.from(`${JSON.stringify(index, null, 2)}\n`));
}

/** The sum of what an index says. */
function ownSum({ total_size, sums }: JsonObject, weightMap: unknown): string {
  return showSum(crc32(JSON.stringify([total_size, sums, weightMap])));
}

/**
 * Compares the files of a checkpoint with the sums in its index: shards by their headers, which hold the sums of their
 * tensors, the others as a whole. CheckpointError names the file that was altered. Returns whether there are any sums:
 * published checkpoints have none.
 */
export function verifyFiles(checkpoint: Checkpoint): boolean {
  const { index } = checkpoint;
  if (index === undefined) return false;
  const { metadata, weight_map } = readObject(index);
  if (!isObject(metadata) || !isObject(metadata.sums)) return false;
  const { sums, sum } = metadata;
  const own = ownSum(metadata, weight_map);
  if (sum !== own) throw altered(index, 'metadata', sum, own);
  const headers = new Map([...checkpoint.shards].map(([path, { headerSum }]) => [basename(path), headerSum]));
  for (const name of new Set([...headers.keys(), ...Object.keys(sums)])) {
    if (/[/\\\0]/.test(name)) throw checkpointError(index, 'metadata.sums', 'names of files', show(name), DAMAGED);
    const path = join(checkpoint.path, name);
    checkSum(path, 'file', sums[name], headers.get(name) ?? fileSum(path));
  }
  return true;
}

/** CRC-32 of a small file. */
function fileSum(path: string): number {
  return crc32(readSmall(path));
}

function checkSum(file: string, what: string, stored: unknown, sum: number): void {
  if (stored !== showSum(sum)) throw altered(file, what, stored, showSum(sum));
}

function altered(file: string, what: string, stored: unknown, sum: string) {
  if (typeof stored !== 'string') return checkpointError(file, what, 'a checksum', show(stored), DAMAGED);
  return checkpointError(file, what, `the checksum ${stored}`, sum, `its bytes were altered: ${DAMAGED}`);
}
