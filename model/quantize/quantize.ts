import { isQuantized } from '../../kernels/index.ts';
import { BYTES, type HostTensor, hostArray, UsageError } from '../../runtime/index.ts';
import { DEFAULT_FORMATS, loadConfig, QUANTIZATION, type StoredFormats } from '../checkpoint/config.ts';
import { type ReadBytes, readRows } from '../checkpoint/matrix_layout.ts';
import { Checkpoint } from '../checkpoint/safetensors.ts';
import { SafetensorsWriter } from '../checkpoint/safetensors_writer.ts';
import { checkTensors, formatOf } from '../checkpoint/stored_tensors.ts';
import { identify, QuantizeFolder, type TensorReport } from './folder.ts';
import { type Conversion, partBytes, planShards, type Shard } from './plan.ts';
import { convertRows, type QuantizeWeights, quantizeOnHost } from './rows.ts';

/** How to quantise; every field is optional. */
export interface QuantizeOptions {
  formats?: Partial<StoredFormats>;
  /** Largest file of the output in bytes; 2 GiB unless told. */
  shardBytes?: number;
  /** Who quantises rows; the host unless told. */
  quantize?: QuantizeWeights;
  /** Told the bytes of the source done in this run, and to do. */
  progress?: (done: number, total: number) => void;
}

const SHARD_BYTES = 2 ** 31;
const BLOCK_BYTES = 64 * 2 ** 20;
const METADATA = { format: QUANTIZATION.key, version: `${QUANTIZATION.version}` };

/**
 * Writes the checkpoint in `model` to the folder `out` with its matrices quantised, by blocks of rows of at most 64 MiB.
 * A run that was killed is taken up by the next with the same arguments. Returns how each tensor came out. Throws
 * CheckpointError, and UsageError where `out` holds something else or cannot be written.
 */
export async function quantizeCheckpoint(
  model: string,
  out: string,
  options: QuantizeOptions = {},
): Promise<readonly TensorReport[]> {
  const config = loadConfig(model);
  if (config.formats)
    throw new UsageError(`quantize: ${model}: expected a checkpoint as published, got a quantised one`);
  const formats = { ...DEFAULT_FORMATS, ...options.formats };
  const { shardBytes = SHARD_BYTES, quantize = quantizeOnHost, progress } = options;
  const checkpoint = Checkpoint.open(model);
  try {
    checkTensors(checkpoint, config);
    const shards = planShards(checkpoint, config, formats, shardBytes);
    const folder = new QuantizeFolder(out, identify(checkpoint, formats, shardBytes));
    await new Run(checkpoint, folder, formats, quantize).writeAll(shards, progress);
    folder.finish(model, shards);
    return folder.reports;
  } finally {
    checkpoint.close();
  }
}

/** One run over the shards that an earlier one has not finished. */
class Run {
  #checkpoint: Checkpoint;
  #folder: QuantizeFolder;
  #formats: StoredFormats;
  #quantize: QuantizeWeights;
  #progress: (bytes: number) => void = () => {};

  constructor(checkpoint: Checkpoint, folder: QuantizeFolder, formats: StoredFormats, quantize: QuantizeWeights) {
    this.#checkpoint = checkpoint;
    this.#folder = folder;
    this.#formats = formats;
    this.#quantize = quantize;
  }

  async writeAll(shards: readonly Shard[], progress: QuantizeOptions['progress']): Promise<void> {
    const left = shards.filter((shard) => !this.#folder.isFinished(shard));
    const conversions = left.flatMap((shard) => shard.conversions);
    this.#folder.assertRoom(conversions.reduce((sum, conversion) => sum + partBytes(conversion), 0));
    const total = conversions.reduce((sum, { source }) => sum + source.bytes, 0);
    let done = 0;
    this.#progress = (bytes) => {
      done += bytes;
      progress?.(done, total);
    };
    for (const shard of left) await this.#write(shard);
  }

  async #write({ file, conversions }: Shard): Promise<void> {
    const parts = conversions.flatMap((conversion) => conversion.parts);
    const writer = new SafetensorsWriter(this.#folder.path(file), parts, METADATA);
    try {
      const reports: TensorReport[] = [];
      for (const conversion of conversions) reports.push(await this.#convert(conversion, writer));
      this.#folder.record(reports);
      writer.finish();
    } catch (error) {
      writer.abort();
      throw error;
    }
  }

  async #convert(conversion: Conversion, writer: SafetensorsWriter): Promise<TensorReport> {
    const { source, parts } = conversion;
    const format = formatOf(source.name, this.#formats);
    const how = isQuantized(format) ? { format, group: this.#formats.group } : undefined;
    let [squaredError, squaredNorm] = [0, 0];
    for (const weights of this.#blocks(conversion)) {
      const rows = await convertRows(weights, conversion, how, this.#quantize);
      parts.forEach(({ name }, i) => {
        writer.write(name, rows.data[i]!);
      });
      squaredError += rows.squaredError;
      squaredNorm += rows.squaredNorm;
      this.#progress(weights.data.byteLength);
    }
    const error = squaredError === 0 ? 0 : Math.sqrt(squaredError / squaredNorm);
    const bytes = { bytesBefore: source.bytes, bytesAfter: partBytes(conversion) };
    return { name: source.name, format: format ?? source.dtype, error, ...bytes };
  }

  /** The rows of a tensor in the order of the output; each block is used before the next is read. */
  *#blocks({ source, layout }: Conversion): Generator<HostTensor> {
    const { rows, cols } = layout;
    const { dtype } = source;
    const rowBytes = cols * BYTES[dtype];
    const blockRows = Math.min(rows, Math.max(1, Math.floor(BLOCK_BYTES / rowBytes)));
    const buffer = new ArrayBuffer(blockRows * rowBytes);
    const read: ReadBytes = (info, byteOffset, target) => this.#checkpoint.readInto(info, byteOffset, target);
    for (let row = 0; row < rows; row += blockRows) {
      const count = Math.min(blockRows, rows - row);
      readRows(layout, [source], read, row, new Uint8Array(buffer, 0, count * rowBytes), rowBytes);
      yield { dtype, shape: [count, cols], data: hostArray(dtype, count * cols, buffer) };
    }
  }
}
