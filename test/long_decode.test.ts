// tier: gpu
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decode, Phi4Vision } from '../model/index.ts';
import { collectGarbage } from '../runtime/bind_groups.ts';
import { TINY } from './bench.ts';
import { quick, testDevice } from './gpu.ts';

const TOKENS = quick ? 400 : 2000;
/** Stretches of an answer that are compared, by what processors have done: other work on the machine makes the wall clock slow. */
const PARTS = 4;
/**
 * How much more the cost may grow over the later half than over the earlier, where a linear cost grows by as much: caches that are
 * shared with other work make half of that. What grows at all is counted in decode_dispatches.test.ts.
 */
const SPREAD = 1;

const device = await testDevice();
if (quick) console.log(`quick: ${TOKENS} tokens instead of 2000`);
if (device) {
  test(`over ${TOKENS} tokens a token costs what the keys cost more, and memory stays flat`, async () => {
    const model = await Phi4Vision.load(device, TINY, { context: TOKENS + 16 });
    const session = await model.session();
    await session.prefill(Uint32Array.of(7, 8, 9));
    const busy = [processorMillis()];
    let tokens = 0;
    const resident: number[] = [];
    const inUse: number[] = [];
    for await (const _ of decode(session, { steps: TOKENS })) {
      tokens++;
      if (tokens % (TOKENS / PARTS) > 0) continue;
      busy.push(processorMillis());
      await collectGarbage();
      resident.push(process.memoryUsage.rss());
      inUse.push(device.memory.current);
    }
    assert.is(tokens, TOKENS);
    const typical = busy.slice(1).map((millis, i) => (millis - busy[i]!) / (TOKENS / PARTS));
    console.log(`\nms a token: ${typical.map((value) => value.toFixed(2)).join(', ')}`);
    const [first, half, , last] = typical as [number, number, number, number];
    const most = half + 2 * Math.max(half - first, 0) + SPREAD * half;
    assert.ok(last <= most, `expected at most ${most} ms, got ${last}`);
    assert.equal(new Set(inUse).size, 1, `${inUse}`);
    assert.ok(resident.at(-1)! <= resident[0]! * 1.05, `resident ${resident}`);
    session.dispose();
    model.dispose();
  });
}

test.run();

function processorMillis(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
