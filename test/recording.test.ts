// tier: any
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { rmsNorm } from '../kernels/index.ts';
import { choose } from '../kernels/policy.ts';
import { CapabilityError, Graph, linearGrid, Plan, UsageError, variant } from '../runtime/index.ts';
import { testDevice } from './gpu.ts';

const device = await testDevice();

const SOURCE = ''; // binds nothing

const WGSL = `struct Params {
  unsigned: u32,
  signed: i32,
  float: f32,
}
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(31) var<uniform> params: Params;

@compute @workgroup_size(1)
fn main() {
  y[0] = f32(params.unsigned);
  y[1] = f32(params.signed);
  y[2] = params.float;
}
`;

test('work of any size, none too, is a grid of integers', () => {
  assert.equal(linearGrid(0), [0, 1]);
  assert.equal(linearGrid(65535), [65535, 1]);
  assert.equal(linearGrid(65536), [32768, 2]);
});

test('a variant runs only where the device has what it needs', () => {
  const binding = (buffers: number) =>
    ({
      name: 'bare',
      features: new Set(),
      leastLanes: 4,
      limits: { maxStorageBuffersPerShaderStage: buffers },
    }) as never;
  const bare = binding(1);
  const [plain, subgroup] = [
    variant({ name: 'op/plain', source: SOURCE }),
    variant({ name: 'op/subgroup', source: SOURCE, needs: ['subgroups'] }),
  ];
  assert.is(choose(new Graph(bare), 'op', '', [subgroup, plain]), plain);
  const forced = (name: string) => () =>
    choose(new Graph(bare, { variants: { op: name } }), 'op', '', [subgroup, plain]);
  const lacking = (error: Error) => error instanceof CapabilityError && /subgroups/.test(error.message);
  assert.throws(forced('op/subgroup'), lacking);
  const buffers = Array.from({ length: 9 }, (_, i) => `@group(0) @binding(${i}) var<storage, read> x${i}: array<f32>;`);
  const wide = variant({ name: 'op/wide', source: buffers.join('\n') });
  const widest = (most: number) => choose(new Graph(binding(most)), 'op', '', [wide, plain]);
  assert.equal([widest(8), widest(9)], [plain, wide]);
  const LACKING =
    /^op: expected a device with 9 storage buffers for op\/wide, got 'bare' with subgroups from 4 lanes, 8 storage buffers$/;
  const alone = () => choose(new Graph(binding(8)), 'op', '', [wide]);
  assert.throws(alone, (e: Error) => e instanceof CapabilityError && LACKING.test(e.message));
  const unknown = 'op: variant: expected one of subgroup, plain, got';
  assert.throws(forced('other'), (e: Error) => e instanceof UsageError && e.message === `${unknown} 'other'`);
});

if (device) {
  test('a tensor that nobody wrote is neither read nor kept', () => {
    const graph = new Graph(device);
    const [x, w] = [graph.temp('x', [2, 8], 'f32'), graph.input('w', [8], 'f32')];
    assert.throws(() => rmsNorm(graph, x, w, 1e-5), /x: expected a tensor that this graph has written .*, got x/);
    assert.throws(() => graph.output('y', x), /output: y: expected a tensor that this graph has written .*, got x/);
  });

  test('reshape keeps the number of elements', () => {
    const graph = new Graph(device);
    const x = graph.input('x', [2, 8], 'f32');
    assert.throws(() => graph.reshape(x, [3, 5]), /reshape: x: expected 16 elements, got \[3, 5\]/);
  });

  test('parameters of every type reach the kernel', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'daybreak-'));
    const path = join(folder, 'params.wgsl');
    writeFileSync(path, WGSL);
    const graph = new Graph(device);
    const y = graph.temp('y', [3], 'f32');
    const params = { unsigned: 2 ** 31, signed: -3, float: 1.5 };
    const own = { name: 'params', source: pathToFileURL(path) };
    graph.dispatch({ kernel: own, read: {}, write: { y }, params, workgroups: [1], cost: { flops: 0, bytes: 0 } });
    graph.output('y', y);
    const plan = await Plan.create(graph);
    const { data } = await device.download(plan.run().y!);
    assert.equal([...data], Object.values(params));
    plan.dispose();
    rmSync(folder, { recursive: true });
  });
}

test.run();
