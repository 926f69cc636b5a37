// tier: host
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ropeTable } from '../kernels/index.ts';

test('the table holds cos and sin of f32 angles, frequencies as published', () => {
  const capacity = 4097;
  const { shape, data } = ropeTable(capacity, 128, 500000);
  assert.equal(shape, [capacity, 128]);
  const published = [1, 0.81461722, 0.66360128, 0.54058099];
  for (const position of [0, 1, 17, 4096]) {
    published.forEach((frequency, i) => {
      const angle = Math.fround(position * Math.fround(frequency));
      assert.ok(Math.abs(data[position * 128 + i]! - Math.cos(angle)) < 1e-7 + position * 2 ** -25);
      assert.ok(Math.abs(data[position * 128 + 64 + i]! - Math.sin(angle)) < 1e-7 + position * 2 ** -25);
    });
    assert.ok(Math.abs(data[position * 128 + 127]! - Math.sin(position * 2.4551407e-6)) < 1e-9 + position * 1e-13);
  }
});

test.run();
