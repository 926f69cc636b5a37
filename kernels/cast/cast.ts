import {
  BYTES,
  ceilDiv,
  elements,
  expect,
  type Graph,
  type Kernel,
  linearGrid,
  type Tensor,
} from '../../runtime/index.ts';

const PLAIN: Kernel = { name: 'cast/cast', source: new URL('./cast.wgsl', import.meta.url) };
const WG = 64;

/** The variants of this op, best first. */
export const variants = [PLAIN];

/**
 * y[i] = x[i] rounded to f32 or f16, for x f32, f16 or bf16 of any shape; x itself where it has that dtype already.
 * Works without the device feature shader-f16. Throws ShapeError.
 */
export function cast(g: Graph, x: Tensor, as: 'f32' | 'f16'): Tensor {
  expect(['f32', 'f16', 'bf16'].includes(x.dtype), 'cast', 'dtype of x', 'f32, f16 or bf16', x.dtype);
  if (x.dtype === as) return x;
  const count = elements(x.shape);
  const y = g.temp('cast', x.shape, as);
  g.dispatch({
    kernel: g.variant('cast', variants),
    constants: { FROM_F32: x.dtype === 'f32', FROM_F16: x.dtype === 'f16', TO_F16: as === 'f16', WG },
    read: { x },
    write: { y },
    params: { count },
    workgroups: linearGrid(ceilDiv(count, 8 * WG)),
    cost: { flops: 0, bytes: (BYTES[x.dtype] + BYTES[as]) * count },
  });
  return y;
}
