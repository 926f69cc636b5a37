// tier: any
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../kernels/spec.ts';
import {
  CapabilityError,
  DaybreakError,
  type Device,
  DeviceLostError,
  type Dispatch,
  type DType,
  Graph,
  type Kernel,
  OutOfMemoryError,
  openDevice,
  Plan,
  ShapeError,
  type Tensor,
  WgslError,
} from '../runtime/index.ts';
import { PipelineCache } from '../runtime/pipeline.ts';
import { testDevice } from './gpu.ts';
import { rejection } from './rejects.ts';

const folder = mkdtempSync(join(tmpdir(), 'daybreak-refusals-'));
test.after(() => rmSync(folder, { recursive: true }));

/** A kernel of a file in the temporary folder. */
function kernelOf(name: string, source: string): Kernel {
  const file = join(folder, `${name}.wgsl`);
  writeFileSync(file, source);
  return { name: `test/${name}`, source: pathToFileURL(file) };
}

const FILL = kernelOf(
  'fill',
  `struct Params {
  count: u32,
  shift: i32,
  value: f32,
}
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(31) var<uniform> params: Params;
@compute @workgroup_size(1)
fn main() {
  y[0] = x[0] + params.value + f32(params.count) + f32(params.shift);
}
`,
);

/** A graph with one call of FILL, with some of it replaced. */
function record(device: Device, change: (x: Tensor, y: Tensor) => Partial<Dispatch>): Graph {
  const graph = new Graph(device);
  const [x, y] = [graph.input('x', [4], 'f32'), graph.temp('y', [4], 'f32')];
  graph.dispatch({
    kernel: FILL,
    read: { x },
    write: { y },
    params: { count: 1, shift: -1, value: 0.5 },
    workgroups: [1],
    cost: { flops: 0, bytes: 0 },
    ...change(x, y),
  });
  graph.output('y', y);
  return graph;
}

