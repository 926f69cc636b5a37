import {
  BYTES,
  ceilDiv,
  expect,
  type Graph,
  type Kernel,
  linearGrid,
  sameShape,
  showShape,
  type Tensor,
} from '../../runtime/index.ts';

const PLAIN: Kernel = { name: 'kv_append/kv_append', source: new URL('./kv_append.wgsl', import.meta.url) };
const WG = 64;

/** The variants of this op, best first. */
export const variants = [PLAIN];

/**
 * k_cache[h, position[0] + t, i] = k[t, kColumn + h * headDim + i], and v_cache likewise, in place: k and v are f32 or f16
 * [tokens, *], position is u32 [1], both caches are device tensors [kvHeads, capacity, headDim] of f32 or f16. Rows past the
 * capacity are dropped. headDim, the columns and the widths of k and v are multiples of 4. Throws ShapeError.
 */
export function kvAppend(
  g: Graph,
  k: Tensor,
  kColumn: number,
  v: Tensor,
  vColumn: number,
  position: Tensor,
  caches: { k: Tensor; v: Tensor },
): void {
  const [kvHeads = 0, capacity = 0, headDim = 0] = caches.k.shape;
  const { dtype } = caches.k;
  const tokens = k.shape[0] ?? 0;
  expect(
    caches.k.shape.length === 3 && kvHeads > 0 && headDim > 0 && headDim % 4 === 0 && isFloat(caches.k),
    'kv_append',
    'k cache',
    'f32 or f16 [kvHeads > 0, capacity, a positive multiple of 4]',
    show(caches.k),
  );
  expect(
    sameShape(caches.v.shape, caches.k.shape) && caches.v.dtype === dtype,
    'kv_append',
    'v cache',
    show(caches.k),
    show(caches.v),
  );
  expect(
    position.dtype === 'u32' && sameShape(position.shape, [1]),
    'kv_append',
    'position',
    'u32 [1]',
    show(position),
  );
  expectColumns('k', k, kColumn, tokens, kvHeads * headDim);
  expectColumns('v', v, vColumn, tokens, kvHeads * headDim);
  const count = 2 * tokens * kvHeads * headDim;
  g.dispatch({
    kernel: g.variant('kv_append', variants),
    constants: {
      elem: dtype,
      k_elem: k.dtype,
      v_elem: v.dtype,
      K_COLS: k.shape[1]!,
      K_COLUMN: kColumn,
      V_COLS: v.shape[1]!,
      V_COLUMN: vColumn,
      KV_HEADS: kvHeads,
      HEAD_DIM: headDim,
      WG,
    },
    read: { k, v, position },
    write: { k_cache: caches.k, v_cache: caches.v },
    params: { tokens, capacity },
    workgroups: linearGrid(ceilDiv(count / 8, WG)),
    cost: { flops: 0, bytes: ((BYTES[k.dtype] + BYTES[v.dtype]) / 2 + BYTES[dtype]) * count },
  });
}

function expectColumns(what: string, x: Tensor, column: number, tokens: number, width: number): void {
  const cols = x.shape[1] ?? 0;
  expect(
    x.shape.length === 2 && x.shape[0] === tokens && isFloat(x) && cols % 4 === 0,
    'kv_append',
    what,
    `f32 or f16 [${tokens}, a multiple of 4]`,
    show(x),
  );
  expect(
    column % 4 === 0 && column >= 0 && column + width <= cols,
    'kv_append',
    `${what}Column`,
    `a multiple of 4, at most ${cols - width}`,
    column,
  );
}

function isFloat({ dtype }: Tensor): boolean {
  return dtype === 'f32' || dtype === 'f16';
}

function show({ dtype, shape }: Tensor): string {
  return `${dtype} ${showShape(shape)}`;
}
