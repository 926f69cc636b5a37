// tier: any
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { traced } from '../bench/trace.ts';
import { layerNorm, rmsNorm } from '../kernels/index.ts';
import { Random } from '../kernels/spec.ts';
import { Graph, gpuClock, Plan, Timeline } from '../runtime/index.ts';
import { testDevice } from './gpu.ts';

const device = await testDevice();
if (device?.features.has('timestamp-query')) {
  const w = device.upload(new Random(1).tensor([64]), 'w');
  const input = new Random(2).tensor([300, 64]);

  /** Two dispatches in scopes, with a tap between them. */
  async function twoSteps(): Promise<Plan> {
    const g = new Graph(device!, { taps: () => true });
    const x = g.input('x', [300, 64], 'f32');
    const normed = g.scope('first', () => g.tap('middle', rmsNorm(g, x, w, 1e-5)));
    g.output(
      'y',
      g.scope('second', () => layerNorm(g, normed, w, w, 1e-5)),
    );
    return Plan.create(g);
  }

  test('a recording changes no result and has every dispatch, upload, submit and wait', async () => {
    const plan = await twoSteps();
    const plain = await device.download(plan.run({ x: input }).y!);
    const { result, rows, spans } = await Timeline.record(device, () => device.download(plan.run({ x: input }).y!));
    assert.equal(result.data, plain.data);
    assert.equal(
      rows.map(({ scope, kernel }) => [scope, kernel.split('/')[0]]),
      [
        ['first', 'rms_norm'],
        ['second', 'layer_norm'],
      ],
    );
    assert.ok(rows.every(({ micros, flops, bytes }) => micros > 0 && flops > 0 && bytes > 0));
    assert.ok(rows[1]!.start >= rows[0]!.start + rows[0]!.micros);
    assert.equal(
      spans.map(({ name }) => name),
      ['upload', 'encode', 'submit', 'submit', 'read back'],
    );
    assert.is(spans[0]!.bytes, 300 * 64 * 4);
    assert.ok(spans.every(({ micros }) => micros >= 0));
    plan.dispose();
  });

  test('recordings nest, end when the body throws, and leave no memory behind', async () => {
    const plan = await twoSteps();
    const before = device.memory.current;
    const { rows } = await Timeline.record(device, async () => {
      plan.run({ x: input });
      assert.is((await plan.profile({ x: input })).length, 2);
    });
    assert.is(rows.length, 4);
    const failing = Timeline.record(device, () => {
      plan.run({ x: input });
      throw new Error('told');
    });
    assert.is(await failing.catch(({ message }) => message), 'told');
    assert.is(device.timeline, undefined);
    assert.is(device.memory.current, before);
    plan.dispose();
  });

  test('GPU times land on the host clock between submit and done', async () => {
    const plan = await twoSteps();
    await plan.profile({ x: input });
    const { rows, spans } = await Timeline.record(device, async () => {
      plan.run({ x: input });
      await device.idle();
    });
    const { offset, uncertainty } = await gpuClock(device);
    const submit = spans.find(({ name }) => name === 'submit')!;
    const idle = spans.find(({ name }) => name === 'idle')!;
    for (const { start, micros } of rows) {
      assert.ok(start + offset >= submit.start - uncertainty, 'began after the submit');
      assert.ok(start + micros + offset <= idle.start + idle.micros + uncertainty, 'ended before it was done');
    }
    plan.dispose();
  });

  test('a trace file holds both tracks and says how well their clocks agree', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'daybreak-trace-'));
    try {
      const plan = await twoSteps();
      const file = join(dir, 'trace.json');
      await traced(device, file, () => device.download(plan.run({ x: input }).y!));
      const { traceEvents, metadata } = JSON.parse(readFileSync(file, 'utf8'));
      const complete = traceEvents.filter(({ ph }: { ph: string }) => ph === 'X');
      const kernels = complete.filter(({ args }: { args: { scope?: string } }) => args.scope);
      assert.equal(
        kernels.map(({ args }: { args: { scope: string } }) => args.scope),
        ['first', 'second'],
      );
      assert.ok(complete.every(({ ts, dur }: { ts: number; dur: number }) => ts > 0 && dur >= 0));
      const begins = traceEvents.filter(({ ph }: { ph: string }) => ph === 'b').length;
      assert.is(begins, traceEvents.filter(({ ph }: { ph: string }) => ph === 'e').length);
      assert.ok(begins > 0 && metadata.clockUncertaintyMicros > 0 && metadata.adapter === device.name);
      plan.dispose();
      const unwritable = traced(device, '/no_such_folder/trace.json', async () => assert.unreachable());
      assert.match(await unwritable.catch(({ message }) => message), /--trace: expected a file that can be written/);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
}

test.run();
