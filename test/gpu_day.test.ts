// tier: any
// A day with a GPU, on a small model: answers are kept as they come, and a second call goes on where the first was cut off.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { listSteps } from '../bench/gpu_day.ts';
import { fails, runBench } from './bench.ts';
import { testDevice } from './gpu.ts';

test('no step but the one that tunes measures variants in its own time', () => {
  const models = listSteps({ out: 'out', synthetic: '15b' }).filter(({ name }) => /^(e2e|speed)/.test(name));
  assert.is(models.length, 3);
  for (const { name, command } of models) assert.ok(command.includes('--no-tune'), name);
});

const device = await testDevice();
if (device) {
  device.dispose();
  const folder = mkdtempSync(join(tmpdir(), 'daybreak-gpu-day-'));
  test.after(() => rmSync(folder, { recursive: true }));
  const STEPS = ['tests', 'e2e', 'tune', 'speed_int4', 'ops', 'torch', 'speed_bf16'];
  const state = (out: string) => JSON.parse(readFileSync(join(out, 'state.json'), 'utf8'));

  test('what there is no time for is named, the rest is answered and kept', () => {
    const out = join(folder, 'short');
    const { status, stdout, stderr } = runBench('gpu-day', '--out', out, '--minutes', '0.6'); // 36 s: one step fits
    assert.is(status, 1, stderr);
    for (const name of STEPS.filter((step) => step !== 'torch'))
      assert.match(stdout, new RegExp(`^${name} +- +skipped +needs up to \\d+ s of 36 s left`, 'm'));
    assert.match(stdout, /^torch +[\d.]+ +(right|FAILED)/m);
    assert.equal(Object.keys(state(out)), ['torch']);
    assert.ok(existsSync(join(out, 'torch.txt')));
    fails(
      runBench('gpu-day', '--out', out),
      /^error: gpu-day: .*expected a new folder, got one with answers; --resume goes on there$/,
    );
  });

  test('resumed, it asks what has no answer yet and fails where an answer was wrong', () => {
    const out = join(folder, 'resumed');
    runBench('gpu-day', '--out', out, '--minutes', '0.01');
    const answers = Object.fromEntries(
      STEPS.filter((name) => name !== 'torch').map((name) => [name, { code: 0, seconds: 1 }]),
    );
    writeFileSync(join(out, 'state.json'), JSON.stringify(answers));
    const rows = [
      { kernel: 'matmul/slow', shape: { rows: 1, inner: 8, outs: 16, weights: 'bf16' }, repeats: [[9, 9, 9]] },
      { kernel: 'matmul/quick', shape: { rows: 1, inner: 8, outs: 16, weights: 'bf16' }, repeats: [[2, 2, 2]] },
    ];
    writeFileSync(join(out, 'ops.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    writeFileSync(join(out, 'torch.txt'), `${JSON.stringify({ shape: [1, 8, 16], micros: 4 })}\n`);
    const all = { ...answers, torch: { code: 0, seconds: 1 } };
    writeFileSync(join(out, 'state.json'), JSON.stringify(all));
    const right = runBench('gpu-day', '--out', out, '--resume');
    assert.is(right.status, 0, right.stdout + right.stderr);
    assert.match(right.stdout, /^1 x 8 x 16 +bf16 +2 +4 +2 +matmul\/quick$/m);
    writeFileSync(join(out, 'state.json'), JSON.stringify({ ...all, e2e: { code: 1, seconds: 1 } }));
    const wrong = runBench('gpu-day', '--out', out, '--resume');
    assert.is(wrong.status, 1);
    assert.match(wrong.stdout, /^e2e +1 +FAILED \(1\)/m);
  });
}

test.run();
