// tier: host
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { dequantizeWeightsHost, type Quantization, quantizedShapes, quantizeWeightsHost } from '../kernels/index.ts';
import { Random } from '../kernels/spec.ts';
import { f16ToF32, f32ToF16 } from '../runtime/index.ts';

const Q4: Quantization = { format: 'q4', group: 32 };
const QUANTIZATIONS = (['q4', 'q8'] as const).flatMap((format) => [32, 64, 128].map((group) => ({ format, group })));

function squaredError(values: Float32Array, scale: number, low: number, high: number): number {
  let sum = 0;
  for (const value of values) {
    const quant = Math.max(low, Math.min(Math.round(value / (scale || 1)), high));
    sum += (value - quant * scale) ** 2;
  }
  return sum;
}

test('q4 bytes: columns j and j + 4 of eight share byte j, two in the complement of two; behind the last column 0', () => {
  const quants = [-8, 1, 2, 3, 4, 5, 6, 7, 0, -1, -2, -3, -4, -5, -6, -7];
  const { quants: words, scales } = quantizeWeightsHost(Float32Array.from(quants), 1, 16, Q4);
  assert.equal(
    [...words],
    [0x73625148, 0x9daebfc0, 0, 0].map((word) => word >>> 0),
  );
  assert.equal([...scales], [f32ToF16(1)]);
});

test('q8 bytes: column 4 i + j is byte j of word i, two in the complement of two', () => {
  const quants = [127, -127, 1, -1, 0, 2, -2, 64];
  const { quants: words, scales } = quantizeWeightsHost(Float32Array.from(quants), 1, 8, { format: 'q8', group: 32 });
  assert.equal([...words], [0xff01817f, 0x40fe0200, 0, 0, 0, 0, 0, 0]);
  assert.equal([...scales], [f32ToF16(1)]);
});

test('shapes: rows of whole blocks of 32, groups of the columns that are there', () => {
  assert.equal(quantizedShapes(3, 4304, { format: 'q4', group: 64 }), { quants: [3, 540], scales: [3, 68] });
  assert.equal(quantizedShapes(3, 40, { format: 'q8', group: 128 }), { quants: [3, 16], scales: [3, 1] });
  assert.throws(() => quantizedShapes(3, 40, { format: 'q4', group: 48 }), /group: expected 32, 64 or 128, got 48/);
});

test('the search finds a scale nearly as good as the best of a fine grid, and better than none', () => {
  const random = new Random(5);
  for (const { format, group } of QUANTIZATIONS) {
    const [low, high] = format === 'q4' ? [-8, 7] : [-127, 127];
    let [found, best, plain] = [0, 0, 0];
    for (let i = 0; i < 40; i++) {
      const values = Float32Array.from({ length: group }, () => random.normal() * 0.02);
      const widened = dequantizeWeightsHost(quantizeWeightsHost(values, 1, group, { format, group }), 1, group, {
        format,
        group,
      });
      const unit = values.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a)) / low;
      const grid = Array.from({ length: 241 }, (_, k) => (0.6 + k / 400) * unit).flatMap((scale) => [scale, -scale]);
      found += values.reduce((sum, value, k) => sum + (value - widened[k]!) ** 2, 0);
      best += Math.min(...grid.map((scale) => squaredError(values, scale, low, high)));
      plain += squaredError(values, unit, low, high);
    }
    const [near, gain] = format === 'q4' ? [1.02, 0.95] : [1.25, 0.98];
    assert.ok(found <= near * best, `${format} ${group}: ${found} where ${best} is possible`);
    assert.ok(found < gain * plain, `${format} ${group}: ${found}, without a search ${plain}`);
  }
});

test('every quant is the nearest that its scale has', () => {
  const random = new Random(7);
  for (const how of QUANTIZATIONS) {
    const values = Float32Array.from({ length: 2 * 200 }, () => random.normal());
    const { quants, scales } = quantizeWeightsHost(values, 2, 200, how);
    const [low, high] = how.format === 'q4' ? [-8, 7] : [-127, 127];
    dequantizeWeightsHost({ quants, scales }, 2, 200, how).forEach((got, i) => {
      const groups = scales.length / 2;
      const scale = f16ToF32(scales[Math.floor(i / 200) * groups + Math.floor((i % 200) / how.group)]!);
      const quant = Math.max(low, Math.min(Math.round(values[i]! / scale), high));
      assert.ok(Math.abs(got - quant * scale) < 1e-6, `${how.format} ${how.group} [${i}]: ${values[i]} became ${got}`);
    });
  }
});

test('quants come back exactly from what they stand for', () => {
  const random = new Random(6);
  for (const how of QUANTIZATIONS) {
    const limit = how.format === 'q4' ? 8 : 127;
    const values = Float32Array.from({ length: 3 * 200 }, (_, i) => {
      const first = i % 200 === 0 || (i % 200) % how.group === 0;
      return (first ? -limit : random.below(2 * limit) - limit + (how.format === 'q4' ? 0 : 1)) * 2 ** -7;
    });
    assert.equal(dequantizeWeightsHost(quantizeWeightsHost(values, 3, 200, how), 3, 200, how), values);
  }
});

test('zeros, and weights too small for f16, have the scale 0', () => {
  const values = Float32Array.from({ length: 64 }, (_, i) => (i < 32 ? 0 : 1e-8));
  const { quants, scales } = quantizeWeightsHost(values, 1, 64, Q4);
  assert.equal([...scales], [0, 0]);
  assert.ok(quants.every((word) => word === 0));
});

test('a weight that is no number or beyond f16 is named', () => {
  for (const [value, shown] of [
    [Number.NaN, 'NaN'],
    [Number.NEGATIVE_INFINITY, '-Infinity'],
    [65536, '65536'],
  ] as const) {
    const values = new Float32Array(2 * 40);
    values[77] = value;
    const expected = new RegExp(`quantize: row 1, column 37: expected a weight within 65504, got ${shown}`);
    assert.throws(() => quantizeWeightsHost(values, 2, 40, Q4), expected);
  }
});

test.run();
