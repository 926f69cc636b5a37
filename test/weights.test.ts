// tier: any
// nopt
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../kernels/spec.ts';
import {
  interleaved,
  type MatrixLayout,
  plain,
  rotary,
  rowPadded,
  stacked,
} from '../model/checkpoint/matrix_layout.ts';
import { Checkpoint } from '../model/index.ts';
import { WeightStore } from '../model/weights.ts';
import { CheckpointError, type Device, openDevice } from '../runtime/index.ts';
import { writeSafetensors } from './fixtures/safetensors.ts';
import { testDevice } from './gpu.ts';
import { rejects } from './rejects.ts';

const probe = await testDevice();
if (probe) {
  probe.dispose();
  const dir = mkdtempSync(join(tmpdir(), 'daybreak-weights-'));
  const random = new Random(3);
  const [rows, cols] = [150, 13];
  const sources = {
    a: random.tensor([rows, cols], 'bf16'),
    b: random.tensor([rows, cols], 'bf16'),
    heads: random.tensor([160, cols], 'bf16'),
    bias: random.tensor([5], 'f16'),
  };
  const large = { ...sources.a, data: sources.a.data.slice() };
  large.data[cols - 1] = 0x4780; // 65536
  writeSafetensors(join(dir, 'model.safetensors'), { ...sources, large });

  /** The matrix as loaded, rows of all blocks one after the other. */
  const load = async (device: Device, layout: MatrixLayout) => {
    const checkpoint = Checkpoint.open(dir);
    const matrix = await new WeightStore(device, checkpoint).matrix(layout);
    checkpoint.close();
    const blocks = [];
    for (const { tensor, row } of matrix.blocks) {
      assert.is(row * matrix.cols, blocks.flat().length);
      blocks.push([...(await device.download(tensor)).data]);
    }
    return { matrix, values: blocks.flat() };
  };
  const row = (name: 'a' | 'b' | 'heads', index: number | undefined) =>
    Array.from({ length: 16 }, (_, i) => (index === undefined || i >= cols ? 0 : sources[name].data[index * cols + i]));
  const range = (count: number) => Array.from({ length: count }, (_, i) => i);

  for (const maxBlockBytes of [undefined, 64 * 16 * 2]) {
    const kind = maxBlockBytes ? 'in blocks' : 'in one block';
    const device = await openDevice({ maxBlockBytes });

    test(`columns are padded, ${kind}`, async () => {
      const { matrix, values } = await load(device, plain('a', rows, cols));
      assert.is(matrix.cols, 16);
      assert.is(matrix.blocks.length, maxBlockBytes ? 3 : 1);
      assert.equal(
        values,
        range(rows).flatMap((i) => row('a', i)),
      );
    });

    test(`a matrix of bf16 says whether f16 holds them all, ${kind}`, async () => {
      const withUnits = Object.assign(await openDevice({ maxBlockBytes }), { matrices: undefined });
      assert.is((await load(withUnits, plain('a', rows, cols))).matrix.fitsF16, true);
      assert.is((await load(withUnits, plain('large', rows, cols))).matrix.fitsF16, false);
      assert.is((await load(Object.assign(withUnits, { matrices: [] }), plain('a', rows, cols))).matrix.fitsF16, false);
      withUnits.dispose();
    });

    test(`rows are padded, stacked and interleaved, ${kind}`, async () => {
      const padded = await load(device, rowPadded('a', rows, cols));
      assert.equal(
        padded.values,
        range(152).flatMap((i) => row('a', i < rows ? i : undefined)),
      );
      const both = await load(device, stacked(['b', 'a'], rows, cols));
      assert.equal(both.values, [
        ...range(rows).flatMap((i) => row('b', i)),
        ...range(rows).flatMap((i) => row('a', i)),
      ]);
      const alternating = await load(device, interleaved('a', rows / 2, cols));
      const pair = (i: number) =>
        i < 75 ? [...row('a', i), ...row('a', 75 + i)] : [...row('a', undefined), ...row('a', undefined)];
      assert.equal(alternating.values, range(80).flatMap(pair));
      const paired = await load(device, rotary('heads', 3, 1, 32, cols));
      const rotated = range(64).flatMap((i) => [0, 16].map((half) => (i >> 4) * 32 + (i % 16) + half));
      assert.equal(
        paired.values,
        [...rotated, ...range(32).map((i) => 128 + i)].flatMap((i) => row('heads', i)),
      );
    });
  }

  test('vectors are widened to f32, names are counted, mistakes are named', async () => {
    const device = await openDevice();
    const checkpoint = Checkpoint.open(dir);
    const store = new WeightStore(device, checkpoint);
    const { data } = await device.download(await store.vector('bias', [5], 8));
    assert.is(data.length, 8);
    assert.ok(Math.abs(data[0]!) > 0 && data[5] === 0 && data[7] === 0);
    assert.equal(store.unused(), ['a', 'b', 'heads', 'large']);
    await rejects(store.vector('bias', [6]), CheckpointError, /bias: expected a float tensor \[6\], got f16 \[5\]/);
    await rejects(
      store.matrix(plain('bia', 1, 1)),
      CheckpointError,
      /bia: expected a tensor, got nothing; the nearest names are bias/,
    );
    checkpoint.close();
    rmSync(dir, { recursive: true });
  });
}

test.run();
