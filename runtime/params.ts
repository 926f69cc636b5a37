import type { DispatchStep } from './graph.ts';
import { loadKernel } from './kernel.ts';
import { roundUp } from './shape.ts';

/** The parameters of all dispatches in one buffer, each shown by a window of the same size at its own offset. */
export interface PackedParams {
  bytes: Uint8Array<ArrayBuffer>;
  /** Bytes of the window: the largest `struct Params`. */
  window: number;
  /** Byte offset of each dispatch's window, by position in the list. */
  offsets: number[];
}

/** Packs the parameters of all dispatches into one uniform buffer, each at a multiple of `alignment` bytes. */
export function packParams(dispatches: readonly DispatchStep[], alignment: number): PackedParams {
  const fields = dispatches.map((step) => loadKernel(step.kernel).reflection.params);
  const window = roundUp(Math.max(4, ...fields.map((list) => list.length)) * 4, 16);
  const stride = roundUp(window, alignment);
  const offsets = fields.map((_, index) => index * stride);
  const bytes = new Uint8Array(Math.max(fields.length, 1) * stride);
  const view = new DataView(bytes.buffer);
  dispatches.forEach((step, index) => {
    fields[index]!.forEach(({ name, type }, field) => {
      const at = offsets[index]! + field * 4;
      const value = step.params![name]!;
      if (type === 'f32') view.setFloat32(at, value, true);
      else if (type === 'i32') view.setInt32(at, value, true);
      else view.setUint32(at, value, true);
    });
  });
  return { bytes, window, offsets };
}
