// tier: host
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../kernels/spec.ts';
import { tensorBytes } from '../runtime/index.ts';
import { assignSlots, type Lifetime } from '../runtime/liveness.ts';

function randomLifetimes(random: Random): Lifetime[] {
  const steps = 1 + random.below(40);
  const found = Array.from({ length: 1 + random.below(30) }, (_, i): Lifetime => {
    const first = random.below(steps);
    const tensor = { name: `t${i}`, shape: [1 + random.below(1000)], dtype: 'f32' } as const;
    return { tensor, first, last: first + random.below(steps - first) };
  });
  return found.sort((a, b) => a.first - b.first);
}

test('slots never hold two living tensors and fit all of theirs', () => {
  const seed = 20261122;
  console.log(`seed ${seed}`);
  const random = new Random(seed);
  let reused = 0;
  for (let round = 0; round < 500; round++) {
    const all = randomLifetimes(random);
    const slots = assignSlots(all);
    assert.is(slots.flatMap((slot) => slot.tensors).length, all.length);
    for (const slot of slots) {
      const lives = slot.tensors.map((tensor) => all.find((life) => life.tensor === tensor)!);
      lives.slice(1).forEach((life, i) => {
        assert.ok(life.first > lives[i]!.last, `round ${round}: ${life.tensor.name} overlaps ${lives[i]!.tensor.name}`);
      });
      assert.ok(lives.every(({ tensor }) => tensorBytes(tensor) <= slot.bytes));
      reused += lives.length - 1;
    }
  }
  assert.ok(reused > 1000, 'memory is reused');
});

test.run();
