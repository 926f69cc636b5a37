import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { BYTES, type DType, hostArray } from '../../runtime/dtype.ts';
import { elements, type Shape } from '../../runtime/shape.ts';
import type { HostTensor } from '../../runtime/tensor.ts';
import {
  checkpointError,
  isObject,
  type JsonObject,
  LFS_BYTES,
  MAX_JSON_BYTES,
  parseObject,
  readObject,
  refuseLfsPointer,
  show,
  statFile,
} from './json.ts';

/** Where one tensor lies: `bytes` bytes from the absolute position `offset` of `file`, row-major, little-endian. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  readonly offset: number;
  readonly bytes: number;
  readonly file: string;
  /** CRC-32 of its bytes as 8 hex digits, where the file's metadata holds it under `crc32:name`. */
  readonly sum?: string;
}

const DAMAGED = 'download the file again';
/** The file that says which shard holds which tensor. */
export const INDEX = 'model.safetensors.index.json';
/** The file of a checkpoint that is not cut into shards. */
const WHOLE = 'model.safetensors';
const METADATA = '__metadata__';
const LENGTH_BYTES = 8;
const READ_BYTES = 2 ** 30;

/** The key under `__metadata__` of a tensor's checksum. */
export function sumKey(name: string): string {
  return `crc32:${name}`;
}

/** Bits per element of every dtype of the format. */
const BITS = new Map(
  Object.entries({
    4: 'F4',
    6: 'F6_E2M3 F6_E3M2',
    8: 'BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ',
    16: 'I16 U16 F16 BF16',
    32: 'I32 U32 F32',
    64: 'I64 U64 F64 C64',
  }).flatMap(([bits, names]) => names.split(' ').map((name) => [name, Number(bits)] as const)),
);

/** Named tensors whose bytes are read as they are needed: from files, or computed. */
export abstract class TensorSource {
  /** The tensors that can be read, by name. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The format's dtype of the tensors that have no dtype here (F64, U8, F8_E4M3, ...), by name. */
  readonly unsupported: ReadonlyMap<string, string>;
  readonly path: string;

  protected constructor(path: string, tensors: Map<string, TensorInfo>, unsupported: Map<string, string>) {
    this.path = path;
    this.tensors = tensors;
    this.unsupported = unsupported;
  }

  /** Fills `target` with the bytes of a tensor from `byteOffset` on; CheckpointError unless the whole range is there. */
  abstract readInto(info: TensorInfo, byteOffset: number, target: Uint8Array): void;

  /** Closes the files; reading afterwards is a CheckpointError. */
  abstract close(): void;

  /** The place of a tensor; CheckpointError with the nearest names when it is absent, or when its dtype is unsupported. */
  info(name: string): TensorInfo {
    const info = this.tensors.get(name);
    if (info) return info;
    const stored = this.unsupported.get(name);
    if (stored)
      throw checkpointError(this.path, name, 'BF16, F16, F32, I8, I32 or U32', stored, 'convert the checkpoint');
    const hint = `the nearest names are ${nearest(name, this.tensors.keys()).join(', ') || 'none'}`;
    throw checkpointError(this.path, name, 'a tensor', 'nothing', hint);
  }

  /** Throws CheckpointError unless `length` bytes from `byteOffset` on lie within a tensor of this source. */
  protected checkRange(info: TensorInfo, byteOffset: number, length: number): void {
    const end = byteOffset + length;
    if (this.tensors.get(info.name) === info && isCount(byteOffset) && end <= info.bytes) return;
    const expected = `a range within its ${info.bytes} bytes`;
    throw checkpointError(this.path, info.name, expected, `${byteOffset} to ${end}`, 'ask for a part of it');
  }

  /** A whole tensor as an aligned copy on the host; meant for small ones. */
  read(name: string): HostTensor {
    const info = this.info(name);
    const buffer = new ArrayBuffer(info.bytes);
    this.readInto(info, 0, new Uint8Array(buffer));
    const { dtype, shape } = info;
    return { dtype, shape, data: hostArray(dtype, elements(shape), buffer) };
  }
}

