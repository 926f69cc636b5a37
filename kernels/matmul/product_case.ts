import { type HostTensor, type Matrix, narrow, type Tensor, type Variant, widen } from '../../runtime/index.ts';
import { dequantizeWeightsHost, int8PlaceOf, type Quantization, quantizedShapes } from '../lib/quantized.ts';
import { blocksOf, normedRows, streamRows } from '../quantize_rows/quantize_rows.spec.ts';
import { type Random, roundoff } from '../spec.ts';
import { applies, type Rows } from './product.ts';

/** A product x w^T, as the specs of ops that multiply name it. */
export type ProductCase = {
  rows: number;
  inner: number;
  outs: number;
  /** Format of w; 'half' is f16, under another name because it needs no shader-f16. */
  weights: 'f32' | 'bf16' | 'half' | 'q4' | 'q8';
  /** Columns that share a scale, of q4 and q8. */
  group: number;
  /** dtype of x; i8 stands for quantised rows. */
  from: 'f32' | 'f16' | 'i8';
  /** Rows of w in its first block; 0 for one block. */
  split: number;
  /** Whether an RMSNorm comes before. */
  norm: boolean;
};

const EPS = 1e-5;

/** x and w: as tensors x and xScales or norm, and w, wScales, rest and restScales for its blocks. */
export function productInputs(c: ProductCase, random: Random): Record<string, HostTensor> {
  const { outs, split } = c;
  return {
    ...(c.norm ? streamRows(c.rows, c.inner, random) : activations(c, random)),
    ...weightBlock('w', split || outs, c, random),
    ...(split && weightBlock('rest', outs - split, c, random)),
  };
}

/** x and w of productInputs as an op takes them. */
export function operands(tensors: Record<string, Tensor>, c: ProductCase): { x: Rows; w: Matrix } {
  const { x, xScales, norm, w, wScales, rest, restScales } = tensors;
  const { weights, group, inner, outs, from } = c;
  const blocks = [{ tensor: w!, scales: wScales, row: 0 }];
  if (rest) blocks.push({ tensor: rest, scales: restScales, row: w!.shape[0]! });
  const normed = norm && { x: x!, norm, eps: EPS, as: from === 'f16' ? from : ('f32' as const), int8: from === 'i8' };
  return {
    x: normed ?? (xScales ? { quants: x!, scales: xScales, cols: inner } : x!),
    w: { name: 'w', rows: outs, cols: inner, dtype: formatOf(weights), group, fitsF16: true, blocks },
  };
}

/** Whether a variant can multiply the operands of a case, and with `int8` quantise the result. */
export function appliesTo(variant: Variant, c: Omit<ProductCase, 'outs'>, int8 = false): boolean {
  const { rows, inner, from, norm, weights } = c;
  return applies(
    variant,
    { rows, inner, dtype: from, normed: norm },
    { dtype: formatOf(weights), fitsF16: true },
    int8,
  );
}

/** The error that normed rows in f16 add to a product, which the variants that norm x themselves do not have. */
export function normRoundoff({ norm, from }: Omit<ProductCase, 'outs'>, variant = ''): number {
  return norm && from === 'f16' && !variant.endsWith('_normed') ? 4 * roundoff('f16') : 0;
}

/** The format of w. */
const formatOf = (weights: ProductCase['weights']) => (weights === 'half' ? 'f16' : weights);

/** x w^T [rows, outs] in float64, of the inputs as they are or of w as f16, which rounds quant * scale. */
export function productOf(inputs: Record<string, HostTensor>, c: ProductCase, wAsF16: boolean): Float64Array {
  const { rows, inner, outs } = c;
  const x = inputValues(inputs, c);
  const w = ['w', 'rest'].flatMap((name) => [...rowsOf(weightValues(inputs, name, c), inner)]);
  if (wAsF16) for (const row of w) row.set(widen('f16', narrow('f16', row)));
  const sums = new Float64Array(rows * outs);
  for (let r = 0; r < rows; r++) {
    for (let n = 0; n < outs; n++) {
      let sum = 0;
      const row = w[n]!;
      for (let k = 0; k < inner; k++) sum += x[r * inner + k]! * row[k]!;
      sums[r * outs + n] = sum;
    }
  }
  return sums;
}

