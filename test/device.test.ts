// tier: gpu
// alone
import { spawnSync } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { attention, kvAppend, layerNorm, rmsNorm, rope } from '../kernels/index.ts';
import { Random } from '../kernels/spec.ts';
import { CapabilityError, DeviceLostError, Graph, openDevice, Plan, ShapeError, WgslError } from '../runtime/index.ts';
import { testDevice } from './gpu.ts';

const device = await testDevice();
if (device) {
  test('uploads and downloads any length of any dtype', async () => {
    const random = new Random(1);
    for (const length of [1, 2, 3, 5, 63, 1000003]) {
      for (const host of [
        random.tensor([length]),
        random.tensor([length], 'bf16'),
        random.integers([length], 2 ** 31),
      ]) {
        const tensor = device.upload(host, 'x');
        const back = await device.download(tensor);
        device.free(tensor.storage);
        assert.is(back.dtype, host.dtype);
        assert.is(
          Buffer.compare(Buffer.from(back.data.buffer), Buffer.from(host.data.buffer, 0, host.data.byteLength)),
          0,
        );
      }
    }
  });

  test('no rows are no work, and a result in memory of its own has no guard', async () => {
    const w = device.upload(new Random(1).tensor([8]), 'w');
    for (const rows of [0, 3]) {
      const graph = new Graph(device);
      const own = device.tensor('own', [rows, 8], 'f32');
      const x = graph.input('x', [rows, 8], 'f32');
      graph.output('y', layerNorm(graph, x, w, w, 1e-5), own.storage);
      const plan = await Plan.create(graph, { guardBytes: 256 });
      plan.run({ x: new Random(2).tensor([rows, 8]) });
      assert.is((await device.download(own)).data.length, 8 * rows);
      assert.equal(await plan.damage(), []);
      plan.dispose();
      device.free(own.storage);
    }
    device.free(w.storage);
  });

  test('a result has one memory, and there are heads', () => {
    const graph = new Graph(device);
    const [first, second] = [device.alloc(64, 'first'), device.alloc(64, 'second')];
    const x = graph.input('x', [2, 8], 'f32');
    graph.output('y', x, first);
    graph.output('same', graph.reshape(x, [4, 4]), first);
    assert.throws(
      () => graph.output('z', graph.reshape(x, [4, 4]), second),
      /output: z: expected a tensor without memory/,
    );
    const pool = graph.temp('pool', [1, 0, 128, 8], 'f32');
    const [places, tables] = [graph.input('places', [2, 2], 'u32'), graph.input('tables', [1, 1], 'u32')];
    assert.throws(() => kvAppend(graph, x, 0, x, 0, { places, tables }, { k: pool, v: pool }), /kvHeads > 0/);
    const view = { tensor: x, offset: 0, headStride: 8, rowStride: 8 };
    const views = { q: view, k: view, v: view, kv: { spans: places, len: 2 } };
    assert.throws(() => attention(graph, { ...views, heads: 0, kvHeads: 1, headDim: 8 }), /heads: expected a positive/);
    assert.throws(() => rope(graph, x, x, places, { heads: 0, headDim: 8 }), /heads: expected at least 1, got 0/);
    for (const storage of [first, second]) device.free(storage);
  });

  test('a view of a view is the tensor itself, in its own plan and as the result that another plan reads', async () => {
    const random = new Random(3);
    const w = device.upload(random.tensor([8]), 'w');
    const first = new Graph(device);
    const y = rmsNorm(first, first.input('x', [2, 8], 'f32'), w, 1e-5);
    first.output('y', first.reshape(first.reshape(y, [16]), [4, 4]));
    const plan = await Plan.create(first);
    assert.is(plan.memory.slots, 0);
    const { data, shape } = await device.download(plan.run({ x: random.tensor([2, 8]) }).y!);
    assert.equal(shape, [4, 4]);
    assert.ok(data.every((value) => value !== 0));
    const second = new Graph(device);
    second.output('z', rmsNorm(second, second.reshape(plan.outputs.y!, [2, 8]), w, 1e-5));
    const reader = await Plan.create(second);
    assert.is(reader.memory.slots, 0);
    for (const made of [plan, reader]) made.dispose();
    device.free(w.storage);
  });

  test('counts bytes in use and at most', () => {
    const before = device.memory.current;
    const storage = device.alloc(1000, 'x');
    assert.is(device.memory.current, before + 1008);
    device.free(storage);
    assert.is(device.memory.current, before);
    assert.ok(device.memory.peak >= before + 1008);
  });

  test('refuses a buffer past the limit by name', () => {
    const tooLarge = device.limits.maxBufferSize + 1;
    assert.throws(
      () => device.alloc(tooLarge, 'weights'),
      (error: Error) => error instanceof CapabilityError && /weights/.test(error.message),
    );
  });

  test('plans run again and again, keep taps, and reuse memory', async () => {
    const random = new Random(2);
    const w = device.upload(random.tensor([64]), 'w');
    const graph = new Graph(device, { taps: () => true });
    let x = graph.input('x', [3, 64], 'f32');
    for (let i = 0; i < 6; i++)
      x = graph.scope(`layers.${i}`, () => graph.tap(`layers.${i}`, rmsNorm(graph, x, w, 1e-5)));
    graph.output('y', x);
    const plan = await Plan.create(graph);
    const host = random.tensor([3, 64]);
    const first = await device.download(plan.run({ x: host }).y!);
    const second = await device.download(plan.run({ x: host }).y!);
    assert.equal(first.data, second.data);
    assert.equal((await device.download(plan.taps['layers.5']!)).data, first.data);
    assert.not.equal((await device.download(plan.taps['layers.0']!)).data, first.data);
    assert.is(plan.memory.slots, 2);
    assert.match(plan.describe(), /layers\.3 rms_norm\/rms_norm\w* 3x1 x=f32\[3, 64\]/);
    assert.throws(() => plan.run(), /input x: expected f32 \[3, 64\], got nothing/);
    plan.dispose();
  });

  test('errors name the op, the scope and both sides', () => {
    const graph = new Graph(device);
    const x = graph.temp('x', [2, 8], 'f32');
    const w = graph.temp('w', [9], 'f32');
    const record = () => graph.scope('layers.3', () => graph.scope('attn', () => rmsNorm(graph, x, w, 1e-5)));
    assert.throws(
      record,
      (error: Error) =>
        error instanceof ShapeError && error.message === '[layers.3.attn] rms_norm: w: expected [8], got [9]',
    );
    const kernel = { name: 'rms_norm/rms_norm', source: new URL('../kernels/rms_norm/rms_norm.wgsl', import.meta.url) };
    const call = { kernel, read: { x }, write: { y: x }, workgroups: [1] as const, cost: { flops: 0, bytes: 0 } };
    assert.throws(
      () => graph.dispatch(call),
      (error: Error) => error instanceof WgslError && /read tensors: expected w, x, got x/.test(error.message),
    );
  });

  if (!device.features.has('shader-f16')) {
    test('f16 is refused by name where the adapter has none', () => {
      const graph = new Graph(device);
      const x = graph.input('x', [2, 8], 'f32');
      const w = graph.input('w', [8], 'f32');
      const record = () => rmsNorm(graph, x, w, 1e-5, { as: 'f16' });
      assert.throws(record, (error: Error) => error instanceof CapabilityError && /shader-f16/.test(error.message));
    });
  }

  test('plans made one after another leave nothing behind, and too many at once are refused', () => {
    const fixture = new URL('./fixtures/many_plans.ts', import.meta.url).pathname;
    const child = [...process.execArgv, fixture, '75'];
    const { status, stdout, stderr } = spawnSync(process.execPath, child, { encoding: 'utf8' });
    assert.is(status, 0, stderr);
    const held = device.onCpu ? /held 49: OutOfMemoryError: device: plan: expected at most 49152/ : /held 100: /;
    assert.match(stdout, held);
    assert.match(stdout, /^disposed\n.*\nagain\n$/);
  });

  if (device.onCpu) {
    test('waiting leaves the processor to the adapter: the event loop turns at most ten times a millisecond', async () => {
      const w = device.upload(new Random(1).tensor([4096]), 'w');
      const graph = new Graph(device);
      let x = graph.input('x', [1024, 4096], 'f32');
      for (let i = 0; i < 20; i++) x = rmsNorm(graph, x, w, 1e-5);
      graph.output('y', x);
      const plan = await Plan.create(graph);
      const host = new Random(2).tensor([1024, 4096]);
      for (const wait of [() => device.idle(), () => device.download(plan.outputs.y!)]) {
        plan.run({ x: host });
        let waiting = true;
        let turns = 0;
        const count = () => {
          turns++;
          if (waiting) setImmediate(count);
        };
        count();
        const start = performance.now();
        await wait();
        waiting = false;
        const millis = performance.now() - start;
        assert.ok(millis > 10, `expected a wait worth measuring, got ${millis} ms`);
        assert.ok(turns <= millis * 10 + 10, `${turns} turns in ${millis} ms`);
      }
      plan.dispose();
      device.free(w.storage);
    });
  }

  test('a device that is gone says so', async () => {
    const gone = await openDevice();
    const tensor = gone.tensor('x', [4], 'f32');
    gone.dispose();
    await gone.gpu.lost;
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.throws(
      () => gone.alloc(4, 'y'),
      (error: Error) => error instanceof DeviceLostError,
    );
    try {
      await gone.download(tensor);
      assert.unreachable();
    } catch (error) {
      assert.instance(error, DeviceLostError);
    }
  });

  test('opening and closing 20 devices under garbage collection does not crash', () => {
    const child = ['--expose-gc', ...process.execArgv, new URL('./fixtures/open_close.ts', import.meta.url).pathname];
    const { status, stdout, stderr } = spawnSync(process.execPath, child, { encoding: 'utf8' });
    assert.is(status, 0, stderr);
    assert.match(stdout, /20 devices/);
  });
}

test.run();
