// tier: any
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Graph, Plan, ShapeError } from '../runtime/index.ts';
import { testDevice } from './gpu.ts';

const device = await testDevice();

/** Arrays that are not two f32, each with how it is named. */
const WRONG = [
  [new Uint32Array(2), 'Uint32Array of 2'],
  [new Float32Array(1), 'Float32Array of 1'],
  [new Float32Array(3), 'Float32Array of 3'],
] as const;

function refuses(body: () => unknown, got: string): void {
  assert.throws(body, (error: Error) => {
    return (
      error instanceof ShapeError &&
      error.message.includes(`expected Float32Array of 2 elements for f32 [2], got ${got}`)
    );
  });
}

if (device) {
  test('an upload is of the class and length that dtype and shape say', () => {
    const before = device.memory.current;
    for (const [data, got] of WRONG) refuses(() => device.upload({ shape: [2], dtype: 'f32', data }, 'x'), got);
    assert.is(device.memory.current, before);
  });

  test('so is an input', async () => {
    const graph = new Graph(device);
    graph.output('y', graph.input('x', [2], 'f32'));
    const plan = await Plan.create(graph);
    for (const [data, got] of WRONG) refuses(() => plan.run({ x: { shape: [2], dtype: 'f32', data } }), got);
    plan.run({ x: { shape: [2], dtype: 'f32', data: new Float32Array(2) } });
    plan.dispose();
  });
}

test.run();
