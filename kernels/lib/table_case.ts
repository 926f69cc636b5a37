import { type HostTensor, type Matrix, type Tensor, widen } from '../../runtime/index.ts';
import type { Random } from '../spec.ts';
import { dequantizeWeightsHost, quantizedShapes } from './quantized.ts';

/** A table of embeddings, as specs name it. */
export type TableCase = {
  cols: number;
  /** Its rows, and into how many blocks they are cut. */
  vocab: number;
  blocks: number;
  dtype: 'f32' | 'bf16' | 'f16' | 'q4' | 'q8';
  /** Columns that share a scale, of q4 and q8. */
  group: number;
};

/** The blocks of a table as inputs of their own: elements, or random quants and scales. */
export function tableInputs(c: TableCase, random: Random): Record<string, HostTensor> {
  const { cols, dtype, group } = c;
  const inputs: Record<string, HostTensor> = {};
  for (const [i, [start, end]] of ranges(c).entries()) {
    const rows = end - start;
    if (dtype === 'q4' || dtype === 'q8') {
      const shapes = quantizedShapes(rows, cols, { format: dtype, group });
      inputs[`block${i}`] = random.integers(shapes.quants, 2 ** 32);
      inputs[`scales${i}`] = random.tensor(shapes.scales, 'f16', 0.01);
    } else inputs[`block${i}`] = random.tensor([rows, cols], dtype);
  }
  return inputs;
}

/** The table of these inputs on the device. */
export function tableOf(tensors: Record<string, Tensor>, c: TableCase): Matrix {
  const { vocab, cols, dtype, group } = c;
  const blocks = ranges(c).map(([row], i) => ({ tensor: tensors[`block${i}`]!, scales: tensors[`scales${i}`], row }));
  return { name: 'table', rows: vocab, cols, dtype, group, blocks } as Matrix;
}

/** All its elements, row after row. */
export function tableValues(inputs: Record<string, HostTensor>, c: TableCase): number[] {
  const { cols, dtype, group } = c;
  return ranges(c).flatMap(([start, end], i) => {
    const { dtype: stored, data } = inputs[`block${i}`]!;
    if (dtype !== 'q4' && dtype !== 'q8') return [...widen(stored, data)];
    const quantized = { quants: data as Uint32Array, scales: inputs[`scales${i}`]!.data as Uint16Array };
    return [...dequantizeWeightsHost(quantized, end - start, cols, { format: dtype, group })];
  });
}

function ranges({ vocab, blocks }: TableCase): [number, number][] {
  const at = (i: number) => Math.floor((vocab * i) / blocks);
  return Array.from({ length: blocks }, (_, i) => [at(i), at(i + 1)]);
}
