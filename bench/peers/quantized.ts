import { int8PlaceOf, placeOf } from '../../kernels/lib/quantized.ts';
import { f16ToF32, type HostTensor, widen } from '../../runtime/index.ts';
import { type Counterpart, counterpart, type Float, floats, type Inputs } from './counterparts.ts';

/** The accuracy level at which a peer quantises activations; 0 leaves it the choice. */
const INT8 = 4;

/**
 * y = x w^T for w of 4 bits, quant * scale, where `group` columns share a scale. x that our op is given as blocks of
 * int8 the peer is given in f32, to quantise itself: a little more than our op does.
 */
export function matMulNBits(inputs: Inputs, inner: number, group: number): Counterpart[] {
  const { x, xScales, w, wScales } = inputs;
  const rows = x!.shape[0]!;
  const [outs, groups] = wScales!.shape as [number, number];
  const dtype = xScales ? 'f32' : (x!.dtype as Float);
  const values = xScales ? int8Values(x!, xScales) : widen(dtype, x!.data);
  const constants = {
    w: { type: 'uint8', dims: [outs, groups, group / 2], data: packed(w!, outs, inner) } as const,
    scales: floats(dtype, [outs, groups], Float32Array.from(wScales!.data, f16ToF32)),
  };
  const attributes = { K: inner, N: outs, bits: 4, block_size: group, accuracy_level: xScales ? INT8 : 0 };
  const names = ['x', 'w', 'scales'];
  const nodes = [{ op: 'MatMulNBits', domain: 'com.microsoft', inputs: names, outputs: ['y'], attributes } as const];
  return [counterpart({ nodes, feeds: { x: floats(dtype, [rows, inner], values) }, constants, dims: [rows, outs] })];
}

/** Quants plus 8 (a nibble's top bit turned over), two to a byte, the first in the lower half. */
function packed({ shape, data }: HostTensor, outs: number, inner: number): Uint8Array {
  const words = shape[1]!;
  const places = Array.from({ length: inner }, (_, column) => placeOf(column, 4));
  const bytes = new Uint8Array((outs * inner) / 2);
  for (let row = 0, at = 0; row < outs; row++) {
    for (let column = 0; column < inner; column += 2, at++) {
      const [low, high] = [places[column]!, places[column + 1]!].map(([word, shift]) => {
        return ((data[row * words + word]! >>> shift) & 15) ^ 8;
      });
      bytes[at] = low! | (high! << 4);
    }
  }
  return bytes;
}

/** The values of int8 blocks of 32 [rows, inner], inner a multiple of 32. */
function int8Values({ data }: HostTensor, { shape, data: scales }: HostTensor): Float32Array {
  const quants = new Int8Array(data.buffer);
  const blocks = shape[1]!;
  return Float32Array.from(quants, (_, i) => {
    const [row, column] = [Math.floor(i / (32 * blocks)), i % (32 * blocks)];
    return quants[int8PlaceOf(row, column, blocks)]! * scales[row * blocks + Math.floor(column / 32)]!;
  });
}
