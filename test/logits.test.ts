// tier: gpu
// nopt
// logits() against matmul(), with every variant, kind of x and format of w: the same bits, and the order of the largest of every four.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { logits, matmul, type Quantization, quantizeRows, quantizeWeightsHost } from '../kernels/index.ts';
import { orderOfFour } from '../kernels/lib/order_case.ts';
import { variants } from '../kernels/matmul/matmul.ts';
import { applies, type Rows } from '../kernels/matmul/product.ts';
import { Random } from '../kernels/spec.ts';
import { canRun, Graph, type HostTensor, type Matrix, narrow, Plan, ShapeError, widen } from '../runtime/index.ts';
import { quick, testDevice } from './gpu.ts';

const [INNER, GROUP] = [72, 32];
const COLUMNS = quick ? [67] : [1, 4, 67, 300];
const FORMATS = ['bf16', 'q4', 'q8'] as const;
/** What x is: elements, int8, or a row to be normed before either. */
const OPERANDS = (['f32', 'f16', 'i8'] as const).flatMap((dtype) => [false, true].map((normed) => ({ dtype, normed })));
type Operand = (typeof OPERANDS)[number];
type Format = (typeof FORMATS)[number];

const device = await testDevice();
if (device) {
  const random = new Random(1);
  const norm = device.upload(random.tensor([INNER]), 'norm');

  /** Rows from 64 on in a block of their own. */
  const matrixOf = (columns: number, format: Format): Matrix => {
    const blocks = [0, 64].flatMap((row, i) => {
      const rows = (i === 0 ? Math.min(columns, 64) : columns) - row;
      return rows > 0 ? [{ row, ...blockOf(rows, format) }] : [];
    });
    return { name: 'w', rows: columns, cols: INNER, dtype: format, group: GROUP, fitsF16: true, blocks };
  };

  const blockOf = (rows: number, format: Format) => {
    const weights = random.tensor([rows, INNER], 'bf16');
    if (format === 'bf16') return { tensor: device.upload(weights, 'w') };
    const how: Quantization = { format, group: GROUP };
    const { quants, scales } = quantizeWeightsHost(widen('bf16', weights.data), rows, INNER, how);
    const of = (data: Uint32Array | Uint16Array, dtype: 'u32' | 'f16') =>
      device.upload({ shape: [rows, data.length / rows], dtype, data }, dtype);
    return { tensor: of(quants, 'u32'), scales: of(scales, 'f16') };
  };

  const rowOf = ({ dtype, normed }: Operand, strays: boolean): HostTensor => {
    const stored = normed || dtype === 'i8' ? 'f32' : dtype;
    const data = random.tensor([INNER]).data as Float32Array;
    if (strays) data[5] = Number.POSITIVE_INFINITY;
    return { shape: [1, INNER], dtype: stored, data: narrow(stored, data) };
  };

  const operandOf = (graph: Graph, { dtype }: HostTensor, operand: Operand): Rows => {
    const x = graph.input('x', [1, INNER], dtype);
    const as = operand.dtype === 'f16' ? 'f16' : 'f32';
    if (operand.normed) return { x, norm, eps: 1e-5, as, int8: operand.dtype === 'i8' };
    return operand.dtype === 'i8' ? quantizeRows(graph, x) : x;
  };

  const check = async (name: string, operand: Operand, w: Matrix, strays: boolean) => {
    const graph = new Graph(device, { variants: { matmul: name } });
    const x = rowOf(operand, strays);
    const row = operandOf(graph, x, operand);
    const result = logits(graph, row, w);
    graph.output('logits', result.logits);
    graph.output('largest', result.largest);
    graph.output('product', matmul(graph, row, w));
    const plan = await Plan.create(graph, { guardBytes: 256 });
    const outputs = plan.run({ x });
    const [got, largest, product] = await Promise.all(
      ['logits', 'largest', 'product'].map(async (what) => (await device.download(outputs[what]!)).data),
    );
    assert.equal(await plan.damage(), []);
    plan.dispose();
    const values = got as Float32Array;
    assert.equal(bitsOf(values), bitsOf(product as Float32Array));
    const fours = Array.from({ length: Math.ceil(w.rows / 4) }, (_, q) => values.subarray(4 * q, 4 * q + 4));
    assert.equal([...largest!], fours.map(orderOfFour));
    assert.is(values.every(Number.isFinite), !strays);
  };

  const seen = new Set<string>();
  for (const operand of OPERANDS) {
    const { dtype, normed } = operand;
    if (dtype === 'f16' && !device.features.has('shader-f16')) continue;
    for (const format of FORMATS.filter((each) => dtype !== 'i8' || each !== 'bf16')) {
      const x = { rows: 1, inner: INNER, dtype, normed };
      const fits = variants.filter(
        (each) => canRun(device, each.kernel) && applies(each, x, { dtype: format, fitsF16: true }),
      );
      // Each takes long to compile on a software adapter: there every one once, and one of each kind of product.
      for (const { name } of quick ? fits.filter((each, i) => !seen.has(each.name) || i === 0) : fits) {
        seen.add(name);
        test(`${name}, x ${dtype}${normed ? ' normed' : ''}, w ${format}: as matmul, and the largest of every four`, async () => {
          for (const columns of COLUMNS) await check(name, operand, matrixOf(columns, format), false);
          await check(name, operand, matrixOf(67, format), true);
        });
      }
    }
  }

  test('more rows than one, and blocks that begin within four columns, are refused', () => {
    const graph = new Graph(device);
    const w = matrixOf(67, 'bf16');
    const x = (rows: number) => graph.input(`x${rows}`, [rows, INNER], 'f32');
    const refused = (body: () => unknown, message: RegExp) =>
      assert.throws(body, (e: Error) => e instanceof ShapeError && message.test(e.message));
    refused(() => logits(graph, x(2), w), /logits: rows of x: expected one, got 2/);
    const cut = { ...w, blocks: [w.blocks[0]!, { ...w.blocks[1]!, row: 62 }] };
    refused(
      () => logits(graph, x(1), cut),
      /logits: w: expected blocks that begin at multiples of four rows, got one from row 62/,
    );
  });
}

test.run();

/** The bits of values; all of NaN the same, as its sign says nothing. */
function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.map((value) => (Number.isNaN(value) ? Number.NaN : value)).buffer);
}
