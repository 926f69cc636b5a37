// tier: gpu
// nopt
// What a row of a step gives does not depend on the rows that stand beside it: bit by bit, as each kernel adds up in one order. Which
// kernel runs may depend on how many rows there are, so each is asked for by name, that of the norm too.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  matmul,
  poolShape,
  type Quantization,
  qkv,
  quantizeRows,
  quantizeWeights,
  ropeTable,
} from '../kernels/index.ts';
import { variants } from '../kernels/matmul/matmul.ts';
import { applies, VECTOR_ROWS } from '../kernels/matmul/product.ts';
import { variants as qkvVariants } from '../kernels/qkv/qkv.ts';
import { Random } from '../kernels/spec.ts';
import { asMatrix, canRun, Graph, type Matrix, Plan, type Tensor, type Variant } from '../runtime/index.ts';
import { quick, testDevice } from './gpu.ts';

const [INNER, OUTS] = [1120, 72];
/** Columns that share a scale; the last of them are half as many. */
const GROUP = 64;
/** Rows at a time beside one: all that a kernel takes and, where kernels are for few rows, some that are no power of two or the least. */
const countsOf = (name: string, format: Format) =>
  !quick && format === 'q4' && name.includes('gemv') ? [2, 5, VECTOR_ROWS] : [VECTOR_ROWS];
/** Heads of q beside one of k and of v, and their dims. */
const [HEADS, HEAD_DIM] = [7, 8];
/** What x is: elements, int8, or rows to be normed before either. */
const OPERANDS = (['f32', 'i8'] as const).flatMap((dtype) => [false, true].map((normed) => ({ dtype, normed })));
type Operand = (typeof OPERANDS)[number];

const QUANTISED = ['q4', 'q8'] as const;
type Format = (typeof QUANTISED)[number] | 'bf16';

