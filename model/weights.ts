import { isQuantized, type Quantization, quantizedShapes } from '../kernels/index.ts';
import {
  BYTES,
  CapabilityError,
  type Device,
  type DType,
  elements,
  fitsF16,
  type HostTensor,
  hostArray,
  type Matrix,
  type MatrixBlock,
  Owned,
  roundUp,
  type Shape,
  type Storage,
  type Tensor,
  widen,
} from '../runtime/index.ts';
import { Checksums } from './checkpoint/checksums.ts';
import type { StoredFormats } from './checkpoint/config.ts';
import { checkpointError } from './checkpoint/json.ts';
import { COLUMN_MULTIPLE, type MatrixLayout, type ReadBytes, readRows, sourceOf } from './checkpoint/matrix_layout.ts';
import type { TensorInfo, TensorSource } from './checkpoint/safetensors.ts';
import { checkTensor, formatOf, modernise, partNames } from './checkpoint/stored_tensors.ts';
import { quantizeInto } from './quantize/on_device.ts';
import { checkRange, LARGEST_F16 } from './quantize/rows.ts';

/** Blocks start at a multiple of this many rows, so that no tile of a kernel and no pair of rows is cut. */
const BLOCK_MULTIPLE = 64;

/** Chunks of rows that are quantised start at a multiple of this many in a block: at offsets that can be bound. */
const CHUNK_MULTIPLE = 128;

const CHUNK_BYTES = 4 * 2 ** 20;
const QUANTIZED_CHUNK_BYTES = 16 * 2 ** 20;
const BYTES_IN_FLIGHT = 64 * 2 ** 20;

/** How to read a checkpoint; every field is optional. */
export interface StoreOptions {
  /** How it stores its matrices, where it is a quantised one. */
  formats?: StoredFormats;
  /** The formats to quantise matrices to while they are read; those of no quantised format stay as they are. */
  quantize?: StoredFormats;
  /** Whether to compare every tensor with its checksum. */
  verify?: boolean;
  /** Told the checkpoint bytes of every piece that was loaded. */
  progress?(bytes: number): void;
}

/** Tensors of a checkpoint that make up one array of rows on the device, `rowBytes` apart. */
interface Rows {
  name: string;
  layout: MatrixLayout;
  infos: readonly TensorInfo[];
  dtype: DType;
  /** Columns on the device, those of the layout or more. */
  cols: number;
}

/** The least number that both divide. */
function commonMultiple(a: number, b = 1): number {
  let multiple = a;
  while (multiple % b > 0) multiple += a;
  return multiple;
}

/** The memory of a tensor's rows from `row` on. */
function rowsOf({ shape, dtype, storage }: Tensor & { storage: Storage }, row: number): Storage {
  const skipped = row * shape[1]! * BYTES[dtype];
  return { buffer: storage.buffer, offset: storage.offset + skipped, bytes: storage.bytes - skipped };
}

/** Hands out device tensors by their names in the checkpoint, streamed through a few MiB of host memory. */
export class WeightStore {
  readonly device: Device;
  /** Everything handed out so far. */
  readonly owned: Owned;
  #checkpoint: TensorSource;
  #asked = new Set<string>();
  /** By the name of a norm's weight: the largest magnitude that it can give an element. */
  #normReach = new Map<string, number>();
  #formats: StoredFormats | undefined;
  #quantize: StoredFormats | undefined;
  #sums: Checksums | undefined;
  #progress: (bytes: number) => void;
  #inFlight = 0;

  constructor(device: Device, checkpoint: TensorSource, options: StoreOptions = {}) {
    const { formats, quantize, verify = false, progress = () => {} } = options;
    this.device = device;
    this.owned = new Owned(device);
    this.#checkpoint = checkpoint;
    this.#formats = formats;
    this.#quantize = quantize;
    this.#sums = verify ? new Checksums() : undefined;
    this.#progress = progress;
  }

