/** Element types. bf16 and i8 are storage only: kernels widen them as they read. */
export type DType = 'f32' | 'f16' | 'bf16' | 'i8' | 'i32' | 'u32';

/** Bytes of one element. */
export const BYTES: Readonly<Record<DType, number>> = { f32: 4, f16: 2, bf16: 2, i8: 1, i32: 4, u32: 4 };

/** The array type that carries a dtype on the host; f16 and bf16 travel as their 16 raw bits. */
export type HostArray = Float32Array | Int32Array | Uint32Array | Uint16Array | Int8Array;

const HOST_ARRAYS = {
  f32: Float32Array,
  f16: Uint16Array,
  bf16: Uint16Array,
  i8: Int8Array,
  i32: Int32Array,
  u32: Uint32Array,
} as const;

/** A host array of `length` elements of `dtype`, or a view of `buffer` where one is given. */
export function hostArray(dtype: DType, length: number, buffer?: ArrayBuffer, byteOffset = 0): HostArray {
  const Constructor = HOST_ARRAYS[dtype];
  return buffer ? new Constructor(buffer, byteOffset, length) : new Constructor(length);
}

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The f32 value of 16 bfloat16 bits: the upper half of an f32, hence exact. */
export function bf16ToF32(half: number): number {
  bits[0] = half << 16;
  return float[0]!;
}

/** Whether every one of an even number of bfloat16s is small enough for an IEEE half: 65280 at most, the last below 65536. */
export function fitsF16(halves: Uint16Array): boolean {
  const pairs = new Uint32Array(halves.buffer, halves.byteOffset, halves.length / 2);
  let carried = 0; // into the sign of a half, where its magnitude is 0x4780 or more
  for (let i = 0; i < pairs.length; i++) carried |= (pairs[i]! & 0x7fff7fff) + 0x38803880;
  return (carried & 0x80008000) === 0;
}

/** The nearest bfloat16 of an f32, ties to even, NaN kept quiet. */
export function f32ToBf16(value: number): number {
  float[0] = value;
  const word = bits[0]!;
  if ((word & 0x7fffffff) > 0x7f800000) return (word >>> 16) | 0x40;
  return ((word + 0x7fff + ((word >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The f32 value of 16 IEEE half bits, subnormals, infinities and NaN included. */
export function f16ToF32(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The nearest IEEE half of a number, ties to even; values past 65504 round to infinity. */
export function f32ToF16(value: number): number {
  float[0] = value;
  const word = bits[0]!;
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    const scaled = Math.abs(float[0]!) * 2 ** 24;
    return sign | roundHalfEven(scaled);
  }
  const rebased = magnitude - 0x38000000;
  return sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13);
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor + (floor & 1);
}

/** Widens the elements of a host array to numbers held in a Float32Array (f16 and bf16 exactly). */
export function widen(dtype: DType, data: HostArray): Float32Array {
  if (data instanceof Float32Array) return data;
  const of = dtype === 'bf16' ? bf16ToF32 : dtype === 'f16' ? f16ToF32 : Number;
  const values = new Float32Array(data.length);
  for (let i = 0; i < values.length; i++) values[i] = of(data[i]!);
  return values;
}

/** Narrows f32 values to a floating point dtype's host array. */
export function narrow(dtype: 'f32' | 'f16' | 'bf16', data: Float32Array): HostArray {
  if (dtype === 'f32') return data;
  const of = dtype === 'f16' ? f32ToF16 : f32ToBf16;
  const halves = new Uint16Array(data.length);
  for (let i = 0; i < halves.length; i++) halves[i] = of(data[i]!);
  return halves;
}