/** What the inputs of x stand for. */
function inputValues({ x, xScales, norm }: Record<string, HostTensor>, c: ProductCase): ArrayLike<number> {
  if (xScales) return int8Values(x!, xScales, c.inner);
  const values = widen(x!.dtype, x!.data);
  return norm ? normedValues(values, norm.data, c) : values;
}

/** RMSNorm of rows, and what their quants stand for where they are quantised. */
function normedValues(x: Float32Array, norm: ArrayLike<number>, { rows, inner, from }: ProductCase): Float64Array {
  const normed = normedRows(x, norm, inner, EPS);
  if (from !== 'i8') return normed;
  const blocks = Array.from({ length: rows }, (_, r) => blocksOf(normed, r * inner, inner));
  return normed.map((_, i) => {
    const { quants, scale } = blocks[Math.floor(i / inner)]![Math.floor((i % inner) / 32)]!;
    return quants[(i % inner) % 32]! * scale;
  });
}

/** x, or the quants and scales of its blocks as quantizeRows lays them out. */
function activations({ rows, inner, from }: ProductCase, random: Random): Record<string, HostTensor> {
  if (from !== 'i8') return { x: random.tensor([rows, inner], from) };
  const blocks = Math.ceil(inner / 32);
  const quants = new Int8Array(rows * blocks * 32);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < inner; column++) quants[int8PlaceOf(row, column, blocks)] = random.below(255) - 127;
  }
  const scales = Float32Array.from({ length: rows * blocks }, () => (0.5 + random.uniform()) / 74);
  return {
    x: { shape: [rows, 8 * blocks], dtype: 'u32', data: new Uint32Array(quants.buffer) },
    xScales: { shape: [rows, blocks], dtype: 'f32', data: scales },
  };
}

function int8Values(x: HostTensor, scales: HostTensor, inner: number): Float32Array {
  const [rows = 0, blocks = 0] = scales.shape;
  const quants = new Int8Array(x.data.buffer);
  return Float32Array.from({ length: rows * inner }, (_, i) => {
    const [row, column] = [Math.floor(i / inner), i % inner];
    return quants[int8PlaceOf(row, column, blocks)]! * scales.data[row * blocks + Math.floor(column / 32)]!;
  });
}

/** Rows of w: elements, or random quants, behind the last column too, and scales that make w as large. */
function weightBlock(name: string, rows: number, { inner, weights, group }: ProductCase, random: Random) {
  const size = inner ** -0.5;
  if (weights !== 'q4' && weights !== 'q8') {
    return { [name]: random.tensor([rows, inner], weights === 'half' ? 'f16' : weights, size) };
  }
  const shapes = quantizedShapes(rows, inner, { format: weights, group });
  return {
    [name]: random.integers(shapes.quants, 2 ** 32),
    [`${name}Scales`]: random.tensor(shapes.scales, 'f16', size / (weights === 'q4' ? 4.6 : 74)),
  };
}

function weightValues(inputs: Record<string, HostTensor>, name: string, c: ProductCase): Float32Array {
  const { [name]: w, [`${name}Scales`]: scales } = inputs;
  if (!w) return new Float32Array(0);
  if (!scales) return widen(w.dtype, w.data);
  const quantized = { quants: w.data as Uint32Array, scales: scales.data as Uint16Array };
  return dequantizeWeightsHost(quantized, w.shape[0]!, c.inner, { format: c.weights, group: c.group } as Quantization);
}

function* rowsOf(values: Float32Array, cols: number): Generator<Float32Array> {
  for (let at = 0; at < values.length; at += cols) yield values.subarray(at, at + cols);
}
