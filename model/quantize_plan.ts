import { type DType, type Shape, tensorBytes } from '../runtime/index.ts';
import type { ModelConfig, StoredFormats } from './config.ts';
import { interleaved, type MatrixLayout, plain } from './matrix_layout.ts';
import type { Checkpoint, TensorInfo } from './safetensors.ts';
import { storedAs, usedTensors } from './stored_tensors.ts';

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
