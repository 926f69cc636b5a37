import {
  BYTES,
  ceilDiv,
  expect,
  expectTensor,
  type Graph,
  linearGrid,
  rowsOf,
  showTensor,
  type Tensor,
  type ValueOf,
  variant,
} from '../../runtime/index.ts';
import { kernelFile } from '../lib/kernel_file.ts';
import { checkRows, PAGE, type SequenceRows } from '../lib/pages.ts';

const PLAIN = kernelFile('kv_append/kv_append', 'pages');
const WG = 64;

/** The variants of this op. */
export const variants = [variant(PLAIN)];

/**
 * k_pool[page, h, p % PAGE, i] = k[t, kColumn + h * headDim + i], and v_pool likewise, in place, with (p, s) = places[t] and
 * page = tables[s, p / PAGE]: k and v are f32 or f16 [tokens, *], both pools are device tensors [pages, kvHeads, PAGE, headDim] of
 * f32 or f16. Rows past the end of their table are dropped. headDim, the columns and the widths of k and v are multiples of
 * 4. No two rows may have one place. Throws ShapeError.
 */
export function kvAppend(
  g: Graph,
  k: Tensor,
  kColumn: number,
  v: Tensor,
  vColumn: number,
  rows: SequenceRows,
  pools: { k: Tensor; v: Tensor },
): void {
  checkPools('kv_append', pools);
  const [, kvHeads = 0, , headDim = 0] = pools.k.shape;
  const { dtype } = pools.k;
  const tokens = k.shape[0] ?? 0;
  checkRows('kv_append', rows, tokens);
  expectColumns('k', k, kColumn, tokens, kvHeads * headDim);
  expectColumns('v', v, vColumn, tokens, kvHeads * headDim);
  const count = (value: ValueOf) => 2 * value(rowsOf(k)) * kvHeads * headDim;
  g.dispatch({
    kernel: PLAIN,
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
      PAGE,
      WG,
    },
    read: { k, v, places: rows.places, tables: rows.tables },
    write: { k_pool: pools.k, v_pool: pools.v },
    params: { tokens: rowsOf(k), pages: rows.tables.shape[1]! },
    workgroups: (value) => linearGrid(ceilDiv(count(value) / 8, WG)),
    cost: (value) => ({ flops: 0, bytes: ((BYTES[k.dtype] + BYTES[v.dtype]) / 2 + BYTES[dtype]) * count(value) }),
  });
}

/** Throws ShapeError unless these can be pages of keys and of values: tensors [pages, kvHeads, PAGE, headDim] of one dtype. */
export function checkPools(op: string, pools: { k: Tensor; v: Tensor }): void {
  const [pages = 0, kvHeads = 0, page = 0, headDim = 0] = pools.k.shape;
  expect(
    pools.k.shape.length === 4 &&
      pages > 0 &&
      kvHeads > 0 &&
      page === PAGE &&
      headDim > 0 &&
      headDim % 4 === 0 &&
      isFloat(pools.k),
    op,
    'k pool',
    `f32 or f16 [pages > 0, kvHeads > 0, ${PAGE}, a positive multiple of 4]`,
    showTensor(pools.k),
  );
  expectTensor(op, 'v pool', pools.v, pools.k.dtype, pools.k.shape);
}

function expectColumns(what: string, x: Tensor, column: number, tokens: number, width: number): void {
  const cols = x.shape[1] ?? 0;
  expect(
    x.shape.length === 2 && x.shape[0] === tokens && isFloat(x) && cols % 4 === 0,
    'kv_append',
    what,
    `f32 or f16 [${tokens}, a multiple of 4]`,
    showTensor(x),
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
