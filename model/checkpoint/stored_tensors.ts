import { isQuantized, quantizedShapes } from '../../kernels/index.ts';
import {
  type DType,
  type QuantFormat,
  type Shape,
  sameShape,
  showShape,
  tensorBytes,
  type WeightFormat,
} from '../../runtime/index.ts';
import { expectedTensors, isUnused, type ModelConfig, type StoredFormats } from './config.ts';
import { checkpointError } from './json.ts';
import type { TensorInfo, TensorSource } from './safetensors.ts';

/** A tensor that a checkpoint must hold; without a dtype any float will do. */
export interface StoredTensor {
  readonly name: string;
  readonly shape: Shape;
  readonly dtype?: DType;
}

/** The names of the two tensors that a quantised matrix is stored as. */
export function partNames(name: string, format: QuantFormat): { quants: string; scales: string } {
  return { quants: `${name}.${format}`, scales: `${name}.scales` };
}

/** Turns bytes of a tensor, whole words of it, in place into what this version stores. */
export function modernise({ name }: TensorInfo, bytes: Uint8Array, formats: StoredFormats | undefined): void {
  if (!formats?.plusEight || !name.endsWith('.q4')) return;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  for (let i = 0; i < words.length; i++) words[i]! ^= 0x88888888;
}

/** The format of a tensor of the official layout; undefined for those that are kept as they are. */
export function formatOf(name: string, formats: StoredFormats): WeightFormat | undefined {
  if (name === 'lm_head.weight') return formats.head;
  if (name === 'model.embed_tokens.weight') return formats.embedding;
  if (/^model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj\.weight$/.test(name)) return formats.decoder;
  const isVision = /^model\.(vision_tower|mm_projector)\./.test(name);
  const isMatrix = /(_proj|\.fc[12]|\.patch_embedding|mm_projector\.[02])\.weight$/.test(name);
  return isVision && isMatrix ? formats.vision : undefined;
}

/** What a tensor of the official layout is stored as: itself, or quants u32 and scales f16. */
export function storedAs(name: string, shape: Shape, formats: StoredFormats | undefined): StoredTensor[] {
  const format = formats && formatOf(name, formats);
  if (!isQuantized(format)) return [{ name, shape, dtype: format }];
  const [rows = 0, inner = 0] = shape;
  const shapes = quantizedShapes(rows, inner, { format, group: formats!.group });
  const names = partNames(name, format);
  return [
    { name: names.quants, shape: shapes.quants, dtype: 'u32' },
    { name: names.scales, shape: shapes.scales, dtype: 'f16' },
  ];
}

/** The tensors that inference reads, by their official names and shapes. */
export function usedTensors(config: ModelConfig): [name: string, shape: Shape][] {
  return [...expectedTensors(config)].filter(([name]) => !isUnused(name, config));
}

/** The tensors of the official layout as this configuration stores them. */
export function storedTensors(config: ModelConfig, tensors: Iterable<[string, Shape]>): StoredTensor[] {
  return [...tensors].flatMap(([name, shape]) => storedAs(name, shape, config.formats));
}

/** A tensor's place, once it is known to hold elements of that dtype, or any floats, of that shape; CheckpointError. */
export function checkTensor(info: TensorInfo, { shape, dtype }: Omit<StoredTensor, 'name'>): TensorInfo {
  const { dtype: stored } = info;
  const matches = dtype ? stored === dtype : stored === 'f32' || stored === 'f16' || stored === 'bf16';
  if (matches && sameShape(info.shape, shape)) return info;
  throw checkpointError(
    info.file,
    info.name,
    `${dtype ?? 'a float tensor'} ${showShape(shape)}`,
    `${stored} ${showShape(info.shape)}`,
    'is config.json of this model?',
  );
}

/**
 * Bytes of the tensors that inference reads, once all of them are there with their shapes: a CheckpointError names every
 * missing one, before anything is loaded.
 */
export function checkTensors(checkpoint: TensorSource, config: ModelConfig): number {
  const used = storedTensors(config, usedTensors(config));
  const missing = used.filter(({ name }) => !checkpoint.tensors.has(name) && !checkpoint.unsupported.has(name));
  if (missing.length > 1) {
    const names = missing.map(({ name }) => name);
    const listed = names.length > 8 ? [...names.slice(0, 8), `${names.length - 8} more`] : names;
    throw checkpointError(
      checkpoint.path,
      'tensors',
      `all of ${used.length}`,
      `no ${listed.join(', ')}`,
      'is a shard missing?',
    );
  }
  return used.reduce((sum, tensor) => sum + checkTensor(checkpoint.info(tensor.name), tensor).bytes, 0);
}

/** Bytes of the tensors that inference reads, once those are quantised that these formats say. */
export function bytesOf(source: TensorSource, config: ModelConfig, formats = config.formats): number {
  const parts = usedTensors(config).flatMap(([name, shape]) => storedAs(name, shape, formats));
  return parts.reduce((sum, { name, shape, dtype }) => {
    return sum + (source.tensors.get(name)?.bytes ?? tensorBytes({ shape, dtype: dtype! }));
  }, 0);
}
