// tier: gpu
// What a row of a step gives does not depend on the rows that stand beside it: bit by bit, as each kernel adds up in one order. Which
// kernel runs may depend on how many rows there are, so each is asked for by name, that of the norm too.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { matmul, type Quantization, quantizeRows, quantizeWeights } from '../kernels/index.ts';
import { variants } from '../kernels/matmul/matmul.ts';
import { applies, VECTOR_ROWS } from '../kernels/matmul/product.ts';
import { Random } from '../kernels/spec.ts';
import { asMatrix, canRun, Graph, type Matrix, Plan } from '../runtime/index.ts';
import { testDevice } from './gpu.ts';

const [INNER, OUTS] = [1120, 72];
const ROWS = [VECTOR_ROWS];
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
    const matrix = format === 'bf16' ? asMatrix(w) : quantizedMatrix(graph, w, format);
    graph.output('y', matmul(graph, operandOf(graph, x, operand), matrix));
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

  const operandOf = (graph: Graph, x: ReturnType<Graph['input']>, { dtype, normed }: Operand) => {
    if (normed) return { x, norm, eps: 1e-5, as: 'f32' as const, int8: dtype === 'i8' };
    if (dtype === 'i8') return quantizeRows(graph, x);
    return x;
  };

  for (const operand of OPERANDS) {
    for (const format of operand.dtype === 'i8' ? QUANTISED : ([...QUANTISED, 'bf16'] as const)) {
      const fits = (count: number) => (variant: (typeof variants)[number]) =>
        canRun(device, variant.kernel) &&
        applies(
          variant,
          { rows: count, inner: INNER, dtype: operand.dtype, normed: operand.normed || undefined },
          { dtype: format },
        );
      for (const { name } of variants.filter(fits(VECTOR_ROWS)).filter(fits(1))) {
        test(`${name}, x ${operand.dtype}${operand.normed ? ' normed' : ''}, w ${format}`, async () => {
          const alone = await products(name, operand, format, 1);
          for (const count of ROWS) {
            const together = await products(name, operand, format, count);
            for (const [row, words] of together.entries())
              assert.equal(words, alone[row], `row ${row}, ${count} at a time`);
          }
        });
      }
    }
  }
}

test.run();

function quantizedMatrix(graph: Graph, w: ReturnType<Graph['input']>, format: Quantization['format']): Matrix {
  const { quants, scales } = quantizeWeights(graph, w, { format, group: 32 });
  return { name: 'w', rows: OUTS, cols: INNER, dtype: format, group: 32, blocks: [{ tensor: quants, scales, row: 0 }] };
}
