// tier: gpu
// alone
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type DecodedToken, decode, Phi4Vision } from '../model/index.ts';
import { collectGarbage } from '../runtime/bind_groups.ts';
import { TINY } from './bench.ts';
import { quick, testDevice } from './gpu.ts';
import { randomIds } from './sequences.ts';

const TOKENS = quick ? 400 : 2000;
/** Where memory is read: at quarters of the answer. */
const PARTS = 4;
/** Last tokens of the answer, which take turns with those of another, so many at a time. */
const [RACED, TURN] = quick ? [100, 25] : [200, 25];
/** How much more of the processors the long answer may take than the other. */
const SPREAD = 0.25;

type Steps = AsyncGenerator<DecodedToken>;

const device = await testDevice();
if (quick) console.log(`quick: ${TOKENS} tokens instead of 2000`);
if (device) {
  test(`after ${TOKENS} tokens a token costs what it does behind a prompt as long, and memory stays flat`, async () => {
    const options = { context: TOKENS + 16 };
    const [model, fresh] = [await Phi4Vision.load(device, TINY, options), await Phi4Vision.load(device, TINY, options)];
    const [session, other] = [await model.session(), await fresh.session()];
    await session.prefill(Uint32Array.of(7, 8, 9));
    await other.prefill(randomIds(1, TOKENS - RACED));
    const [long, short] = [decode(session, { steps: TOKENS }), decode(other, { steps: RACED })];
    const resident: number[] = [];
    const heap: number[] = [];
    const inUse: number[] = [];
    const readMemory = async () => {
      await collectGarbage();
      const { rss, heapUsed } = process.memoryUsage();
      resident.push(rss);
      heap.push(heapUsed);
      inUse.push(device.memory.current);
    };
    for (let part = 1; part < PARTS; part++) {
      await costOf(long, TOKENS / PARTS);
      await readMemory();
    }
    await costOf(long, TOKENS / PARTS - RACED);
    await readMemory();
    const [costs, others]: [number[], number[]] = [[], []];
    for (let turn = 0; turn < RACED / TURN; turn++) {
      costs.push(await costOf(long, TURN));
      others.push(await costOf(short, TURN));
    }
    const [got, expected] = [Math.min(...costs), Math.min(...others)];
    console.log(`\nms a token: ${got.toFixed(2)}, ${expected.toFixed(2)}; heap: ${heap.join(', ')}`);
    assert.ok(got <= expected * (1 + SPREAD), `ms a token: expected ${expected}, got ${got}`);
    assert.equal(new Set(inUse).size, 1, `${inUse}`);
    assert.ok(resident.at(-1)! <= resident[0]! * 1.05, `resident ${resident}`);
    assert.ok(heap.at(-1)! <= heap[1]! * 1.02, `heap ${heap}`); // the first still sees code being compiled
    assert.is((await long.next()).done, true);
    model.dispose();
    fresh.dispose();
  });
}

test.run();

/** Milliseconds of a processor for each of the next tokens: other work on the machine makes the wall clock slow. */
async function costOf(steps: Steps, tokens: number): Promise<number> {
  const before = processorMillis();
  for (let i = 0; i < tokens; i++) assert.is((await steps.next()).done, false);
  return (processorMillis() - before) / tokens;
}

function processorMillis(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
