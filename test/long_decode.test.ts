// tier: gpu
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decode, Phi4Vision } from '../model/index.ts';
import { collectGarbage } from '../runtime/bind_groups.ts';
import { TINY } from './bench.ts';
import { quick, testDevice } from './gpu.ts';

const TOKENS = quick ? 400 : 2000;
/** How often the work of the processors is read, which other work on the machine slows less than the wall clock, and least at the best of times. */
const EVERY = quick ? 25 : 50;
/** Tokens after which kernels, code and caches are warm. */
const WARM = 100;
/** Stretches of an answer that are compared, each by its cheapest tokens. */
const PARTS = 4;
/** How much more the cost may grow over the later half than over the earlier, where a linear cost grows by as much. */
const SPREAD = 0.25;

const device = await testDevice();
if (quick) console.log(`quick: ${TOKENS} tokens instead of 2000`);
if (device) {
  test(`over ${TOKENS} tokens a token costs what the keys cost more, and memory stays flat`, async () => {
    const model = await Phi4Vision.load(device, TINY, { context: TOKENS + 16 });
    const session = await model.session();
    await session.prefill(Uint32Array.of(7, 8, 9));
    const costs: number[] = [];
    let before = processorMillis();
    let tokens = 0;
    const resident: number[] = [];
    const heap: number[] = [];
    const inUse: number[] = [];
    for await (const _ of decode(session, { steps: TOKENS })) {
      tokens++;
      if (tokens % EVERY > 0) continue;
      if (tokens > WARM) costs.push((processorMillis() - before) / EVERY);
      if (tokens % (TOKENS / PARTS) === 0) {
        await collectGarbage();
        const { rss, heapUsed } = process.memoryUsage();
        resident.push(rss);
        heap.push(heapUsed);
        inUse.push(device.memory.current);
      }
      before = processorMillis();
    }
    assert.is(tokens, TOKENS);
    const from = (part: number) => Math.floor((part * costs.length) / PARTS);
    const least = Array.from({ length: PARTS }, (_, i) => Math.min(...costs.slice(from(i), from(i + 1))));
    console.log(`\nms a token: ${least.map((value) => value.toFixed(2)).join(', ')}; heap: ${heap.join(', ')}`);
    const [first, half, , last] = least as [number, number, number, number];
    const most = half + 2 * Math.max(half - first, 0) + SPREAD * half;
    assert.ok(last <= most, `expected at most ${most} ms, got ${last}`);
    assert.equal(new Set(inUse).size, 1, `${inUse}`);
    assert.ok(resident.at(-1)! <= resident[0]! * 1.05, `resident ${resident}`);
    assert.ok(heap.at(-1)! <= heap[0]! * 1.02, `heap ${heap}`);
    session.dispose();
    model.dispose();
  });
}

test.run();

function processorMillis(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
