import type { DispatchStep } from './graph.ts';
import { loadKernel } from './kernel.ts';
import { atMost, type Scalar, type ValueOf } from './scalar.ts';
import { roundUp } from './shape.ts';

/** The parameters of all dispatches in one buffer, each shown by a window of the same size at its own offset. */
export interface PackedParams {
  bytes: Uint8Array<ArrayBuffer>;
  /** Bytes of the window: the largest `struct Params`. */
  window: number;
  /** Byte offset of each dispatch's window, by position in the list. */
  offsets: number[];
  /** Puts the values of a run's scalars into `bytes`; whether there are any. */
  fill: (value: ValueOf) => boolean;
}

/** Packs the parameters of all dispatches into one uniform buffer, each at a multiple of `alignment` bytes. */
export function packParams(dispatches: readonly DispatchStep[], alignment: number): PackedParams {
  const fields = dispatches.map((step) => loadKernel(step.kernel).reflection.params);
  const window = roundUp(Math.max(4, ...fields.map((list) => list.length)) * 4, 16);
  const stride = roundUp(window, alignment);
  const offsets = fields.map((_, index) => index * stride);
  const bytes = new Uint8Array(Math.max(fields.length, 1) * stride);
  const view = new DataView(bytes.buffer);
  const patches: { at: number; type: string; scalar: Scalar }[] = [];
  dispatches.forEach((step, index) => {
    fields[index]!.forEach(({ name, type }, field) => {
      const at = offsets[index]! + field * 4;
      const amount = step.params![name]!;
      if (typeof amount !== 'number') patches.push({ at, type, scalar: amount });
      put(view, at, type, atMost(amount));
    });
  });
  const fill = (value: ValueOf) => {
    for (const { at, type, scalar } of patches) put(view, at, type, value(scalar));
    return patches.length > 0;
  };
  return { bytes, window, offsets, fill };
}

function put(view: DataView, at: number, type: string, value: number): void {
  if (type === 'f32') view.setFloat32(at, value, true);
  else if (type === 'i32') view.setInt32(at, value, true);
  else view.setUint32(at, value, true);
}
