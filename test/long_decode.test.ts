// tier: gpu
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decode, Phi4Vision } from '../model/index.ts';
import { collectGarbage } from '../runtime/bind_groups.ts';
import { TINY } from './bench.ts';
import { quick, testDevice } from './gpu.ts';

const TOKENS = quick ? 400 : 2000;
/** Stretches of an answer that are compared. */
const PARTS = 4;
/** Tokens that are timed together: they reach the host in turns. */
const RUN = 20;
/** Of these runs, that which is looked at, from the fastest: other work on the machine makes some slow. */
const DECILE = 0.1;
/** How much more the cost may grow over the later half than over the earlier: a linear cost grows by as much. */
const SPREAD = 0.25;

const device = await testDevice();
if (quick) console.log(`quick: ${TOKENS} tokens instead of 2000`);
if (device) {
  test(`over ${TOKENS} tokens a token costs what the keys cost more, and memory stays flat`, async () => {
    const model = await Phi4Vision.load(device, TINY, { context: TOKENS + 16 });
    const session = await model.session();
    await session.prefill(Uint32Array.of(7, 8, 9));
    const times: number[] = [];
    const resident: number[] = [];
    const inUse: number[] = [];
    for await (const { at } of decode(session, { steps: TOKENS })) {
      times.push(at);
      if (times.length % (TOKENS / PARTS) > 0) continue;
      await collectGarbage();
      resident.push(process.memoryUsage.rss());
      inUse.push(device.memory.current);
    }
    assert.is(times.length, TOKENS);
    const millis = times.slice(RUN).map((at, i) => (at - times[i]!) / RUN);
    const part = millis.length / PARTS;
    const typical = Array.from({ length: PARTS }, (_, i) => fast(millis.slice(i * part, (i + 1) * part)));
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

function fast(values: number[]): number {
  return values.sort((a, b) => a - b)[Math.floor(values.length * DECILE)]!;
}
