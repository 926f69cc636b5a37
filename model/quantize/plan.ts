import { type DType, type Shape, tensorBytes } from '../../runtime/index.ts';
import type { ModelConfig, StoredFormats } from '../checkpoint/config.ts';
import { interleaved, type MatrixLayout, plain } from '../checkpoint/matrix_layout.ts';
import type { Checkpoint, TensorInfo } from '../checkpoint/safetensors.ts';
import { cutShards } from '../checkpoint/safetensors_writer.ts';
import { storedAs, usedTensors } from '../checkpoint/stored_tensors.ts';

/** A tensor of the output. */
export interface Part {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
}

/** What becomes of one tensor of the source. */
export interface Conversion {
  readonly source: TensorInfo;
  /** Its rows in the order of the output. */
  readonly layout: MatrixLayout;
  /** Itself in another dtype, or quants and scales. */
  readonly parts: readonly Part[];
}

/** One file of the output. */
export interface Shard {
  readonly file: string;
  readonly conversions: readonly Conversion[];
}

/** The output's files of at most `shardBytes` bytes, or of one tensor of the source where that is larger. */
export function planShards(
  checkpoint: Checkpoint,
  config: ModelConfig,
  formats: StoredFormats,
  shardBytes: number,
): Shard[] {
  const conversions = usedTensors(config).map(([name, shape]) => {
    return planConversion(checkpoint.info(name), shape, config, formats);
  });
  return cutShards(conversions, partBytes, shardBytes).map(({ file, items }) => ({ file, conversions: items }));
}

/** Bytes of a tensor in the output. */
export function partBytes({ parts }: Conversion): number {
  return parts.reduce((sum, part) => sum + tensorBytes(part), 0);
}

/** Rows are those of a matrix; a vector, or a tensor of another rank, is one row. */
function planConversion(source: TensorInfo, shape: Shape, config: ModelConfig, formats: StoredFormats): Conversion {
  const parts = storedAs(source.name, shape, formats).map(({ name, shape, dtype = source.dtype }) => ({
    name,
    shape,
    dtype,
  }));
  const [rows, cols] = shape.length === 2 ? [shape[0]!, shape[1]!] : [1, source.shape.reduce((a, b) => a * b, 1)];
  const { ffn, hidden } = config.decoder;
  const isPaired = source.name.endsWith('.mlp.gate_up_proj.weight');
  const layout = isPaired ? interleaved(source.name, ffn, hidden) : plain(source.name, rows, cols);
  return { source, layout: { ...layout, rows }, parts };
}