const device = await testDevice();
if (device) {
  test('parameters are refused as they are recorded where their type cannot hold them', async () => {
    const wrong = [
      { count: -1 },
      { count: 1.5 },
      { count: Number.NaN },
      { count: 2 ** 32 },
      { shift: 0.5 },
      { shift: 2 ** 31 },
      { shift: Number.NaN },
      { value: Number.NaN },
      { value: 1e39 },
    ];
    for (const change of wrong) {
      const [[name, value]] = Object.entries(change) as [[string, number]];
      const params = { count: 1, shift: -1, value: 0.5, ...change };
      const expected = new RegExp(
        `test/fill: parameter ${name}: expected .*(u32|i32|f32).*, got ${value}`.replace('+', '\\+'),
      );
      assert.throws(
        () => record(device, () => ({ params })),
        (error: Error) => error instanceof WgslError && expected.test(error.message),
        `${name} of ${value}`,
      );
    }
    const params = { count: 2 ** 32 - 1, shift: -(2 ** 31), value: 0.25 };
    const plan = await Plan.create(record(device, () => ({ params })));
    const x = { shape: [4], dtype: 'f32', data: new Float32Array(4) } as const;
    const { data } = await device.download(plan.run({ x }).y!);
    assert.is(data[0], 2 ** 31);
    plan.dispose();
  });

  test('a grid is made of integers that the device allows, and computes something where there is something', () => {
    const most = device.limits.maxComputeWorkgroupsPerDimension;
    for (const workgroups of [[0], [1, 0], [1.5], [-1], [Number.NaN], [most + 1], [1, 1, most + 1]] as const) {
      assert.throws(
        () => record(device, () => ({ workgroups: workgroups as unknown as Dispatch['workgroups'] })),
        (error: Error) =>
          error instanceof CapabilityError &&
          error.message.includes(`workgroups: expected integers from 1 to ${most}, got ${workgroups.join(' x ')};`),
      );
    }
    record(device, () => ({ workgroups: [most, 1, 1] }));
  });

  test('dtypes and shapes that there are not are refused by name', () => {
    const graph = new Graph(device);
    const made = [
      (shape: number[], dtype: DType) => graph.input('a', shape, dtype),
      (shape: number[], dtype: DType) => graph.temp('a', shape, dtype),
      (shape: number[], dtype: DType) => device.tensor('a', shape, dtype),
      (shape: number[], dtype: DType) => device.upload({ shape, dtype, data: new Float32Array(4) }, 'a'),
    ];
    const { current } = device.memory;
    for (const make of made) {
      for (const dtype of ['f64', 'toString', undefined]) {
        assert.throws(
          () => make([4], dtype as DType),
          (error: Error) =>
            error instanceof ShapeError &&
            error.message.includes(`a: dtype: expected one of f32, f16, bf16, i8, i32, u32, got '${dtype}'`),
        );
      }
      for (const size of [-4, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
        assert.throws(
          () => make([1, size], 'f32'),
          (error: Error) => error instanceof ShapeError && error.message.includes(`got [1, ${size}]`),
        );
      }
    }
    assert.is(device.memory.current, current);
    const x = graph.input('x', [2, 4], 'f32');
    assert.throws(() => graph.reshape(x, [-2, -4]), /reshape: x: shape: expected sizes that .*, got \[-2, -4\]/);
  });

  test('one memory is not read and written by one call', async () => {
    const same =
      /test\/fill: x: expected memory that this call does not write, got that of y \('.*'\); write to another/;
    assert.throws(() => record(device, (x) => ({ write: { y: x } })), same);
    const stored = device.tensor('stored', [4], 'f32');
    const view = new Graph(device).reshape(stored, [2, 2]);
    assert.throws(() => record(device, () => ({ read: { x: stored }, write: { y: view } })), same);
    const graph = record(device, () => ({ read: { x: stored } }));
    graph.output('z', graph.outputs.get('y')!.tensor, stored.storage);
    assert.match((await rejection(Plan.create(graph))).message, same);
    device.free(stored.storage);
  });

  test('memory of another device, or freed, is refused where it is first used', async () => {
    const other = await openDevice();
    const foreign = other.upload(new Random(1).tensor([4]), 'foreign');
    const freed = device.upload(new Random(1).tensor([4]), 'freed');
    device.free(freed.storage);
    for (const tensor of [foreign, freed]) {
      const refused = new RegExp(`expected memory in use on this device .*, got '${tensor.name}', which is freed or`);
      assert.throws(() => record(device, () => ({ read: { x: tensor } })), refused);
      assert.throws(() => record(device, () => ({ write: { y: tensor } })), refused);
      assert.throws(() => new Graph(device).output('y', tensor), refused);
      const graph = record(device, () => ({}));
      assert.throws(() => graph.output('z', graph.outputs.get('y')!.tensor, tensor.storage), refused);
      assert.throws(() => device.write(tensor.storage, new Float32Array(4)), refused);
      assert.match((await rejection(device.download(tensor))).message, refused);
    }
    const late = device.upload(new Random(1).tensor([4]), 'late');
    const graph = record(device, () => ({ read: { x: late } }));
    const plan = await Plan.create(graph);
    device.free(late.storage);
    const x = new Random(1).tensor([4]);
    assert.throws(() => plan.run({ x }), /run: expected memory in use.*got 'late'/);
    assert.match((await rejection(Plan.create(graph))).message, /expected memory in use.*got 'late'/);
    plan.dispose();
    other.dispose();
  });

  test('a plan that was disposed says so', async () => {
    const plan = await Plan.create(record(device, () => ({})));
    const { y } = plan.outputs;
    plan.dispose();
    plan.dispose();
    const gone = /: plan: expected one that is in use, got one that was disposed; create it again/;
    const x = new Random(1).tensor([4]);
    assert.throws(() => plan.run({ x }), gone);
    assert.throws(() => plan.setInputs({ x }), gone);
    const encoder = device.gpu.createCommandEncoder();
    assert.throws(() => plan.encode(encoder), gone);
    assert.match((await rejection(plan.damage())).message, gone);
    if (device.features.has('timestamp-query')) assert.match((await rejection(plan.profile({ x }))).message, gone);
    assert.match((await rejection(device.download(y!))).message, /download: y: expected memory in use on this device/);
  });

  test('a device that was disposed says so at once', async () => {
    const gone = await openDevice();
    const tensor = gone.tensor('x', [4], 'f32');
    const plan = await Plan.create(record(gone, () => ({})));
    gone.dispose();
    gone.dispose();
    const refused = (error: Error) =>
      error instanceof DeviceLostError && /to be usable, got one that was disposed; open it again/.test(error.message);
    assert.throws(() => gone.alloc(4, 'y'), refused);
    assert.throws(() => gone.upload(new Random(1).tensor([4]), 'y'), refused);
    assert.throws(() => gone.write(tensor.storage, new Float32Array(4)), refused);
    assert.throws(() => plan.run({ x: new Random(1).tensor([4]) }), refused);
    for (const late of [
      gone.download(tensor),
      gone.idle(),
      gone.pipeline(FILL, {}),
      Plan.create(record(gone, () => ({}))),
    ]) {
      assert.ok(refused(await rejection(late)));
    }
  });

  test('a kernel that binds too much is refused itself, and the next call is not blamed', async () => {
    const count = device.limits.maxStorageBuffersPerShaderStage + 1;
    const names = Array.from({ length: count - 1 }, (_, i) => `x${i}`);
    const bindings = names.map((name, i) => `@group(0) @binding(${i}) var<storage, read> ${name}: array<f32>;`);
    const kernel = kernelOf(
      'greedy',
      `struct Params {
  count: u32,
}
${bindings.join('\n')}
@group(0) @binding(${count - 1}) var<storage, read_write> y: array<f32>;
@group(0) @binding(31) var<uniform> params: Params;
@compute @workgroup_size(1)
fn main() {
  y[0] = ${names.map((name) => `${name}[0]`).join(' + ')} + f32(params.count);
}
`,
    );
    const error = await rejection(device.pipeline(kernel, {}));
    assert.instance(error, CapabilityError);
    assert.match(error.message, `test/greedy.wgsl: bindings: expected at most ${count - 1} that the adapter takes`);
    assert.match(error.message, new RegExp(`got ${count}: .*storage buffers`));
    device.free(device.alloc(16, 'unrelated'));
  });

  test('data in shared memory is uploaded like any other', async () => {
    for (const adapter of [device.name, 'null']) {
      const fixture = new URL('./fixtures/upload_shared.ts', import.meta.url).pathname;
      const child = [...process.execArgv, fixture, adapter];
      const { status, stdout, stderr } = spawnSync(process.execPath, child, { encoding: 'utf8' });
      assert.is(status, 0, `${adapter}: ${stderr}`);
      assert.match(stdout, adapter === 'null' ? 'uploaded' : 'uploaded 0,1,2,3,4,5,6 and 0,9,9,3,4,5,6');
    }
  });

  test('a compilation that failed is tried anew, and memory that ran out is not blamed on the kernel', async () => {
    const failures = [
      'vkCreateComputePipelines failed with VK_ERROR_OUT_OF_DEVICE_MEMORY',
      'Out of memory',
      'E_OUTOFMEMORY',
      'Entry point is missing',
    ];
    const none = Promise.resolve(null);
    const gpu = {
      pushErrorScope: () => {},
      popErrorScope: () => none,
      createBindGroupLayout: () => ({}),
      createPipelineLayout: () => ({}),
      createShaderModule: () => ({}),
      createComputePipelineAsync: async () => {
        const message = failures.shift();
        if (message) throw new Error(message);
        return {};
      },
    } as unknown as GPUDevice;
    const cache = new PipelineCache(gpu, () => ({}) as GPUBindGroup);
    for (const kind of [OutOfMemoryError, OutOfMemoryError, OutOfMemoryError, WgslError]) {
      const error = await rejection(cache.get(FILL, {}));
      assert.instance(error, kind);
      assert.instance(error, DaybreakError);
    }
    const pipeline = await cache.get(FILL, {});
    assert.is(await cache.get(FILL, {}), pipeline);
  });
}

test.run();