/** One .safetensors file, opened and checked but not read. */
export class SafetensorsFile extends TensorSource {
  /** The strings under `__metadata__`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** CRC-32 of everything before the tensors' data. */
  readonly headerSum: number;
  #fd: number;

  private constructor(path: string, fd: number, header: Header) {
    super(path, header.tensors, header.unsupported);
    this.metadata = header.metadata;
    this.headerSum = header.sum;
    this.#fd = fd;
  }

  /**
   * Opens a file and checks its header as the reference implementation does: lengths, dtypes, shapes and offsets, and
   * that the tensors cover the data exactly, without holes, overlaps or bytes left over. CheckpointError otherwise.
   */
  static open(path: string): SafetensorsFile {
    const fd = attempt(path, 'file', 'a readable file', () => {
      statFile(path);
      return openSync(path, 'r');
    });
    try {
      return new SafetensorsFile(path, fd, readHeader(path, fd));
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  readInto(info: TensorInfo, byteOffset: number, target: Uint8Array): void {
    this.checkRange(info, byteOffset, target.byteLength);
    readAt(this.path, info.name, this.#fd, info.offset + byteOffset, target);
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}

/** The tensors of a model folder, over all its shards. */
export class Checkpoint extends TensorSource {
  /** The files by their paths. */
  readonly shards: ReadonlyMap<string, SafetensorsFile>;
  /** The index that lists them, where there is one that counts. */
  readonly index: string | undefined;
  /** What its user should be told: sentences, mostly none. */
  readonly notes: readonly string[];

  private constructor(dir: string, shards: Map<string, SafetensorsFile>, { index, notes }: Listing) {
    const files = [...shards.values()];
    super(
      dir,
      new Map(files.flatMap((file) => [...file.tensors])),
      new Map(files.flatMap((file) => [...file.unsupported])),
    );
    this.shards = shards;
    this.index = index;
    this.notes = notes;
  }

  /**
   * Opens the shards that model.safetensors.index.json lists, or model.safetensors where there is no index, or one whose
   * shards are not there. CheckpointError when a file is missing or damaged, or when index and shards disagree about any tensor.
   */
  static open(dir: string): Checkpoint {
    const listing = listShards(dir);
    const shards = new Map<string, SafetensorsFile>();
    try {
      for (const shard of new Set(listing.shardOf?.values() ?? [WHOLE])) {
        const path = join(dir, shard);
        shards.set(path, SafetensorsFile.open(path));
        if (listing.shardOf) checkShard(listing.index, shard, shards.get(path)!, listing.shardOf);
      }
    } catch (error) {
      for (const file of shards.values()) file.close();
      throw error;
    }
    return new Checkpoint(dir, shards, listing);
  }

  readInto(info: TensorInfo, byteOffset: number, target: Uint8Array): void {
    const file = this.shards.get(info.file);
    if (!file)
      throw checkpointError(this.path, info.name, 'a tensor of this checkpoint', info.file, 'take it from tensors');
    file.readInto(info, byteOffset, target);
  }

  close(): void {
    for (const file of this.shards.values()) file.close();
  }
}

interface Header {
  tensors: Map<string, TensorInfo>;
  unsupported: Map<string, string>;
  metadata: Record<string, string>;
  sum: number;
}

/** A tensor's entry: the format's dtype and a range of the data section. */
interface Entry {
  name: string;
  stored: string;
  shape: number[];
  begin: number;
  end: number;
}

function readHeader(path: string, fd: number): Header {
  const { size } = fstatSync(fd);
  if (size < LENGTH_BYTES) {
    throw checkpointError(path, 'file', `at least ${LENGTH_BYTES} bytes`, `${size}`, DAMAGED);
  }
  const start = new Uint8Array(Math.min(size, LFS_BYTES));
  readAt(path, 'header length', fd, 0, start);
  refuseLfsPointer(path, start);
  const prefix = start.subarray(0, LENGTH_BYTES);
  const stated = new DataView(start.buffer).getBigUint64(0, true);
  const limit = Math.min(size - LENGTH_BYTES, MAX_JSON_BYTES);
  if (stated === 0n || stated > BigInt(limit)) {
    throw checkpointError(path, 'header length', `1 to ${limit} bytes`, `${stated}`, DAMAGED);
  }
  const bytes = new Uint8Array(Number(stated));
  readAt(path, 'header', fd, LENGTH_BYTES, bytes);
  const header = parseObject(path, 'header', bytes);
  const dataStart = LENGTH_BYTES + bytes.length;
  const entries = Object.entries(header)
    .filter(([name]) => name !== METADATA)
    .map(([name, value]) => readEntry(path, name, value));
  checkCoverage(path, entries, size - dataStart);
  const metadata = readMetadata(path, header[METADATA] ?? {});
  const tensors = new Map<string, TensorInfo>();
  const unsupported = new Map<string, string>();
  for (const { name, stored, shape, begin, end } of entries) {
    const dtype = stored.toLowerCase();
    const sum = metadata[sumKey(name)];
    const where = { offset: dataStart + begin, bytes: end - begin, file: path };
    if (isDType(dtype)) tensors.set(name, { name, dtype, shape, ...where, ...(sum && { sum }) });
    else unsupported.set(name, stored);
  }
  return { tensors, unsupported, metadata, sum: crc32(bytes, crc32(prefix)) };
}

function readEntry(file: string, name: string, value: unknown): Entry {
  const check = (condition: boolean, expected: string, got: string) => {
    if (!condition) throw checkpointError(file, name, expected, got, DAMAGED);
  };
  const { dtype: stored, shape, data_offsets: offsets } = isObject(value) ? value : ({} as JsonObject);
  const bits = BITS.get(stored as string)!;
  check(bits !== undefined, 'a dtype of the safetensors format', show(stored));
  check(Array.isArray(shape) && shape.every(isCount), 'a shape of non-negative integers', show(shape));
  const isRange =
    Array.isArray(offsets) && offsets.length === 2 && offsets.every(isCount) && offsets[0]! <= offsets[1]!;
  check(isRange, 'data_offsets [begin, end] with begin <= end', show(offsets));
  const sizes = shape as number[];
  const [begin, end] = offsets as [number, number];
  const count = sizes.reduce((product, size) => (Number.isSafeInteger(product) ? product * size : product), 1);
  check(Number.isSafeInteger(count), 'fewer than 2^53 elements', show(shape));
  const bytes = (count * bits) / 8;
  check(bytes === end - begin, `${bytes} bytes for ${stored} ${show(shape)}`, `${end - begin}`);
  return { name, stored: stored as string, shape: sizes, begin, end };
}

/** Tensors sorted by offset must follow one another from the first byte of the data section to the last. */
function checkCoverage(file: string, entries: Entry[], dataBytes: number): void {
  let covered = 0;
  for (const { name, begin, end } of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== covered) {
      const problem = begin < covered ? 'an overlap' : 'a hole';
      throw checkpointError(file, name, `data from byte ${covered} on`, `${problem}: it begins at ${begin}`, DAMAGED);
    }
    if (end > dataBytes) {
      throw checkpointError(file, name, `data up to byte ${dataBytes}, where the file ends`, `${end}`, DAMAGED);
    }
    covered = end;
  }
  if (covered !== dataBytes) {
    throw checkpointError(file, 'data', `${covered} bytes, the end of the last tensor`, `${dataBytes}`, DAMAGED);
  }
}

function readMetadata(file: string, value: unknown): Record<string, string> {
  if (!isObject(value) || !Object.values(value).every((text) => typeof text === 'string')) {
    throw checkpointError(file, METADATA, 'an object of strings', show(value), DAMAGED);
  }
  return value as Record<string, string>;
}

/** The index of a model folder and its map from tensor name to shard; neither where the whole file counts. */
type Listing = { notes: string[] } & (
  | { index: string; shardOf: Map<string, string> }
  | { index?: undefined; shardOf?: undefined }
);

function listShards(dir: string): Listing {
  const index = join(dir, INDEX);
  if (!existsSync(index)) return { notes: [] };
  const shardOf = readIndex(index);
  const missing = [...shardOf.values()].find((shard) => !existsSync(join(dir, shard)));
  if (missing === undefined) return { index, shardOf, notes: [] };
  if (!existsSync(join(dir, WHOLE))) {
    const expected = `a file, as ${index} says`;
    throw checkpointError(join(dir, missing), 'shard', expected, 'nothing', 'download index and shards again');
  }
  return { notes: [`${index}: ${missing} is not there; the weights are read from ${WHOLE} instead`] };
}

/** The index's map from tensor name to shard file name; only plain names of .safetensors files are followed. */
function readIndex(index: string): Map<string, string> {
  const { weight_map: map } = readObject(index);
  if (!isObject(map)) throw checkpointError(index, 'weight_map', 'an object', show(map), DAMAGED);
  for (const [name, shard] of Object.entries(map)) {
    if (typeof shard !== 'string' || !/^[^/\\:\0]+\.safetensors$/.test(shard)) {
      throw checkpointError(index, name, 'the name of a .safetensors file in the same folder', show(shard), DAMAGED);
    }
  }
  return new Map(Object.entries(map as Record<string, string>));
}

/** Index and shard must agree on the shard's tensors; hence no tensor lies in two shards. */
function checkShard(index: string, shard: string, file: SafetensorsFile, shardOf: Map<string, string>): void {
  for (const name of [...file.tensors.keys(), ...file.unsupported.keys()]) {
    const listed = shardOf.get(name);
    if (listed !== shard) {
      const expected = listed ? `the tensor in ${listed} only, as ${index} says` : `a tensor that ${index} lists`;
      throw checkpointError(file.path, name, expected, 'one more', 'download index and shards again');
    }
  }
  for (const [name, listed] of shardOf) {
    if (listed === shard && !file.tensors.has(name) && !file.unsupported.has(name)) {
      throw checkpointError(
        file.path,
        name,
        `the tensor here, as ${index} says`,
        'nothing',
        'download index and shards again',
      );
    }
  }
}

/** Fills `target` from a position of an open file; the system call takes less than 2^31 bytes at a time. */
function readAt(file: string, what: string, fd: number, position: number, target: Uint8Array): void {
  let done = 0;
  while (done < target.byteLength) {
    const length = Math.min(target.byteLength - done, READ_BYTES);
    const read = attempt(file, what, 'readable bytes', () => readSync(fd, target, done, length, position + done));
    if (read === 0) {
      throw checkpointError(
        file,
        what,
        `${target.byteLength} bytes at ${position}`,
        `${done}`,
        'the file was cut while in use',
      );
    }
    done += read;
  }
}

function attempt<T>(file: string, what: string, expected: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw checkpointError(file, what, expected, (error as Error).message, 'check the folder and its permissions');
  }
}

function isDType(name: string): name is DType {
  return Object.hasOwn(BYTES, name);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** The three names that share the longest beginning and end with `name`. */
function nearest(name: string, names: Iterable<string>): string[] {
  const score = (other: string) => {
    const limit = Math.min(name.length, other.length);
    let head = 0;
    while (head < limit && name[head] === other[head]) head++;
    let tail = 0;
    while (tail < limit - head && name.at(-1 - tail) === other.at(-1 - tail)) tail++;
    return head + tail;
  };
  return [...names]
    .map((other) => [score(other), other] as const)
    .sort(([a], [b]) => b - a)
    .slice(0, 3)
    .map(([, other]) => other);
}
