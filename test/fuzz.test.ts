// tier: gpu
// nopt
// DAYBREAK_FUZZ=850 is a campaign of 10,200 cases; DAYBREAK_SEED sets the seed; DAYBREAK_CASE=target/number repeats one case.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { runCampaign } from './fuzz/campaign.ts';
import { quick, testDevice } from './gpu.ts';

/** How many of every twelve cases go to each target. */
const SHARES = { models: 3, pictures: 3, ops: 2, graphs: 2, prompts: 2 };
const DEFAULT_CASES = quick ? 2 : 10;
/** From so many cases on the first tenth is enough to warm the heap up, and memory has to stay flat after it. */
const SETTLED_CASES = 1000;
/** The targets that do so: the others open device after device, of which each leaves 1 or 2 MB behind in the driver. */
const FLAT = ['models', 'pictures', 'prompts'];
const GROWTH = 1.1;

const seed = Number(process.env.DAYBREAK_SEED ?? 1);
const cases = Number(process.env.DAYBREAK_FUZZ ?? DEFAULT_CASES);
const [only, number] = process.env.DAYBREAK_CASE?.split('/') ?? [];

const device = await testDevice();
if (quick) console.log('quick: 2 fuzz cases of every 10');
if (device) {
  device.dispose();
  console.log(`DAYBREAK_SEED=${seed} DAYBREAK_FUZZ=${cases}`);
  for (const [target, share] of Object.entries(SHARES).filter(([name]) => !only || name === only)) {
    const first = number ? Number(number) : 0;
    const end = number ? first + 1 : cases * share;
    test(`${target}: ${end - first} cases`, async () => {
      const { outcomes, failures, resident } = await runCampaign({ target, seed, first, end });
      for (const failure of failures) {
        console.log(`DAYBREAK_SEED=${seed} DAYBREAK_CASE=${failure.case}: ${failure.note}\n${failure.problem}`);
      }
      console.log(target, JSON.stringify(outcomes), `resident MiB after each tenth: ${resident.join(' ')}`);
      assert.is(failures.length, 0);
      if (end - first < SETTLED_CASES || !FLAT.includes(target)) return;
      assert.ok(resident.at(-1)! <= resident[0]! * GROWTH, `memory grows: ${resident}`);
    });
  }
}

test.run();
