import { placeOf, type Quantization, type QuantizedWeights, quantizeWeightsHost } from '../../kernels/index.ts';
import { f16ToF32, type HostArray, type HostTensor, narrow, type WeightFormat, widen } from '../../runtime/index.ts';
import { checkpointError } from '../checkpoint/json.ts';
import type { TensorInfo } from '../checkpoint/safetensors.ts';
import type { Conversion } from './plan.ts';

/** Quantises weights [rows, inner] of any float dtype. */
export type QuantizeWeights = (weights: HostTensor, how: Quantization) => Promise<QuantizedWeights>;

/** Rows of the output, and the sums over them of (stored value - value)^2 and value^2. */
export interface ConvertedRows {
  readonly data: readonly HostArray[];
  readonly squaredError: number;
  readonly squaredNorm: number;
}

/** The largest number that f16 holds. */
export const LARGEST_F16 = 65504;

/** Quantises without a device: the same bits, slowly. */
export const quantizeOnHost: QuantizeWeights = async ({ dtype, shape, data }, how) =>
  quantizeWeightsHost(widen(dtype, data), shape[0]!, shape[1]!, how);

/** The rows of every part of a conversion. CheckpointError where a weight has no place in its format's range. */
export async function convertRows(
  weights: HostTensor,
  { source, parts }: Conversion,
  how: Quantization | undefined,
  quantize: QuantizeWeights,
): Promise<ConvertedRows> {
  const { dtype } = parts[0]!;
  if (!how && dtype === weights.dtype) return { data: [weights.data], squaredError: 0, squaredNorm: 0 };
  const values = widen(weights.dtype, weights.data);
  checkRange(values, source, how?.format ?? dtype);
  if (how) {
    const rows = await quantize(weights, how);
    return { data: [rows.quants, rows.scales], ...quantizedError(values, rows, weights.shape[1]!, how) };
  }
  const narrowed = narrow(dtype as 'f16' | 'bf16' | 'f32', values);
  return { data: [narrowed], ...narrowedError(values, widen(dtype, narrowed)) };
}

/** Throws CheckpointError where a weight of a tensor has no place in a format's range. */
export function checkRange(values: Float32Array, { file, name }: TensorInfo, format: WeightFormat): void {
  const limit = format === 'bf16' ? Number.MAX_VALUE : LARGEST_F16;
  for (let i = 0; i < values.length; i++) {
    if (Math.abs(values[i]!) <= limit) continue;
    const expected = `weights from -${limit} to ${limit} for ${format}`;
    throw checkpointError(file, name, expected, `${values[i]}`, 'choose another format for it');
  }
}

function narrowedError(values: Float32Array, stored: Float32Array) {
  let [squaredError, squaredNorm] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    squaredError += (stored[i]! - values[i]!) ** 2;
    squaredNorm += values[i]! ** 2;
  }
  return { squaredError, squaredNorm };
}

/** A loop for half a minute of every quantisation: no function is called per weight. */
function quantizedError(values: Float32Array, { quants, scales }: QuantizedWeights, inner: number, how: Quantization) {
  const bits = how.format === 'q4' ? 4 : 8;
  const shifts = Array.from({ length: 32 / bits }, (_, i) => placeOf(i, bits)[1]);
  const mask = 2 ** bits - 1;
  const [flip, bias] = bits === 4 ? [0, 8] : [0x80, 0x80];
  const words = (quants.length * inner) / values.length;
  const groups = (scales.length * inner) / values.length;
  let [squaredError, squaredNorm] = [0, 0];
  for (let i = 0; i < values.length; ) {
    const [row, column] = [Math.floor(i / inner), i % inner];
    const word = quants[row * words + column / shifts.length]!;
    const scale = f16ToF32(scales[row * groups + Math.floor(column / how.group)]!);
    const count = Math.min(shifts.length, inner - column);
    for (let k = 0; k < count; k++, i++) {
      const value = values[i]!;
      const stored = ((((word >>> shifts[k]!) & mask) ^ flip) - bias) * scale;
      squaredError += (stored - value) * (stored - value);
      squaredNorm += value * value;
    }
  }
  return { squaredError, squaredNorm };
}
