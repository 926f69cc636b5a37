// tier: any
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { PAGE } from '../kernels/index.ts';
import { decode, type LoadOptions, Phi4Vision } from '../model/index.ts';
import { CapabilityError, type Device, OutOfMemoryError, UsageError } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { testDevice } from './gpu.ts';
import { rejection } from './rejects.ts';

const device = await testDevice();
if (device) tests(device, await Phi4Vision.load(device, TINY));

test.run();

function tests(device: Device, whole: Phi4Vision): void {
  const { layers, kvHeads, headDim } = whole.config.decoder;
  const page = 2 * layers * kvHeads * PAGE * headDim * 4;
  const limit = whole.config.contextLimit;

  test('the pool has as many pages as its bytes hold, of which one sequence has its context', async () => {
    const { capacity, pool } = await engineOf({ context: 200, cacheBytes: 5 * page + 7 });
    assert.equal([capacity, pool.pages], [200, 5]);
    const small = await engineOf({ cacheBytes: 3 * page });
    assert.equal([small.capacity, small.pool.pages], [3 * PAGE, 3]);
    const plain = await engineOf({ context: 300 });
    assert.equal([plain.capacity, plain.pool.pages], [300, 3]);
    if (!device.features.has('shader-f16')) return;
    const half = await engineOf({ cacheBytes: 3 * page, dtype: 'f16' });
    assert.is(half.pool.pages, 6);
  });

  test('sequences whose context is shorter than the pool share it', async () => {
    const model = await Phi4Vision.load(device, TINY, { context: 2 * PAGE, cacheBytes: 5 * page, reuse: false });
    const ids = Uint32Array.from({ length: PAGE + 9 }, (_, i) => (i * 7) % 500);
    const sessions = await Promise.all([0, 1, 2].map(() => model.session()));
    for (const session of sessions.slice(0, 2)) await session.prefill(ids);
    const tokens = [];
    for (const session of sessions.slice(0, 2)) {
      const own = [];
      for await (const { token } of decode(session, { steps: 6 })) own.push(token);
      tokens.push(own);
    }
    assert.equal(tokens[0], tokens[1]);
    const error = await rejection(sessions[2]!.prefill(ids));
    assert.instance(error, OutOfMemoryError);
    assert.match(error.message, /expected 2 free pages of 128 positions, got 1 of 5/);
    model.dispose();
  });

  test('by default it has the positions of the configuration, or what the device has room for', async () => {
    assert.equal([whole.engine.capacity, whole.engine.pool.pages], [limit, limit / PAGE]);
    const free = await withDevice({ available: 2 * 9 * page + 5 }, () => engineOf({}));
    assert.equal([free.capacity, free.pool.pages], [9 * PAGE, 9]);
    const { limits } = device;
    const maxStorageBufferBindingSize = (7.5 * page) / (2 * layers);
    const bound = await withDevice({ limits: { ...copyOf(limits), maxStorageBufferBindingSize } }, () => engineOf({}));
    assert.equal([bound.capacity, bound.pool.pages], [7 * PAGE, 7]);
  });

  test('what is asked for and does not fit is an error, and so is what makes no page', async () => {
    const model = await Phi4Vision.load(device, TINY, { context: limit });
    const much = await withDevice({ available: 5 * page }, () => rejection(model.session()));
    model.dispose();
    assert.instance(much, OutOfMemoryError);
    assert.match(much.message, new RegExp(`kv_pool for ${limit} positions: expected at most ${5 * page} bytes free`));
    const limits = { ...copyOf(device.limits), maxStorageBufferBindingSize: page };
    assert.instance(await withDevice({ limits }, () => rejection(engineOf({ context: limit }))), CapabilityError);
    for (const [options, name] of [
      [{ cacheBytes: page - 1 }, 'cacheBytes'],
      [{ cacheBytes: Number.NaN }, 'cacheBytes'],
      [{ context: 0 }, 'context'],
      [{ context: 10.5 }, 'context'],
      [{ chunkRows: 0 }, 'chunkRows'],
      [{ pictureRows: -1 }, 'pictureRows'],
    ] as const) {
      const error = await rejection(engineOf(options));
      assert.instance(error, UsageError);
      assert.match(error.message, new RegExp(`^model: ${name}: expected an integer from \\d+ on, got`));
    }
  });

  /** The engine of a model with these options, which is gone again. */
  async function engineOf(options: LoadOptions) {
    const model = await Phi4Vision.load(device, TINY, options);
    try {
      const { capacity, pool } = model.engine;
      return { capacity, pool };
    } finally {
      model.dispose();
    }
  }

  /** What a body gives while the device has other properties. */
  async function withDevice<T>(
    properties: { available?: number; limits?: object },
    body: () => Promise<T>,
  ): Promise<T> {
    const { limits } = device;
    for (const [name, value] of Object.entries(properties)) define(name, value);
    try {
      return await body();
    } finally {
      Reflect.deleteProperty(device, 'available'); // the class has it
      define('limits', limits);
    }
  }

  function define(name: string, value: unknown): void {
    Object.defineProperty(device, name, { value, configurable: true, writable: true });
  }
}

/** Limits as an object of their own: those of a device are getters. */
function copyOf(limits: GPUSupportedLimits): Record<string, number> {
  const copy: Record<string, number> = {};
  for (const name in limits) copy[name] = limits[name as keyof GPUSupportedLimits] as number;
  return copy;
}
