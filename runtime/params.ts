import type { DispatchStep } from './graph.ts';
import { loadKernel } from './kernel.ts';
import { roundUp } from './shape.ts';

/** Where each dispatch finds its `struct Params` in one buffer. */
export interface PackedParams {
  bytes: Uint8Array;
  /** Byte offset and size by position in the list of dispatches; undefined where a kernel takes none. */
  ranges: ({ offset: number; size: number } | undefined)[];
}

/** Packs the parameters of all dispatches into one uniform buffer, each at a multiple of `alignment` bytes. */
export function packParams(dispatches: readonly DispatchStep[], alignment: number): PackedParams {
  let end = 0;
  const ranges = dispatches.map((step) => {
    const count = loadKernel(step.kernel).reflection.params.length;
    if (count === 0) return undefined;
    const range = { offset: end, size: roundUp(count * 4, 16) };
    end = roundUp(end + range.size, alignment);
    return range;
  });
  const bytes = new Uint8Array(end);
  const view = new DataView(bytes.buffer);
  dispatches.forEach((step, index) => {
    loadKernel(step.kernel).reflection.params.forEach(({ name, type }, field) => {
      const at = ranges[index]!.offset + field * 4;
      const value = step.params![name]!;
      if (type === 'f32') view.setFloat32(at, value, true);
      else if (type === 'i32') view.setInt32(at, value, true);
      else view.setUint32(at, value, true);
    });
  });
  return { bytes, ranges };
}
