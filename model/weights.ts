import {
  BYTES,
  CapabilityError,
  type Device,
  type Matrix,
  Owned,
  roundUp,
  type Shape,
  type Storage,
  sameShape,
  showShape,
  type Tensor,
  widen,
} from '../runtime/index.ts';
import { checkpointError } from './json.ts';
import type { Checkpoint, TensorInfo } from './safetensors.ts';

/** Kernels read weights 8 columns at a time, so rows are padded with zeros to a multiple of this. */
export const COLUMN_MULTIPLE = 8;

/** Blocks start at a multiple of this many rows, so that no tile of a kernel and no pair of rows is cut. */
const BLOCK_MULTIPLE = 64;

const CHUNK_BYTES = 4 * 2 ** 20;
const BYTES_IN_FLIGHT = 64 * 2 ** 20;

/** How the rows of a matrix come out of tensors of the checkpoint. */
export interface MatrixLayout {
  /** Names of tensors [n_i, cols] whose rows are counted through, one tensor after the other. */
  sources: readonly string[];
  /** Rows of each source. */
  sourceRows: readonly number[];
  cols: number;
  /** Rows of the result, the sources' rows in order unless `rowOf` is given. */
  rows: number;
  /** The source row of a row of the result, or undefined for a row of zeros. */
  rowOf?(row: number): number | undefined;
}

/** Hands out device tensors by their names in the checkpoint, streamed through a few MiB of host memory. */
export class WeightStore {
  readonly device: Device;
  /** Everything handed out so far. */
  readonly owned: Owned;
  #checkpoint: Checkpoint;
  #asked = new Set<string>();
  #progress: (bytes: number) => void;
  #inFlight = 0;

  /** `progress` is told the checkpoint bytes of every piece that was loaded. */
  constructor(device: Device, checkpoint: Checkpoint, progress: (bytes: number) => void = () => {}) {
    this.device = device;
    this.owned = new Owned(device);
    this.#checkpoint = checkpoint;
    this.#progress = progress;
  }

  /** A tensor of `shape` widened to f32, flat and padded with zeros to `length` elements. */
  async vector(name: string, shape: Shape, length = shape.reduce((a, b) => a * b, 1)): Promise<Tensor> {
    const info = this.#info(name, shape);
    const { dtype, data } = this.#checkpoint.read(name);
    const values = new Float32Array(length);
    values.set(widen(dtype, data));
    this.#progress(info.bytes);
    return this.#upload(values, name);
  }

