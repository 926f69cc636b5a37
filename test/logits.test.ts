// tier: gpu
// logits() against matmul(), with every variant: the same bits, and the order of the largest of every four.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { logits, matmul } from '../kernels/index.ts';
import { orderOfFour } from '../kernels/lib/order_case.ts';
import { variants } from '../kernels/matmul/matmul.ts';
import { applies } from '../kernels/matmul/product.ts';
import { Random } from '../kernels/spec.ts';
import { canRun, Graph, type HostTensor, type Matrix, Plan, ShapeError } from '../runtime/index.ts';
import { quick, testDevice } from './gpu.ts';

const INNER = 72;
const COLUMNS = quick ? [67] : [1, 4, 67, 300];

const device = await testDevice();
if (device) {
  const random = new Random(1);
  const [first, second] = [[0, 64] as const, [64, 300] as const];

  /** Rows from 64 on in a block of their own. */
  const matrixOf = (graph: Graph, columns: number): { w: Matrix; inputs: Record<string, HostTensor> } => {
    const inputs: Record<string, HostTensor> = {};
    const blocks = [first, second].flatMap(([start, end], i) => {
      const rows = Math.min(end, columns) - start;
      if (rows <= 0) return [];
      inputs[`w${i}`] = random.tensor([rows, INNER], 'bf16');
      return [{ tensor: graph.input(`w${i}`, [rows, INNER], 'bf16'), row: start }];
    });
    return { w: { name: 'w', rows: columns, cols: INNER, dtype: 'bf16', blocks }, inputs };
  };

  const check = async (name: string, columns: number, x: HostTensor) => {
    const graph = new Graph(device, { variants: { matmul: name } });
    const { w, inputs } = matrixOf(graph, columns);
    const row = graph.input('x', [1, INNER], 'f32');
    const result = logits(graph, row, w);
    graph.output('logits', result.logits);
    graph.output('largest', result.largest);
    graph.output('product', matmul(graph, row, w));
    const plan = await Plan.create(graph, { guardBytes: 256 });
    const outputs = plan.run({ x, ...inputs });
    const [got, largest, product] = await Promise.all(
      ['logits', 'largest', 'product'].map(async (what) => (await device.download(outputs[what]!)).data),
    );
    assert.equal(await plan.damage(), []);
    plan.dispose();
    const values = got as Float32Array;
    assert.equal(new Uint32Array(values.buffer), new Uint32Array(product!.buffer));
    const fours = Array.from({ length: Math.ceil(columns / 4) }, (_, q) => values.subarray(4 * q, 4 * q + 4));
    assert.equal([...largest!], fours.map(orderOfFour));
    return values;
  };

  const fits = variants.filter(
    (each) => canRun(device, each.kernel) && applies(each, { rows: 1, inner: INNER, dtype: 'f32' }, { dtype: 'bf16' }),
  );
  for (const { name } of fits) {
    test(`${name}: the same logits as matmul, and the largest of every four`, async () => {
      for (const columns of COLUMNS) await check(name, columns, random.tensor([1, INNER]));
      const x = random.tensor([1, INNER]);
      x.data[5] = Number.POSITIVE_INFINITY;
      assert.ok(!(await check(name, 67, x)).every(Number.isFinite));
    });
  }

  test('more rows than one, and blocks that begin within four columns, are refused', () => {
    const graph = new Graph(device);
    const { w } = matrixOf(graph, 67);
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
