// tier: any
// bench speed: tokens per second in llama-bench's terms.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fails, runBench, TINY } from './bench.ts';
import { copySources, replaceIn } from './copy.ts';
import { testDevice } from './gpu.ts';

const device = await testDevice();
if (device) {
  device.dispose();

  test('prefill and decode at depths: a row each, its samples in the JSON file, and a table as llama-bench prints it', () => {
    const dir = mkdtempSync(join(tmpdir(), 'daybreak-speed-'));
    try {
      const json = join(dir, 'rows.jsonl');
      const sizes = ['-p', '8,40', '-n', '6', '-d', '0,30', '--repeats', '3'];
      const { status, stdout, stderr } = runBench('speed', ...sizes, '--json', json);
      assert.is(status, 0, stdout + stderr);
      const lines = readFileSync(json, 'utf8').trim().split('\n');
      const rows = lines.map((line) => JSON.parse(line));
      const names = ['pp8', 'pp40', 'tg6', 'tg6 @ d30'];
      assert.equal(
        rows.map((row) => row.name),
        names,
      );
      for (const { bench, name, samples, model, dtype, adapter } of rows) {
        assert.ok(bench === 'speed' && model === 'tiny' && dtype === 'f32' && adapter);
        assert.ok(samples.length === 3 && samples.every((sample: number) => sample > 1 && sample < 1e6), name);
        assert.match(stdout, new RegExp(`^${name} +[\\d.e+]+ +[\\d.e+]+ to [\\d.e+]+ +[\\d.e-]+$`, 'm'));
        const mean = samples.reduce((a: number, b: number) => a + b) / 3;
        const line = `\\| tiny \\| [\\d.]+ MiB \\| 0\\.\\d+ M \\| WebGPU .*, f32 \\| 99 \\| ${name} \\| ${mean.toFixed(2)} ± [\\d.]+ \\|`;
        assert.match(stdout, new RegExp(`^${line}$`, 'm'));
      }
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test('random weights take the place of a folder, in any format; what does not fit is said and the rest runs', () => {
    const dir = mkdtempSync(join(tmpdir(), 'daybreak-speed-'));
    const json = join(dir, 'rows.jsonl');
    const model = ['--synthetic', TINY, '--format', 'int4', '--int8-activations'];
    const sizes = ['-p', '8', '-n', '2', '-d', '0,40000000', '--repeats', '1'];
    const { status, stdout, stderr } = runBench('speed', ...model, ...sizes, '--json', json);
    assert.is(status, 0, stdout + stderr);
    assert.is(JSON.parse(readFileSync(json, 'utf8').split('\n')[0]!).activations, 'f32, int8 activations');
    rmSync(dir, { recursive: true });
    assert.match(stdout, /^pp8 +[\d.]+/m);
    assert.match(stdout, /^tg2 +[\d.]+/m);
    assert.match(stdout, /^tg2 @ d40000000 +does not fit: .*expected/m);
    assert.match(stdout, /^\| synthetic .* int4, seed 1 \| .* \| tg2 \|/m);
    assert.not.match(stdout, /\| tg2 @ d40000000 \|/);
    fails(runBench('speed', '-p', '5,x'), /--n-prompt .*expected an integer from 0 on/);
  });

  test('logits that are not finite show no time', () => {
    const root = copySources();
    try {
      replaceIn(join(root, 'model/phi3.ts'), 'this.#norm, this.#config.rmsNormEps', 'this.#norm, -1e9');
      const command = [
        '--import',
        'tsx',
        '--import',
        join(root, 'tools/software_vulkan.ts'),
        join(root, 'bench/main.ts'),
      ];
      const args = [...command, 'speed', '-p', '8', '-n', '2', '-d', '0', '--repeats', '1'];
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
      assert.ok(status === 1 || status === 2, stdout + stderr);
      assert.match(stdout + stderr, /finite/);
      assert.not.match(stdout, /^(pp8|tg2) +\d|± /m);
    } finally {
      rmSync(root, { recursive: true });
    }
  });
}

test.run();