  /** A tensor of `shape` widened to f32, flat and padded with zeros to `length` elements. */
  async vector(name: string, shape: Shape, length = shape.reduce((a, b) => a * b, 1)): Promise<Tensor> {
    const values = new Float32Array(length);
    values.set(this.#values(name, shape));
    return this.#upload(values, name);
  }

  /** The weight of a norm over `cols` columns; a normed column reaches sqrt(cols) where all others are 0. */
  async norm(name: string, cols: number): Promise<Tensor> {
    const values = this.#values(name, [cols]);
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    this.#normReach.set(name, largest * Math.sqrt(cols));
    return this.#upload(values, name);
  }

  /** Several vectors of `length` elements behind each other, as f32. */
  async vectors(names: readonly string[], length: number): Promise<Tensor> {
    const values = new Float32Array(names.length * length);
    names.forEach((name, i) => {
      values.set(this.#values(name, [length]), i * length);
    });
    return this.#upload(values, names.join('+'));
  }

  /**
   * A matrix as the checkpoint stores it or as it is to be quantised, columns padded to COLUMN_MULTIPLE, cut into blocks
   * that can be bound.
   */
  async matrix(layout: MatrixLayout): Promise<Matrix> {
    const name = layout.sources[0]!;
    const stored = this.#formats && formatOf(name, this.#formats);
    if (isQuantized(stored)) return this.#storedMatrix(layout, { format: stored, group: this.#formats!.group });
    const cols = roundUp(layout.cols, COLUMN_MULTIPLE);
    const rows = this.#rows(layout, cols);
    const wanted = this.#quantize && formatOf(name, this.#quantize);
    if (isQuantized(wanted)) return this.#quantizedMatrix(rows, { format: wanted, group: this.#quantize!.group });
    const blocks: MatrixBlock[] = [];
    const narrowed = rows.dtype === 'bf16' && this.device.matrices?.length !== 0; // only matrix units narrow weights
    let fits = narrowed;
    const look = ({ data }: HostTensor) => {
      fits &&= fitsF16(data as Uint16Array);
    };
    for (const { row, count } of this.#cut(rows))
      blocks.push({ row, tensor: await this.#load(rows, row, count, narrowed ? look : undefined) });
    return { name: rows.name, rows: layout.rows, cols, dtype: rows.dtype, fitsF16: fits, blocks };
  }

  /** Names of the checkpoint that nothing asked for. */
  unused(): string[] {
    return [...this.#checkpoint.tensors.keys()].filter((name) => !this.#asked.has(name));
  }

  /** A sentence on the norms whose rows can pass f16, where there are any. */
  overflowNotes(): string[] {
    const beyond = [...this.#normReach].filter(([, reach]) => reach > LARGEST_F16).sort(([, a], [, b]) => b - a);
    const [worst, ...others] = beyond;
    if (!worst) return [];
    const reach = `normed rows can reach ${worst[1].toPrecision(3)}, beyond the ${LARGEST_F16} of f16`;
    return [`${worst[0]}: ${reach}${others.length ? ` (so can ${others.length} more)` : ''}; f32 holds them`];
  }

  /** A matrix that is stored quantised; its rows are in the order of the result, but within units, and its rows of zeros are missing. */
  async #storedMatrix(layout: MatrixLayout, how: Quantization): Promise<Matrix> {
    const { sources, sourceRows, rows, unit } = layout;
    const stored = sourceRows.reduce((a, b) => a + b, 0);
    const rowOf = unit ? layout.rowOf : (row: number) => (row < stored ? row : undefined);
    const shapes = quantizedShapes(rows, layout.cols, how);
    const part = (key: 'quants' | 'scales', dtype: DType) => {
      const cols = shapes[key][1]!;
      const names = sources.map((name) => partNames(name, how.format)[key]);
      return this.#rows({ sources: names, sourceRows, cols, rows, rowOf, unit }, cols, dtype);
    };
    const [quants, scales] = [part('quants', 'u32'), part('scales', 'f16')];
    const blocks: MatrixBlock[] = [];
    for (const { row, count } of this.#cut(quants)) {
      const tensor = await this.#load(quants, row, count);
      blocks.push({ row, tensor, scales: await this.#load(scales, row, count) });
    }
    const cols = roundUp(layout.cols, COLUMN_MULTIPLE);
    return { name: sources.join('+'), rows, cols, dtype: how.format, group: how.group, blocks };
  }

  /** A matrix that is quantised on the device, chunk by chunk; CheckpointError where a weight cannot be. */
  async #quantizedMatrix(weights: Rows, how: Quantization): Promise<Matrix> {
    const { name, layout, infos, dtype, cols } = weights;
    const words = quantizedShapes(layout.rows, cols, how).quants[1]!;
    const blocks: MatrixBlock[] = [];
    for (const { row, count } of this.#cut({ ...weights, cols: words, dtype: 'u32' })) {
      const shapes = quantizedShapes(count, cols, how);
      const tensor = this.owned.keep(this.device.tensor(`${name}.${how.format}[${row}]`, shapes.quants, 'u32'));
      const scales = this.owned.keep(this.device.tensor(`${name}.scales[${row}]`, shapes.scales, 'f16'));
      for await (const { row: at, rows } of this.#chunks(weights, row, count, QUANTIZED_CHUNK_BYTES)) {
        const target = { quants: rowsOf(tensor, at - row), scales: rowsOf(scales, at - row) };
        const wrong = await quantizeInto(this.device, rows, how, target);
        if (wrong === undefined) continue;
        const values = widen(dtype, rows.data.subarray(wrong * cols, (wrong + 1) * cols));
        checkRange(values, infos[sourceOf(layout, at + wrong)!.source]!, how.format);
      }
      blocks.push({ row, tensor, scales });
    }
    return { name, rows: layout.rows, cols, dtype: how.format, group: how.group, blocks };
  }

  #values(name: string, shape: Shape): Float32Array {
    const info = this.#info(name, shape);
    const { dtype, data } = this.#checkpoint.read(name);
    this.#sums?.add(info, 0, new Uint8Array(data.buffer));
    this.#progress(info.bytes);
    return widen(dtype, data);
  }

  #upload(values: Float32Array, name: string): Tensor {
    return this.owned.keep(this.device.upload({ shape: [values.length], dtype: 'f32', data: values }, name));
  }

  #info(name: string, shape: Shape, dtype?: DType): TensorInfo {
    const info = checkTensor(this.#checkpoint.info(name), { shape, dtype });
    this.#asked.add(name);
    return info;
  }

  /** The tensors of a layout, once they are known to have its shapes and one dtype: the one given or any float. */
  #rows(layout: MatrixLayout, cols: number, dtype?: DType): Rows {
    const { sources, sourceRows } = layout;
    const infos = sources.map((name, i) => this.#info(name, [sourceRows[i]!, layout.cols], dtype));
    const first = infos[0]!;
    const other = infos.find((info) => info.dtype !== first.dtype);
    if (!other) return { name: sources.join('+'), layout, infos, dtype: first.dtype, cols };
    const expected = `${first.dtype} as ${first.name}`;
    throw checkpointError(other.file, other.name, expected, other.dtype, 'convert both to one dtype');
  }

  /** Blocks of rows that can be bound. */
  *#cut({ name, layout, cols, dtype }: Rows): Generator<{ row: number; count: number }> {
    const { maxBlockBytes } = this.device;
    const fitting = Math.floor(maxBlockBytes / (cols * BYTES[dtype]));
    const multiple = commonMultiple(BLOCK_MULTIPLE, layout.unit);
    const blockRows = Math.floor(fitting / multiple) * multiple;
    if (blockRows === 0) {
      const expected = `expected ${multiple} rows of ${cols} columns to fit ${maxBlockBytes} bytes`;
      throw new CapabilityError(`weights: ${name}: ${expected}, got ${fitting} rows; use another adapter`);
    }
    for (let row = 0; row < layout.rows; row += blockRows) yield { row, count: Math.min(blockRows, layout.rows - row) };
  }

  /** A device tensor of `count` rows from `firstRow` on, each chunk of which `look` sees. */
  async #load(
    rows: Rows,
    firstRow: number,
    count: number,
    look?: (chunk: HostTensor) => void,
  ): Promise<Tensor & { storage: Storage }> {
    const { name, cols, dtype } = rows;
    const tensor = this.owned.keep(this.device.tensor(`${name}[${firstRow}]`, [count, cols], dtype));
    for await (const { row, rows: chunk } of this.#chunks(rows, firstRow, count, CHUNK_BYTES)) {
      look?.(chunk);
      this.device.write(tensor.storage, chunk.data, (row - firstRow) * cols * BYTES[dtype]);
    }
    return tensor;
  }

  /** The rows from `firstRow` on as the device has them, in chunks each of which is used before the next. */
  async *#chunks({ layout, infos, cols, dtype }: Rows, firstRow: number, count: number, chunkBytes: number) {
    const read: ReadBytes = (info, byteOffset, target) => {
      this.#checkpoint.readInto(info, byteOffset, target);
      this.#sums?.add(info, byteOffset, target);
      modernise(info, target, this.#formats);
    };
    if (this.device.dryRun) return;
    const rowBytes = cols * BYTES[dtype];
    const chunkRows = roundUp(
      Math.max(1, Math.floor(chunkBytes / rowBytes)),
      commonMultiple(CHUNK_MULTIPLE, layout.unit),
    );
    const staging = new ArrayBuffer(Math.min(chunkRows, count) * rowBytes);
    for (let row = 0; row < count; row += chunkRows) {
      const shape = [Math.min(chunkRows, count - row), cols];
      const bytes = new Uint8Array(staging, 0, shape[0]! * rowBytes).fill(0);
      this.#progress(readRows(layout, infos, read, firstRow + row, bytes, rowBytes));
      yield { row: firstRow + row, rows: { shape, dtype, data: hostArray(dtype, elements(shape), staging) } };
      this.#inFlight += bytes.byteLength;
      if (this.#inFlight < BYTES_IN_FLIGHT) continue;
      await this.device.idle();
      this.#inFlight = 0;
    }
  }
}
