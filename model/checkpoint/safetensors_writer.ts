import { crc32 } from 'node:zlib';
import { type DType, type Shape, tensorBytes } from '../../runtime/index.ts';
import { DurableFile } from './durable_file.ts';
import { sumKey } from './safetensors.ts';

const ALIGNMENT = 8;

interface Place {
  begin: number;
  end: number;
  /** Where the next byte goes. */
  next: number;
  sum: number;
}

/** A checksum as 8 hex digits. */
export function showSum(sum: number): string {
  return sum.toString(16).padStart(8, '0');
}

/**
 * Writes one .safetensors file whose tensors stand in the order given, with the CRC-32 of each in the metadata. Tensors
 * may be written in any order and in pieces, each from its first byte to its last.
 */
export class SafetensorsWriter {
  #file: DurableFile;
  #tensors: readonly { name: string; dtype: DType; shape: Shape }[];
  #metadata: Readonly<Record<string, string>>;
  #places = new Map<string, Place>();
  #dataStart: number;

  constructor(
    path: string,
    tensors: readonly { name: string; dtype: DType; shape: Shape }[],
    metadata: Readonly<Record<string, string>> = {},
  ) {
    let end = 0;
    for (const tensor of tensors) {
      const begin = end;
      end += tensorBytes(tensor);
      this.#places.set(tensor.name, { begin, end, next: begin, sum: 0 });
    }
    this.#tensors = tensors;
    this.#metadata = metadata;
    this.#dataStart = this.#header().byteLength; // sums have a fixed length
    this.#file = new DurableFile(path);
  }

  /** Appends bytes to a tensor. */
  write(name: string, data: ArrayBufferView): void {
    const place = this.#places.get(name)!;
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.#file.write(bytes, this.#dataStart + place.next);
    place.next += bytes.byteLength;
    place.sum = crc32(bytes, place.sum);
  }

  /** Writes the header, waits for the disk and gives the file its name; every tensor must be complete. */
  finish(): void {
    for (const [name, { next, end }] of this.#places) {
      if (next !== end) throw new Error(`${this.#file.path}: ${name}: expected ${end} bytes written, got ${next}`);
    }
    this.#file.write(this.#header(), 0);
    this.#file.finish();
  }

  /** Gives up: nothing is left behind. */
  abort(): void {
    this.#file.abort();
  }

  #header(): Uint8Array {
    const sums = [...this.#places].map(([name, { sum }]) => [sumKey(name), showSum(sum)]);
    const entries = this.#tensors.map(({ name, dtype, shape }) => {
      const { begin, end } = this.#places.get(name)!;
      return [name, { dtype: dtype.toUpperCase(), shape, data_offsets: [begin, end] }];
    });
    const header = { __metadata__: { ...this.#metadata, ...Object.fromEntries(sums) }, ...Object.fromEntries(entries) };
    const text = Buffer.from(JSON.stringify(header));
    const length = Math.ceil(text.byteLength / ALIGNMENT) * ALIGNMENT;
    const bytes = Buffer.alloc(8 + length, ' ');
    bytes.writeBigUInt64LE(BigInt(length));
    text.copy(bytes, 8);
    return bytes;
  }
}

/** Items in order, cut into files of at most `shardBytes` bytes, or of one item where that is larger. */
export function cutShards<T>(items: readonly T[], bytesOf: (item: T) => number, shardBytes: number) {
  const groups: T[][] = [];
  let room = 0;
  for (const item of items) {
    const bytes = bytesOf(item);
    if (groups.length === 0 || bytes > room) {
      groups.push([]);
      room = shardBytes;
    }
    groups.at(-1)!.push(item);
    room -= bytes;
  }
  const number = (n: number) => String(n).padStart(5, '0');
  return groups.map((group, i) => {
    return { file: `model-${number(i + 1)}-of-${number(groups.length)}.safetensors`, items: group };
  });
}
