// tier: any
// alone
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../kernels/spec.ts';
import { decode, openSynthetic, Phi4Vision, SyntheticSource } from '../model/index.ts';
import { collectGarbage } from '../runtime/bind_groups.ts';
import { TINY } from './bench.ts';
import { quick, testDevice } from './gpu.ts';

const slow = process.env.DAYBREAK_SLOW === '1';
const SESSIONS = slow ? 1000 : 150;
const LAYERS = quick ? 4 : 40;
/** From here on memory stays as it is, within this share. */
const [SETTLED, SHARE] = [100, 0.03];

const device = await testDevice();
if (device) {
  test(`${SESSIONS} sessions of a model of ${LAYERS} layers: memory and its maps stay flat`, async () => {
    const { config } = openSynthetic(TINY, 'bf16', 1);
    const deep = { ...config, decoder: { ...config.decoder, layers: LAYERS } };
    const model = await Phi4Vision.fromSource(device, deep, new SyntheticSource(deep, 1), { context: 1024 });
    const maps = () => readFileSync('/proc/self/maps', 'utf8').split('\n').length;
    const seen: { resident: number; maps: number; inUse: number }[] = [];
    for (let i = 0; i < SESSIONS; i++) {
      const session = await model.session();
      await session.prefill(new Random(i + 1).integers([8 + (i % 60)], 500).data as Uint32Array);
      for await (const _ of decode(session, { steps: 4 }));
      session.dispose();
      if (i === SETTLED - 1 || i === SESSIONS - 1) await collectGarbage(); // else what shows is how long it is put off
      seen.push({ resident: process.memoryUsage.rss(), maps: maps(), inUse: device.memory.current });
    }
    const [early, late] = [seen[SETTLED - 1]!, seen.at(-1)!];
    console.log(`\nafter ${SETTLED} and ${SESSIONS}: ${JSON.stringify([early, late])}`);
    for (const key of ['resident', 'maps', 'inUse'] as const) {
      assert.ok(late[key] <= early[key] * (1 + SHARE), `${key}: ${late[key]} after ${early[key]}`);
    }
    model.dispose();
  });
}

test.run();
