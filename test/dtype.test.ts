// tier: host
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16, fitsF16 } from '../runtime/index.ts';

/** Both formats of 16 bits: how they are widened and narrowed, and their infinity. */
const FORMATS = [
  { name: 'f16', widen: f16ToF32, narrow: f32ToF16, infinity: 0x7c00 },
  { name: 'bf16', widen: bf16ToF32, narrow: f32ToBf16, infinity: 0x7f80 },
];

for (const { name, widen, narrow, infinity } of FORMATS) {
  test(`every ${name} survives f32`, () => {
    for (let bits = 0; bits <= infinity; bits++) {
      assert.is(narrow(widen(bits)), bits);
      assert.is(narrow(widen(0x8000 | bits)), 0x8000 | bits);
    }
    assert.ok(Number.isNaN(widen(infinity + 1)));
    assert.ok(Number.isNaN(widen(narrow(Number.NaN))));
  });

  test(`what lies between two ${name} becomes the nearer one, or the even one`, () => {
    for (let bits = 0; bits + 1 < infinity; bits++) {
      const [low, high] = [widen(bits), widen(bits + 1)];
      const middle = (low + high) / 2; // exact in f32
      const even = bits + (bits & 1);
      assert.is(narrow(middle), even);
      assert.is(narrow(-middle), 0x8000 | even);
      const quarter = (high - low) / 4;
      if (Math.fround(low + quarter) > low) assert.is(narrow(low + quarter), bits);
      if (Math.fround(high - quarter) < high) assert.is(narrow(high - quarter), bits + 1);
    }
  });
}

test('bf16 fit f16 below 65536, wherever they stand in a row', () => {
  for (const [bits, fits] of [
    [0x477f, true], // 65280
    [0xc77f, true],
    [0x0001, true],
    [0x4780, false], // 65536
    [0xc780, false],
    [0x7f80, false],
    [0xffc0, false],
  ] as const) {
    for (const place of [0, 1, 6, 7]) {
      const row = new Uint16Array(8).fill(0x3f80);
      row[place] = bits;
      assert.is(fitsF16(row), fits, `${bits.toString(16)} at ${place}`);
    }
  }
});

test('the values of a few f16', () => {
  for (const [bits, value] of [
    [1, 2 ** -24],
    [0x3ff, 1023 * 2 ** -24],
    [0x400, 2 ** -14],
    [0x3c00, 1],
    [0x7bff, 65504],
  ] as const)
    assert.is(f16ToF32(bits), value);
  assert.is(f32ToF16(65519), 0x7bff);
  assert.is(f32ToF16(65520), 0x7c00);
});

test.run();
