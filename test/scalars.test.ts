// tier: gpu
// nopt
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Case, type OpSpec, Random, showCase } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { runnable } from '../kernels/verify.ts';
import { type Device, Graph, type HostTensor, Plan, type Scalar, type Tensor } from '../runtime/index.ts';
import { testDevice } from './gpu.ts';

/** The inputs of each op that have its rows. */
const ROWS: Record<string, readonly string[]> = {
  attention: ['q', 'places', 'spans'],
  embed: ['ids'],
  kv_append: ['k', 'v', 'places'],
  layer_norm: ['x'],
  matmul: ['x', 'residual'],
  qkv: ['x', 'places'],
  quantize_rows: ['x'],
  resize_position: ['cells'],
  rms_norm: ['x'],
  rope: ['x', 'places'],
};

const device = await testDevice();

if (device) tests(device);

test.run();

function tests(device: Device): void {
  for (const spec of specs.filter(({ name }) => ROWS[name])) {
    test(`${spec.name}: with fewer rows than planned, these are as in a full run and no others are written`, async () => {
      const cases = spec.cases.filter((c) => runnable(device, spec, c).length > 0 && rowsIn(spec, c) > 1);
      for (const c of cases.filter((c) => c.quick)) {
        for (const variant of runnable(device, spec, c)) await compare(spec, c, variant.name);
      }
      assert.ok(cases.length > 0);
    });
  }

  test('a scalar outside its bounds is refused, and one that is missing', async () => {
    const graph = new Graph(device);
    const rows = graph.scalar('rows', 4);
    graph.output('y', graph.input('x', [4, 2], 'f32', rows));
    const plan = await Plan.create(graph);
    const x: HostTensor = { shape: [2, 2], dtype: 'f32', data: Float32Array.of(1, 2, 3, 4) };
    assert.throws(() => graph.scalar('rows', 2), /scalar: rows: expected a new name/);
    for (const wrong of [5, -1, 1.5, Number.NaN]) {
      assert.throws(() => plan.run({ x }, { rows: wrong }), /run: scalar rows: expected an integer from 0 to 4, got/);
    }
    assert.throws(() => plan.run({ x }), /run: scalar rows: expected an integer from 0 to 4, got undefined/);
    assert.throws(() => plan.run({ x }, { rows: 3 }), /run: input x: expected f32 \[3, 2\], got f32 \[2, 2\]/);
    plan.run({ x }, { rows: 2 });
    plan.dispose();
  });

  function rowsIn(spec: OpSpec, c: Case): number {
    const inputs = spec.inputs(c, new Random(1));
    return Math.min(...ROWS[spec.name]!.flatMap((name) => (inputs[name] ? [inputs[name].shape[0]!] : [])));
  }

  async function compare(spec: OpSpec, c: Case, variant: string): Promise<void> {
    const inputs = spec.inputs(c, new Random(1));
    const most = rowsIn(spec, c);
    const full = await run(spec, c, variant, inputs, most, most);
    for (const rows of new Set([1, most >> 1, most - 1])) {
      const { data, shape } = await run(spec, c, variant, inputs, most, rows);
      const where = `${variant} ${showCase(c)} rows=${rows}`;
      if (shape[0] !== most) continue; // a cache, or one row
      const words = (array: HostTensor['data']) => new Uint32Array(array.buffer, 0, array.byteLength >> 2);
      const count = Math.floor((words(data).length / most) * rows);
      assert.equal(words(data).subarray(0, count), words(full.data).subarray(0, count), where);
      assert.ok(
        words(data)
          .subarray(Math.ceil((words(data).length / most) * rows))
          .every((word) => word === 0x7fc0dead),
        `${where}: rows behind the last are written`,
      );
    }
  }

  async function run(
    spec: OpSpec,
    c: Case,
    variant: string,
    inputs: Record<string, HostTensor>,
    most: number,
    rows: number,
  ): Promise<HostTensor> {
    const graph = new Graph(device, { variants: { [spec.name]: variant } });
    const scalar: Scalar = graph.scalar('rows', most);
    const tensors: Record<string, Tensor & { storage: NonNullable<Tensor['storage']> }> = {};
    for (const [name, host] of Object.entries(inputs)) {
      const varies = ROWS[spec.name]!.includes(name) && host.shape[0] === most;
      tensors[name] = { ...device.upload(host, name), ...(varies && { rows: scalar }) };
    }
    graph.output('result', spec.record(graph, tensors, c));
    const plan = await Plan.create(graph, { guardBytes: 256 });
    const result = await device.download(plan.run({}, { rows }).result!);
    assert.equal(await plan.damage(), []);
    plan.dispose();
    for (const tensor of Object.values(tensors)) device.free(tensor.storage);
    return result;
  }
}
