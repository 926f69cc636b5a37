import { BYTES, type DType, expect, type Graph, type Matrix, type Tensor, type Variant } from '../../runtime/index.ts';
import { checkPools, kvAppend } from '../kv_append/kv_append.ts';
import { checkRows, PAGE, type SequenceRows } from '../lib/pages.ts';
import { matmul } from '../matmul/matmul.ts';
import { applies, multiply, operandOf, problemOf, productVariants, type Rows } from '../matmul/product.ts';
import { choose } from '../policy.ts';
import { checkRopeTable, rope, variants as ropeVariants } from '../rope/rope.ts';

/** The product, and all that follows it in its own dispatch. */
const FUSED = productVariants('qkv', 'rotary pages finish_qkv');
/** matmul, rope and kv_append: where a device binds too few buffers, or finds this faster. */
const APART: Variant = { ...ropeVariants[0]!, name: 'qkv/apart' };

/** The variants of this op. */
export const variants = [...FUSED, APART];

/** Where the rows of x stand, the angles of their positions, and the heads that w makes of them. */
export interface QkvOptions extends SequenceRows {
  /** See ropeTable. */
  table: Tensor;
  heads: number;
  kvHeads: number;
  headDim: number;
  /** The dtype of q. */
  as?: DType;
}

/**
 * The heads of q, k and v = x w^T, for x and w as matmul() takes them: the rows of w are those of `heads` heads of q, then of
 * kvHeads of k and of v, of headDim each, a multiple of 8. q and k are rotated as rope() does; k and v go to their places in
 * `pools`, as kvAppend() has them, which drops rows past the end of their table; returns q [tokens, heads * headDim]. As with
 * rope(), no position may pass the capacity of the table of angles. Throws ShapeError.
 */
export function qkv(g: Graph, x: Rows, w: Matrix, options: QkvOptions, pools: { k: Tensor; v: Tensor }): Tensor {
  const { table, places, tables, heads, kvHeads, headDim, as = 'f32' } = options;
  const operand = operandOf('qkv', x, w);
  const { rows, like } = operand;
  check(rows, w, options, pools);
  const whole = w.blocks.every(({ tensor, row }) => row % 4 === 0 && tensor.shape[0]! % 4 === 0); // columns that are finished at once
  const fits = (each: Variant) => each === APART || (whole && applies(each, operand, w));
  const variant = choose(g, 'qkv', problemOf(operand, w), variants, fits);
  if (variant === APART) return apart(g, x, w, options, pools);
  const q = g.temp('qkv', [rows, heads * headDim], as, like);
  const written = (heads * BYTES[as] + 2 * kvHeads * BYTES[pools.k.dtype]) / (heads + 2 * kvHeads);
  multiply(g, operand, w, variant, {
    constants: {
      out_elem: as,
      pool_elem: pools.k.dtype,
      HEADS: heads,
      KV_HEADS: kvHeads,
      HEAD_DIM: headDim,
      PAGE,
    },
    read: { table, places, tables },
    write: { q, k_pool: pools.k, v_pool: pools.v },
    width: tables.shape[1]!,
    elementBytes: written + (4 * headDim) / w.rows,
    columnBytes: 0,
  });
  return q;
}

function apart(
  g: Graph,
  x: Rows,
  w: Matrix,
  { table, places, tables, heads, kvHeads, headDim, as }: QkvOptions,
  pools: { k: Tensor; v: Tensor },
): Tensor {
  const all = matmul(g, x, w);
  const q = rope(g, all, table, places, { heads, headDim, as });
  const k = rope(g, all, table, places, { heads: kvHeads, headDim, column: heads * headDim });
  kvAppend(g, k, 0, all, (heads + kvHeads) * headDim, { places, tables }, pools);
  return q;
}

function check(rows: number, w: Matrix, options: QkvOptions, pools: { k: Tensor; v: Tensor }): void {
  const { table, heads, kvHeads, headDim } = options;
  expect(heads > 0, 'qkv', 'heads', 'at least 1', heads);
  expect(headDim > 0 && headDim % 8 === 0, 'qkv', 'headDim', 'a multiple of 8', headDim);
  checkPools('qkv', pools);
  const [, poolHeads, , poolDim] = pools.k.shape;
  const got = `${poolHeads} of ${poolDim}`;
  expect(poolHeads === kvHeads && poolDim === headDim, 'qkv', 'heads of the pools', `${kvHeads} of ${headDim}`, got);
  expect(
    w.rows === (heads + 2 * kvHeads) * headDim,
    'qkv',
    `rows of ${w.name}`,
    (heads + 2 * kvHeads) * headDim,
    w.rows,
  );
  checkRopeTable('qkv', table, headDim);
  checkRows('qkv', options, rows);
}