  /** Several vectors of `length` elements behind each other, as f32. */
  async vectors(names: readonly string[], length: number): Promise<Tensor> {
    const values = new Float32Array(names.length * length);
    names.forEach((name, i) => {
      const info = this.#info(name, [length]);
      values.set(widen(info.dtype, this.#checkpoint.read(name).data), i * length);
      this.#progress(info.bytes);
    });
    return this.#upload(values, names.join('+'));
  }

  /** A matrix in the checkpoint's own dtype, columns padded to COLUMN_MULTIPLE, cut into blocks that can be bound. */
  async matrix(layout: MatrixLayout): Promise<Matrix> {
    const { rows, cols, sources } = layout;
    const infos = sources.map((name, i) => this.#info(name, [layout.sourceRows[i]!, cols]));
    const { dtype } = infos[0]!;
    for (const info of infos) {
      if (info.dtype !== dtype)
        throw checkpointError(
          info.file,
          info.name,
          `${dtype} as ${sources[0]}`,
          info.dtype,
          'convert both to one dtype',
        );
    }
    const padded = roundUp(cols, COLUMN_MULTIPLE);
    const name = sources.join('+');
    const fitting = Math.floor(this.device.maxBlockBytes / (padded * BYTES[dtype]));
    const blockRows = Math.floor(fitting / BLOCK_MULTIPLE) * BLOCK_MULTIPLE;
    if (blockRows === 0) {
      const expected = `expected ${BLOCK_MULTIPLE} rows of ${cols} columns to fit ${this.device.maxBlockBytes} bytes`;
      throw new CapabilityError(`weights: ${name}: ${expected}, got ${fitting} rows; use another adapter`);
    }
    const blocks: { tensor: Tensor; row: number }[] = [];
    for (let row = 0; row < rows; row += blockRows) {
      const count = Math.min(blockRows, rows - row);
      const tensor = this.owned.keep(this.device.tensor(`${name}[${row}]`, [count, padded], dtype));
      await this.#fill(tensor, row, layout, infos);
      blocks.push({ tensor, row });
    }
    return { name, rows, cols: padded, dtype, blocks };
  }

  /** Names of the checkpoint that nothing asked for. */
  unused(): string[] {
    return [...this.#checkpoint.tensors.keys()].filter((name) => !this.#asked.has(name));
  }

  #upload(values: Float32Array, name: string): Tensor {
    return this.owned.keep(this.device.upload({ shape: [values.length], dtype: 'f32', data: values }, name));
  }

  #info(name: string, shape: Shape): TensorInfo {
    const info = checkTensor(this.#checkpoint.info(name), shape);
    this.#asked.add(name);
    return info;
  }

  async #fill(
    tensor: Tensor & { storage: Storage },
    firstRow: number,
    layout: MatrixLayout,
    infos: TensorInfo[],
  ): Promise<void> {
    const [count = 0, padded = 0] = tensor.shape;
    const rowBytes = padded * BYTES[tensor.dtype];
    const chunkRows = Math.max(1, Math.floor(CHUNK_BYTES / rowBytes));
    const staging = new Uint8Array(Math.min(chunkRows, count) * rowBytes);
    for (let row = 0; row < count; row += chunkRows) {
      const part = staging.subarray(0, Math.min(chunkRows, count - row) * rowBytes).fill(0);
      this.#progress(this.#readRows(part, rowBytes, firstRow + row, layout, infos));
      this.device.write(tensor.storage, part, row * rowBytes);
      this.#inFlight += part.byteLength;
      if (this.#inFlight < BYTES_IN_FLIGHT) continue;
      await this.device.idle();
      this.#inFlight = 0;
    }
  }

  /** Reads the rows of the result from `firstRow` on into `target`; returns the bytes read. */
  #readRows(target: Uint8Array, rowBytes: number, firstRow: number, layout: MatrixLayout, infos: TensorInfo[]): number {
    const { cols, sourceRows, rowOf = (row: number) => row } = layout;
    const sourceBytes = cols * BYTES[infos[0]!.dtype];
    const place = (row: number) => {
      let rest = rowOf(row);
      if (rest === undefined) return undefined;
      let source = 0;
      while (rest >= sourceRows[source]!) rest -= sourceRows[source++]!;
      return { source, row: rest };
    };
    let total = 0;
    const count = target.byteLength / rowBytes;
    for (let i = 0; i < count; ) {
      const from = place(firstRow + i);
      let run = 1;
      if (from && sourceBytes === rowBytes) {
        const follows = (next: ReturnType<typeof place>) => next?.source === from.source && next.row === from.row + run;
        while (i + run < count && follows(place(firstRow + i + run))) run++;
      }
      if (from) {
        const bytes = run * sourceBytes;
        const slice = target.subarray(i * rowBytes, i * rowBytes + bytes);
        this.#checkpoint.readInto(infos[from.source]!, from.row * sourceBytes, slice);
        total += bytes;
      }
      i += run;
    }
    return total;
  }
}

/** A tensor's place, once it is known to hold floats of that shape; throws CheckpointError. */
export function checkTensor(info: TensorInfo, shape: Shape): TensorInfo {
  const isFloat = info.dtype === 'f32' || info.dtype === 'f16' || info.dtype === 'bf16';
  if (isFloat && sameShape(info.shape, shape)) return info;
  const got = `${info.dtype} ${showShape(info.shape)}`;
  throw checkpointError(
    info.file,
    info.name,
    `a float tensor ${showShape(shape)}`,
    got,
    'is config.json of this model?',
  );
}

/** One tensor [rows, cols] as it stands. */
export function plain(name: string, rows: number, cols: number): MatrixLayout {
  return { sources: [name], sourceRows: [rows], rows, cols };
}

/** One tensor [rows, cols] followed by rows of zeros, so that the rows come to a multiple of COLUMN_MULTIPLE. */
export function rowPadded(name: string, rows: number, cols: number): MatrixLayout {
  const rowOf = (row: number) => (row < rows ? row : undefined);
  return { ...plain(name, rows, cols), rows: roundUp(rows, COLUMN_MULTIPLE), rowOf };
}

/** Tensors [rows, cols] each, one below the other. */
export function stacked(names: readonly string[], rows: number, cols: number): MatrixLayout {
  return { sources: names, sourceRows: names.map(() => rows), rows: names.length * rows, cols };
}

/**
 * One tensor [2 half, cols] whose halves' rows alternate: row 2i is row i, row 2i + 1 is row half + i, with rows of
 * zeros behind so that each half comes to a multiple of COLUMN_MULTIPLE.
 */
export function interleaved(name: string, half: number, cols: number): MatrixLayout {
  const rowOf = (row: number) => (row >> 1 < half ? (row >> 1) + (row & 1) * half : undefined);
  return { ...plain(name, 2 * half, cols), rows: 2 * roundUp(half, COLUMN_MULTIPLE), rowOf };
}
