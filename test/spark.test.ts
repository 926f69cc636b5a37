// tier: gpu
// nopt
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readAnswers, readTasks } from '../bench/accuracy/tasks.ts';
import { runBench, SPARK } from './bench.ts';
import { quick, testDevice } from './gpu.ts';

/** Tasks whose questions are asked; all of them take a minute. */
const ASKED = quick ? 'talk' : 'number,talk';

/** Counts of the answers to questions of some tasks, by the weights' format. */
function ask(...options: string[]) {
  const dir = mkdtempSync(join(tmpdir(), 'daybreak-spark-'));
  try {
    const json = join(dir, 'rows.jsonl');
    const run = runBench('accuracy', '--model', SPARK, '--only', ASKED, '--no-tune', '--json', json, ...options);
    assert.is(run.status, 0, run.stdout + run.stderr);
    const rows = readFileSync(json, 'utf8').trim().split('\n');
    return rows.map((row) => JSON.parse(row).groups.find(({ name }: { name: string }) => name === 'all'));
  } finally {
    rmSync(dir, { recursive: true });
  }
}

test('every question has its pictures, and an answer of the official code', () => {
  const tasks = readTasks(join(SPARK, 'tasks.jsonl'));
  const answers = readAnswers(join(SPARK, 'answers.jsonl'));
  assert.ok(tasks.length >= 500);
  for (const { name, images } of tasks) {
    assert.ok(answers.has(name), name);
    for (const image of images) assert.ok(existsSync(image), image);
  }
});

const device = await testDevice();
if (device) {
  const f16 = device.features.has('shader-f16');
  device.dispose();

  let [plain, int4]: ReturnType<typeof ask> = [];

  test.before(() => {
    const formats = quick ? 'none' : 'none,int4:64';
    [plain, int4] = ask('--dtype', 'f32', '--no-int8-activations', '--quantize', formats);
  });

  test('answers in f32 have the tokens of the official code, but for ties', () => {
    assert.ok(plain.compared > 40);
    assert.is(plain.same + plain.ties, plain.compared);
  });

  if (!quick)
    test('answers with int4 weights, and in f16, are right as often within three points', () => {
      const rows = [int4, ...(f16 ? ask('--dtype', 'f16') : [])];
      for (const { right, all } of rows)
        assert.ok(right / all > plain.right / plain.all - 0.03, `${right} of ${all} against ${plain.right}`);
    });
}

test.run();