const device = await testDevice();
if (device) {
  const random = new Random(1);
  const weights = random.tensor([OUTS, INNER], 'bf16', INNER ** -0.5);
  const norm = device.upload(random.tensor([INNER]), 'norm');
  const rows = random.tensor([VECTOR_ROWS, INNER]);

  /** What so many rows of x give, times a weight, with one variant: all rows, so many at a time. */
  const products = async (name: string, operand: Operand, format: Format, count: number): Promise<Uint32Array[]> => {
    const graph = new Graph(device, { variants: { matmul: name, rms_norm: 'rms_norm' } });
    const x = graph.input('x', [count, INNER], 'f32');
    const w = graph.input('w', [OUTS, INNER], 'bf16');
    graph.output('y', matmul(graph, operandOf(graph, x, operand), matrixOf(graph, w, format)));
    const plan = await Plan.create(graph);
    const results: Uint32Array[] = [];
    for (let first = 0; first + count <= VECTOR_ROWS; first += count) {
      const data = (rows.data as Float32Array).slice(first * INNER, (first + count) * INNER);
      const { y } = plan.run({ x: { shape: [count, INNER], dtype: 'f32', data }, w: weights });
      const words = new Uint32Array((await device.download(y!)).data.buffer);
      for (let row = 0; row < count; row++) results.push(words.slice(row * OUTS, (row + 1) * OUTS));
    }
    plan.dispose();
    return results;
  };

  /** q of all rows, so many at a time, each of a sequence of its own, and the pages of their keys and values behind it. */
  const projections = async (name: string, operand: Operand, format: Format, count: number): Promise<Uint32Array[]> => {
    const words = (shape: number[], value: (i: number) => number) =>
      ({ shape, dtype: 'u32', data: Uint32Array.from({ length: shape[0]! * shape[1]! }, (_, i) => value(i)) }) as const;
    const none = { shape: poolShape(VECTOR_ROWS, 1, HEAD_DIM), dtype: 'f32' } as const;
    const pool = () => device.upload({ ...none, data: new Float32Array(VECTOR_ROWS * 128 * HEAD_DIM) }, 'pool');
    const pools = { k: pool(), v: pool() };
    const graph = new Graph(device, { variants: { qkv: name, matmul: 'matmul_tile', rms_norm: 'rms_norm' } });
    const x = graph.input('x', [count, INNER], 'f32');
    const w = device.upload(weights, 'w');
    const options = {
      places: graph.input('places', [count, 2], 'u32'),
      tables: device.upload(
        words([VECTOR_ROWS, 1], (i) => VECTOR_ROWS - 1 - i),
        'tables',
      ),
      table: device.upload(ropeTable(VECTOR_ROWS * 9, HEAD_DIM, 1e4), 'table'),
      ...{ heads: HEADS, kvHeads: 1, headDim: HEAD_DIM },
    };
    graph.output('q', qkv(graph, operandOf(graph, x, operand), matrixOf(graph, w, format), options, pools));
    const plan = await Plan.create(graph);
    const results: Uint32Array[] = [];
    const download = async (tensor: Tensor) => new Uint32Array((await device.download(tensor)).data.buffer);
    for (let first = 0; first < VECTOR_ROWS; first += count) {
      const data = (rows.data as Float32Array).slice(first * INNER, (first + count) * INNER);
      const places = words([count, 2], (i) => (first + (i >> 1)) * (i % 2 ? 1 : 9));
      results.push(await download(plan.run({ x: { shape: [count, INNER], dtype: 'f32', data }, places }).q!));
    }
    plan.dispose();
    return [Uint32Array.from(results.flatMap((q) => [...q])), await download(pools.k), await download(pools.v)];
  };

  const operandOf = (graph: Graph, x: Tensor, { dtype, normed }: Operand) => {
    if (normed) return { x, norm, eps: 1e-5, as: 'f32' as const, int8: dtype === 'i8' };
    if (dtype === 'i8') return quantizeRows(graph, x);
    return x;
  };

  /** Variants of qkv that have a test: one for each will do, as the products are those of matmul. */
  const projected = new Set<Variant>();
  for (const operand of OPERANDS) {
    for (const format of operand.dtype === 'i8' ? QUANTISED : ([...QUANTISED, 'bf16'] as const)) {
      const fits = (variant: Variant) =>
        canRun(device, variant.kernel) &&
        [1, VECTOR_ROWS].every((count) =>
          applies(variant, { ...operand, rows: count, inner: INNER }, { dtype: format }),
        );
      for (const { name } of variants.filter(fits)) {
        test(`${name}, x ${operand.dtype}${operand.normed ? ' normed' : ''}, w ${format}`, async () => {
          const alone = await products(name, operand, format, 1);
          for (const count of countsOf(name, format)) {
            const together = await products(name, operand, format, count);
            for (const [row, words] of together.entries())
              assert.equal(words, alone[row], `row ${row}, ${count} at a time`);
          }
        });
      }
      const others = qkvVariants.filter((each) => !projected.has(each) && (each.name === 'qkv/apart' || fits(each)));
      for (const each of others) {
        projected.add(each);
        const { name } = each;
        test(`${name}, x ${operand.dtype}${operand.normed ? ' normed' : ''}, w ${format}`, async () => {
          const alone = await projections(name, operand, format, 1);
          const together = await projections(name, operand, format, VECTOR_ROWS);
          for (const [i, what] of ['q', 'k', 'v'].entries()) {
            assert.ok(
              alone[i]!.some((word) => word !== 0),
              what,
            );
            assert.equal(together[i], alone[i], what);
          }
        });
      }
    }
  }
}

test.run();

function matrixOf(graph: Graph, w: Tensor, format: Format): Matrix {
  return format === 'bf16' ? asMatrix(w) : quantizedMatrix(graph, w, format);
}

function quantizedMatrix(graph: Graph, w: Tensor, format: Quantization['format']): Matrix {
  const { quants, scales } = quantizeWeights(graph, w, { format, group: GROUP });
  return {
    name: 'w',
    rows: OUTS,
    cols: INNER,
    dtype: format,
    group: GROUP,
    blocks: [{ tensor: quants, scales, row: 0 }],
  };
}
