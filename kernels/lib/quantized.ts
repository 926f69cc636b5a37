import {
  ceilDiv,
  DaybreakError,
  expect,
  f16ToF32,
  f32ToF16,
  type Matrix,
  type QuantFormat,
  type Shape,
  sameShape,
  showShape,
  showTensor,
  type Tensor,
  type WeightFormat,
} from '../../runtime/index.ts';

/** How a weight is quantised: its format, and how many columns share a scale (32, 64 or 128). */
export interface Quantization {
  format: QuantFormat;
  group: number;
}

/** Rows of quants and of f16 scales, laid out as kernels/README.md says under 'Quantised weights'. */
export interface QuantizedWeights {
  quants: Uint32Array;
  scales: Uint16Array;
}

/**
 * Rows of activations [rows, cols] on the device as 8-bit integers, blocks of 32 columns that share a scale: quants u32
 * [rows, 8 blocks], four to a word and zero behind the last column, the first 16 columns of all blocks of a row before the
 * last 16; scales f32 [rows, blocks].
 */
export interface Int8Rows {
  quants: Tensor;
  scales: Tensor;
  cols: number;
}

/** The formats of weights that kernels read, as their constant FORMAT says them. */
export const FORMAT_CODES: Partial<Record<WeightFormat, number>> = { f32: 0, bf16: 1, f16: 2, q4: 3, q8: 4 };

/** Whether a format is one of quants and scales. */
export function isQuantized(format: WeightFormat | undefined): format is QuantFormat {
  return format === 'q4' || format === 'q8';
}

/** Columns of a block, to whose multiple rows of quants are padded. */
export const BLOCK_COLS = 32;

/** No weight may be larger: what f16 holds. */
const LARGEST = 65504;

interface Format {
  bits: number;
  low: number;
  high: number;
  /** Candidates for the scale: these times the group's extreme weight. */
  multipliers: readonly number[];
}

const multiples = (step: number, counts: readonly number[]) => counts.map((n) => Math.fround(n * Math.fround(step)));
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

/** The extreme weight becomes -8 quanta or, in the last third, 8, clipped to 7; the quantum is 0.675 to 1.15 of an eighth. */
const QUANT_FORMATS: Record<QuantFormat, Format> = {
  q4: {
    bits: 4,
    low: -8,
    high: 7,
    multipliers: multiples(1 / 320, [...range(-42, -26), ...range(16, 24).map((n) => 2 * n)]),
  },
  q8: { bits: 8, low: -127, high: 127, multipliers: multiples(1 / 256 / 127, range(249, 257)) },
};

/** How many candidates the scale search tries. */
export function scaleCandidates(format: QuantFormat): number {
  return QUANT_FORMATS[format].multipliers.length;
}

/** The shapes of quants (u32) and scales (f16) of a weight [rows, inner]; throws ShapeError. */
export function quantizedShapes(rows: number, inner: number, how: Quantization): { quants: Shape; scales: Shape } {
  const { format, group } = how;
  expect([32, 64, 128].includes(group), 'quantize', 'group', '32, 64 or 128', group);
  return {
    quants: [rows, QUANT_FORMATS[format].bits * ceilDiv(inner, BLOCK_COLS)],
    scales: [rows, ceilDiv(inner, group)],
  };
}

/** Throws ShapeError unless the blocks of a matrix are as its format and group say; others than q4 and q8 are not looked at. */
export function checkQuantized({ name, cols, dtype, group = 0, blocks }: Matrix): void {
  if (!isQuantized(dtype)) return;
  for (const { tensor, scales } of blocks) {
    const shapes = quantizedShapes(tensor.shape[0]!, cols, { format: dtype, group });
    const got = `${showTensor(tensor)} and ${scales ? showTensor(scales) : 'none'}`;
    const fits = tensor.dtype === 'u32' && scales?.dtype === 'f16';
    expect(
      fits && sameShape(tensor.shape, shapes.quants) && sameShape(scales.shape, shapes.scales),
      'quantised weight',
      name,
      `u32 ${showShape(shapes.quants)} and f16 ${showShape(shapes.scales)}`,
      got,
    );
  }
}

/**
 * Quantises f32 values [rows, inner]: of each group's candidate scales, f16, the first with the least sum of squared
 * errors, and w = quant * scale. Every step rounds as f32 does, so that kernels give the same bits. Throws DaybreakError
 * where a value is not finite or beyond f16.
 */
