// tier: any
// alone
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { joined, knownCeilings } from '../bench/ceilings/cache.ts';
import { type Ceilings, measureCeilings } from '../bench/ceilings/measure.ts';
import { probes } from '../bench/ceilings/probes.ts';
import { busy, showCeilings } from '../bench/ceilings.ts';
import { ceilingShare, showShare } from '../bench/roofline.ts';
import type { Tensor } from '../runtime/index.ts';
import { runBench } from './bench.ts';
import { copySources, replaceIn } from './copy.ts';
import { testDevice } from './gpu.ts';

const KNOWN: Ceilings = {
  clock: 'gpu',
  copyGBs: 20,
  readGBs: 10,
  f32Gflops: 100,
  f16Gflops: 1000,
  int8Gops: 400,
  dispatchMicros: 1,
  passMicros: 1,
  measured: '2026-01-01T00:00:00.000Z',
};

function readRows(file: string) {
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line));
}

const device = await testDevice();
if (device) {
  test('every kernel writes what it should, and its ceilings are sane', async () => {
    const { ceilings, kernels } = await measureCeilings(device);
    const { clock, measured, f16Gflops, passMicros, ...rates } = ceilings;
    assert.equal(
      kernels.filter(({ problem }) => problem),
      [],
    );
    assert.ok(kernels.every(({ micros }) => micros.length >= 3 && micros.every((sample) => sample > 0)));
    assert.is(f16Gflops !== null, device.features.has('shader-f16'));
    assert.is(passMicros !== null, clock === 'gpu');
    const all = [...Object.values(rates), f16Gflops ?? 1, passMicros ?? 1];
    assert.ok(
      all.every((rate) => Number.isFinite(rate) && rate > 0),
      JSON.stringify(ceilings),
    );
    const { copyGBs, readGBs, f32Gflops, int8Gops, dispatchMicros } = rates;
    assert.ok(readGBs > 0.1 * copyGBs && readGBs < 10 * copyGBs, `${readGBs} GB/s read, ${copyGBs} copied`);
    assert.ok(f32Gflops > 0.1 * copyGBs && f32Gflops < 1e6, `${f32Gflops} GFLOP/s`);
    assert.ok(int8Gops > 0.01 * f32Gflops && int8Gops < 100 * f32Gflops, `${int8Gops} GOP/s`);
    assert.ok(dispatchMicros < 1e4, `${dispatchMicros} us`);
    for (const quantity of ['copyGBs', 'readGBs', 'f32Gflops', 'int8Gops', 'dispatchMicros'] as const) {
      const values = kernels.filter((kernel) => kernel.quantity === quantity).map(({ value }) => value!);
      const best = quantity === 'dispatchMicros' ? Math.min(...values) : Math.max(...values);
      assert.ok(values.length > 1 && best === ceilings[quantity], quantity);
    }
    assert.ok(Date.parse(measured) <= Date.now());
  });

  test('the best and the worst ever seen are kept, an old one is measured again, and so is a damaged one', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'daybreak-ceilings-'));
    const before = process.env.XDG_CACHE_HOME;
    process.env.XDG_CACHE_HOME = folder;
    try {
      const { runs, best } = await knownCeilings(device);
      assert.is(runs, 1);
      assert.equal((await knownCeilings(device)).best, best);
      const file = join(folder, 'daybreak', readdirSync(join(folder, 'daybreak'))[0]!);
      const edit = (known: object) => writeFileSync(file, JSON.stringify(known));
      const old = { ...best, readGBs: 1e6, dispatchMicros: 1e-6, measured: '2026-01-01T00:00:00.000Z' };
      edit({ best: old, worst: { ...old, readGBs: 1e-6 }, runs: 7 });
      const again = await knownCeilings(device);
      assert.equal([again.runs, again.best.readGBs, again.best.dispatchMicros], [8, 1e6, 1e-6]);
      assert.is(again.worst.readGBs, 1e-6);
      assert.ok(again.worst.dispatchMicros > 1e-6 && Date.parse(again.best.measured) > Date.parse(old.measured));
      assert.equal(JSON.parse(readFileSync(file, 'utf8')).best, again.best);
      for (const readGBs of ['fast', null, undefined]) {
        edit({ best: { ...best, readGBs }, worst: best, runs: 7 });
        assert.is((await knownCeilings(device)).runs, 1);
      }
    } finally {
      if (before === undefined) delete process.env.XDG_CACHE_HOME;
      else process.env.XDG_CACHE_HOME = before;
      rmSync(folder, { recursive: true });
    }
  });

  test('best, spread and a busy machine are said; what a run could not measure changes nothing', () => {
    const slower = { ...KNOWN, copyGBs: 8, dispatchMicros: 4, int8Gops: Number.NaN };
    const known = joined(joined(undefined, slower), KNOWN);
    assert.equal(known.best, KNOWN);
    assert.equal(known.worst, { ...slower, int8Gops: 400 });
    assert.match(
      showCeilings(known),
      /^ceilings .*: 20 GB\/s copy, .*\nbest of 2 runs .*; the worst: 8 GB\/s copy, .* 4 us\/dispatch/,
    );
    assert.not.match(showCeilings(joined(undefined, KNOWN)), /best of/);
    assert.equal(busy(2, 2), []);
    assert.match(busy(2.5, 2).join(), /^note: load average 2\.5 on 2 cores/);
  });

  test('a share is what the roofline allows over what was taken', () => {
    const x: Tensor = { name: 'x', shape: [2 ** 23], dtype: 'u32' };
    const withKernel = (name: string, flops: number, bytes: number) => {
      const { kernel } = probes(device, x, 0).find((probe) => probe.kernel.name === `ceilings/${name}`)!;
      return { kernel, read: {}, write: {}, workgroups: [1], cost: { flops, bytes } } as const;
    };
    const byFlops = withKernel('scalar', 1e6, 1e3);
    const byBytes = withKernel('copy', 1e3, 1e6);
    const byDots = withKernel('dot_int8', 1e6, 1e3);
    assert.is(ceilingShare(KNOWN, [byFlops], 20), 0.5);
    assert.is(ceilingShare(KNOWN, [byBytes], 100), 0.5);
    assert.is(ceilingShare(KNOWN, [byDots], 5), 0.5);
    assert.is(ceilingShare(KNOWN, [byFlops, byBytes], 120), 0.5);
    assert.is(showShare(ceilingShare({ ...KNOWN, f32Gflops: Number.NaN }, [byFlops], 1)), '-');
  });

  test('a broken kernel sets no ceiling', () => {
    const root = copySources();
    try {
      const source = (name: string) => join(root, 'bench/ceilings', `${name}.wgsl`);
      replaceIn(source('read'), 'i < params.steps', 'i < params.steps / 2u');
      replaceIn(source('vec4'), 'alias Unit = vec4<elem>', 'alias Unit = vec4<elem');
      replaceIn(source('dot_int8'), ', by) + i32(by)', ', by)');
      const json = join(root, 'rows.jsonl');
      const command = ['--import', 'tsx', '--import', join(root, 'tools/software_vulkan.ts')];
      const args = [...command, join(root, 'bench/main.ts'), 'ceilings', '--json', json];
      const env = { ...process.env, XDG_CACHE_HOME: join(root, 'cache') };
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, env, encoding: 'utf8' });
      assert.is(status, 1, stdout + stderr);
      assert.match(stdout, /^GB\/s read +WRONG: checksum: expected -?\d+, got -?\d+ +ceilings\/read WG=\d+ LOADS=1/m);
      assert.match(stdout, /^GFLOP\/s f32 +does not compile: ceilings\/vec4\.wgsl:\d+:\d+: .* ceilings\/vec4/m);
      assert.match(stdout, /^ceilings .* copy, no GB\/s read, .* f32, .*no GOP\/s int8 dots/m);
      const [row] = readRows(json);
      assert.is(row.ceilings.readGBs, null);
      assert.is(row.ceilings.int8Gops, null);
      assert.ok(row.ceilings.f32Gflops > 0 && row.ceilings.copyGBs > 0);
      const broken = Object.keys(row.samples).filter((name) => /read|dot_int8|vec4/.test(name));
      assert.ok(broken.length > 0 && broken.every((name) => row.samples[name].length === 0));
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  test('bench ops prints ceilings first, shares, and with repeats their spread', () => {
    const folder = mkdtempSync(join(tmpdir(), 'daybreak-ceilings-'));
    try {
      const json = join(folder, 'rows.jsonl');
      const { status, stdout, stderr } = runBench('ops', 'rms_norm', '--repeats', '2', '--json', json);
      if (/timestamp-query/.test(stderr)) return;
      assert.is(status, 0, stdout + stderr);
      assert.match(stdout, /^adapter: .*\nceilings \(gpu clock.*\n/);
      assert.match(stdout, /^kernel +median us +of repeats +GFLOP\/s +GB\/s +ceiling +shape$/m);
      assert.match(stdout, /^rms_norm\/rms_norm +[\d.]+ +[\d.]+-[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ % +rows=512,cols=5120/m);
      const [first, ...rest] = readRows(json);
      assert.is(first.bench, 'ceilings');
      assert.ok(first.ceilings.copyGBs > 0 && first.adapter && Object.keys(first.samples).length > 10);
      assert.ok(rest.length >= 2);
      for (const { bench, kernel, shape, repeats, flops, bytes, dispatches } of rest) {
        assert.is(bench, 'ops');
        assert.match(kernel, /^rms_norm\//);
        assert.is(shape.cols, 5120);
        assert.is(repeats.length, 2);
        assert.ok(repeats.every((micros: number[]) => micros.length >= 3 && micros.every((sample) => sample > 0)));
        assert.ok(flops > 0 && bytes > 0);
        assert.is(dispatches, 1);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

test.run();
