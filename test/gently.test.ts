// tier: host
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { gently } from '../runtime/gently.ts';

/** Turns of the event loop while promises that take so many milliseconds each are waited for, one behind the other; and all that it took. */
async function waits(...millis: number[]): Promise<{ turns: number; took: number }> {
  let turns = 0;
  let over = false;
  const count = () => {
    turns++;
    if (!over) setImmediate(count);
  };
  setImmediate(count);
  const start = performance.now();
  for (const each of millis) await gently(new Promise((resolve) => setTimeout(resolve, each)));
  over = true;
  return { turns, took: performance.now() - start };
}

test('a long wait polls a hundred times, not at every turn, and is hardly longer', async () => {
  const { turns, took } = await waits(150);
  assert.ok(turns >= 10 && turns <= 150, `${turns} turns`);
  assert.ok(took < 400, `${took} ms`);
});

test('each wait begins with short naps', async () => {
  const { turns } = await waits(...Array<number>(20).fill(4));
  assert.ok(turns >= 20 * 8, `${turns} turns in 20 waits`);
});

test('nothing naps when nothing is waited for', async () => {
  await waits(5);
  await new Promise((resolve) => setTimeout(resolve, 5));
  const start = performance.now();
  for (let turn = 0; turn < 2000; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(performance.now() - start < 150, `${performance.now() - start} ms for 2000 turns`);
});

test.run();
