// tier: any
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Expected, type ExpectedLogits, type TopLogits } from '../bench/expected.ts';
import { BOUNDS, compareRun } from '../bench/verify.ts';
import { SafetensorsFile } from '../model/index.ts';
import { CheckpointError, type HostTensor } from '../runtime/index.ts';
import { runBench, TINY } from './bench.ts';
import { writeSafetensors } from './fixtures/safetensors.ts';
import { testDevice } from './gpu.ts';

/** Written by tools/reference.py --logits top64 on the tiny checkpoint: prompt `text`, four steps of each continuation. */
const FIXTURE = fileURLToPath(new URL('./fixtures/reference_top64.safetensors', import.meta.url));
const TOP = 64;

/** Runs `body` with a temporary folder. */
function inFolder(body: (dir: string) => void): void {
  const dir = mkdtempSync(join(tmpdir(), 'daybreak-reference-'));
  try {
    body(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function readAll(path: string): Record<string, HostTensor> {
  const file = SafetensorsFile.open(path);
  const tensors = Object.fromEntries([...file.tensors.keys()].map((name) => [name, file.read(name)]));
  file.close();
  return tensors;
}

/** What tools/reference.py keeps of the logits of a step. */
function topOf(logits: Float32Array): TopLogits {
  const all = [...logits];
  const mean = all.reduce((sum, value) => sum + value, 0) / all.length;
  const ids = Int32Array.from([...all.keys()].sort((a, b) => all[b]! - all[a]!)).slice(0, TOP);
  return {
    ids,
    values: Float32Array.from(ids, (id) => all[id]!),
    logSumExp: Math.log(all.reduce((sum, value) => sum + Math.exp(value), 0)),
    mean,
    std: Math.sqrt(all.reduce((sum, value) => sum + (value - mean) ** 2, 0) / all.length),
    maxRef: Math.max(...all.map(Math.abs)),
  };
}

/** Judges logits against the top 64 of the tiny reference's; `change` spoils the logits of step 5. */
function judge(change: (logits: Float32Array, reference: TopLogits) => void, bounds = BOUNDS.f32) {
  const expected = Expected.open(join(TINY, 'expected.safetensors'));
  const run = expected.prompt('text').runs[0]!;
  expected.close();
  const full = run.steps as readonly Float32Array[];
  const steps: ExpectedLogits[] = full.map(topOf);
  const vocab = full[0]!.length;
  const logits = new Float32Array(full.length * vocab);
  for (const [step, row] of full.entries()) logits.set(row, step * vocab);
  const spoilt = logits.subarray(5 * vocab, 6 * vocab);
  change(spoilt, steps[5] as TopLogits);
  const tokens = full.map((_, step) => {
    const row = logits.subarray(step * vocab, (step + 1) * vocab);
    return row.indexOf(Math.max(...row));
  });
  return compareRun({ ...run, steps }, logits, tokens, bounds);
}

test('the right logits match the top 64', () => {
  const { ok, matched, steps, maxErrorStd } = judge(() => {});
  assert.ok(ok);
  assert.is(matched, steps);
  assert.ok(maxErrorStd < 1e-6, `${maxErrorStd}`);
});

test('a changed logit among the top 64 is found, and a changed choice', () => {
  for (const place of [0, 1, TOP - 1]) {
    const verdict = judge((logits, { ids }) => {
      logits[ids[place]!]! += 0.001;
    });
    assert.not(verdict.ok, `place ${place}`);
  }
  const verdict = judge((logits, { ids }) => {
    logits[ids[7]!] = 100;
  });
  assert.equal(verdict.wrong, [5]);
});

test('changed logits outside the top 64 are found in the figures about all', () => {
  const spoil = (value: (old: number) => number) =>
    judge((logits, { ids }) => {
      const kept = new Set(ids);
      logits.forEach((old, id) => {
        if (!kept.has(id)) logits[id] = value(old);
      });
    });
  assert.ok(spoil((old) => old).ok);
  assert.not(spoil((old) => old + 0.01).ok);
  assert.not(spoil((old) => old * 1.01).ok);
  assert.not(spoil(() => Number.NaN).ok);
  const risen = judge((logits, { ids, values }) => {
    const other = logits.findIndex((_, id) => !ids.includes(id));
    logits[other] = values.at(-1)! + 0.01;
  });
  assert.not(risen.ok);
});

test('pictures are found beside the cases, beside the reference, and in the model folder', () => {
  inFolder((dir) => {
    const path = join(dir, 'out', 'a.safetensors');
    for (const folder of ['out', 'cases']) mkdirSync(join(dir, folder));
    writeFileSync(join(dir, 'cases', 'one.png'), '');
    writeFileSync(join(dir, 'out', 'two.png'), '');
    const open = (pictures: string) => {
      const header = JSON.stringify({ __metadata__: { pictures, cases_folder: '../cases' } });
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(header.length));
      writeFileSync(path, Buffer.concat([length, Buffer.from(header)]));
      return Expected.open(path);
    };
    const expected = open('["one.png", "two.png", "three.png"]');
    const places = [0, 1, 2, 3].map((index) => expected.picture(index, 'model'));
    assert.equal(places, [
      join(dir, 'cases', 'one.png'),
      join(dir, 'out', 'two.png'),
      join('model', 'images', 'img2.png'),
      join('model', 'images', 'img3.png'),
    ]);
    expected.close();
    const damaged = open('{"one.png": 1}');
    assert.throws(
      () => damaged.picture(0, 'model'),
      (error: unknown) => error instanceof CheckpointError,
    );
    damaged.close();
  });
});

const device = await testDevice();
if (device) {
  device.dispose();

  test('a reference written by tools/reference.py matches, its layers included', () => {
    inFolder((dir) => {
      const json = join(dir, 'rows.jsonl');
      const { status, stdout, stderr } = runBench('--model', TINY, '--reference', FIXTURE, '--json', json);
      assert.is(status, 0, stdout + stderr);
      assert.match(stdout, /^text +40 +8\/8 /m);
    });
  });

  test('a changed logit or layer of the reference is named', () => {
    inFolder((dir) => {
      const reference = join(dir, 'reference.safetensors');
      const bench = (...changed: string[]) => {
        const tensors = readAll(FIXTURE);
        for (const name of changed) tensors[name]!.data[3]! += 0.01;
        writeSafetensors(reference, tensors);
        const { status, stdout } = runBench('--model', TINY, '--reference', reference);
        assert.is(status, 1, stdout);
        return stdout;
      };
      assert.match(
        bench('text.forced_top_logits'),
        /^text .* WRONG from forced: forced: 1 of 4 steps out of bounds, relative logit error/m,
      );
      assert.match(
        bench('text.layers.1', 'text.step_top_logits'),
        /^text .* WRONG from text\.layers\.1: relative error/m,
      );
    });
  });

  test('a changed layer of the encoder is named before what follows it', () => {
    inFolder((dir) => {
      const tensors = readAll(join(TINY, 'expected.safetensors'));
      const last = tensors['img0.vis_sel']!;
      const reference = join(dir, 'expected.safetensors');
      const bench = () => {
        writeSafetensors(reference, tensors);
        return runBench('--model', TINY, '--reference', reference, '--prompts', 'one').stdout;
      };
      tensors['img0.layers.2'] = last;
      assert.match(bench(), /all 1 prompts match/);
      tensors['img0.layers.2'] = { ...last, data: (last.data as Float32Array).map((value) => value * 1.01) };
      tensors['img0.vis_sel'] = tensors['img0.layers.2']!;
      assert.match(bench(), /^one .* WRONG from img0\.layers\.2: relative error/m);
    });
  });
}

test.run();