export function quantizeWeightsHost(
  values: Float32Array,
  rows: number,
  inner: number,
  how: Quantization,
): QuantizedWeights {
  const { low, high, multipliers, bits } = QUANT_FORMATS[how.format];
  const shapes = quantizedShapes(rows, inner, how);
  const [words, groups] = [shapes.quants[1]!, shapes.scales[1]!];
  const quants = new Uint32Array(rows * words);
  const scales = new Uint16Array(rows * groups);
  for (let row = 0; row < rows; row++) {
    for (let g = 0; g < groups; g++) {
      const start = g * how.group;
      const group = values.subarray(row * inner + start, row * inner + Math.min(start + how.group, inner));
      const extreme = extremeOf(group, row, start);
      const scale = bestScale(group, extreme, multipliers, low, high);
      scales[row * groups + g] = f32ToF16(scale);
      const inverse = reciprocal(scale);
      group.forEach((value, i) => {
        put(quants, row * words, start + i, quantum(value, inverse, low, high), bits);
      });
    }
  }
  return { quants, scales };
}

/** The f32 values [rows, inner] of quantised rows: quant * scale. */
export function dequantizeWeightsHost(
  { quants, scales }: QuantizedWeights,
  rows: number,
  inner: number,
  how: Quantization,
): Float32Array {
  const shapes = quantizedShapes(rows, inner, how);
  const [words, groups] = [shapes.quants[1]!, shapes.scales[1]!];
  const { bits } = QUANT_FORMATS[how.format];
  return Float32Array.from({ length: rows * inner }, (_, i) => {
    const [row, column] = [Math.floor(i / inner), i % inner];
    return get(quants, row * words, column, bits) * f16ToF32(scales[row * groups + Math.floor(column / how.group)]!);
  });
}

/** The first value of the largest magnitude. */
function extremeOf(group: Float32Array, row: number, start: number): number {
  let extreme = 0;
  group.forEach((value, i) => {
    if (Math.abs(value) > Math.abs(extreme)) extreme = value;
    if (!(Math.abs(value) <= LARGEST)) {
      const place = `row ${row}, column ${start + i}`;
      throw new DaybreakError(`quantize: ${place}: expected a weight within ${LARGEST}, got ${value}; is it damaged?`);
    }
  });
  return extreme;
}

function bestScale(group: Float32Array, extreme: number, multipliers: readonly number[], low: number, high: number) {
  let [best, least] = [0, Number.POSITIVE_INFINITY];
  for (const multiplier of multipliers) {
    const scale = f16ToF32(f32ToF16(extreme * multiplier)) + 0; // no negative zero
    const error = squaredError(group, scale, low, high);
    if (error < least) [best, least] = [scale, error];
  }
  return best;
}

const float = new Float32Array(1);
const word = new Int32Array(float.buffer);

/**
 * The sum of squared errors, in four partial sums. A product of quant and scale is exact, and so is the square of an
 * error cut to 12 bits: fused multiply-adds cannot change the result.
 */
function squaredError(group: Float32Array, scale: number, low: number, high: number): number {
  const inverse = reciprocal(scale);
  const sums = new Float32Array(4);
  for (let i = 0; i < group.length; i++) {
    const value = group[i]!;
    float[0] = value - quantum(value, inverse, low, high) * scale;
    word[0] = word[0]! & ~0xfff;
    sums[i % 4] = sums[i % 4]! + float[0]! * float[0]!;
  }
  return Math.fround(Math.fround(sums[0]! + sums[1]!) + Math.fround(sums[2]! + sums[3]!));
}

const SHIFT = 1.5 * 2 ** 52;

/** value * inverse as an integer from low to high, ties to even. */
function quantum(value: number, inverse: number, low: number, high: number): number {
  const quotient = Math.max(low, Math.min(Math.fround(value * inverse), high));
  return quotient + SHIFT - SHIFT;
}

/** 1 / scale to 20 bits for an f16 value, by a division of integers, which is the same everywhere; 0 for 0. */
function reciprocal(scale: number): number {
  if (scale === 0) return 0;
  float[0] = Math.abs(scale);
  const exponent = word[0]! >> 23;
  const mantissa = ((word[0]! & 0x7fffff) | 0x800000) >> 13;
  return Math.sign(scale) * Math.floor(2 ** 31 / mantissa) * 2 ** (106 - exponent);
}

/** The byte of column `column` of a row of Int8Rows, where a row has so many blocks. */
export function int8PlaceOf(row: number, column: number, blocks: number): number {
  const [block, inside] = [Math.floor(column / BLOCK_COLS), column % BLOCK_COLS];
  return ((2 * row + Math.floor(inside / 16)) * blocks + block) * 16 + (inside % 16);
}

/** Where column `column` of a row stands: its word, and the shift of its bits. */
export function placeOf(column: number, bits: number): [number, number] {
  if (bits === 8) return [column >> 2, 8 * (column & 3)];
  return [column >> 3, 8 * (column & 3) + (column & 4)];
}

function put(quants: Uint32Array, base: number, column: number, quant: number, bits: number): void {
  const [at, shift] = placeOf(column, bits);
  quants[base + at]! |= (quant & (2 ** bits - 1)) << shift;
}

function get(quants: Uint32Array, base: number, column: number, bits: number): number {
  const [at, shift] = placeOf(column, bits);
  return (quants[base + at]! << (32 - bits - shift)) >> (32 - bits);
}
