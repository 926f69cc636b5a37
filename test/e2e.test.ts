// tier: any
import { copyFileSync, cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SafetensorsFile } from '../model/index.ts';
import type { HostTensor } from '../runtime/index.ts';
import { fails, runBench, TINY } from './bench.ts';
import { writeSafetensors } from './fixtures/safetensors.ts';
import { testDevice } from './gpu.ts';

/** Runs `body` with a temporary folder. */
function inFolder(body: (dir: string) => void): void {
  const dir = mkdtempSync(join(tmpdir(), 'daybreak-e2e-'));
  try {
    body(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** The tiny reference with some tensors changed. */
function writeReference(path: string, change: (tensors: Record<string, HostTensor>) => void): void {
  const file = SafetensorsFile.open(join(TINY, 'expected.safetensors'));
  const tensors = Object.fromEntries([...file.tensors.keys()].map((name) => [name, file.read(name)]));
  file.close();
  change(tensors);
  writeSafetensors(path, tensors);
}

const device = await testDevice();
if (device) {
  const f16 = device.features.has('shader-f16');
  device.dispose();

  test('text and pictures match the reference, with the samples in the JSON file', () => {
    inFolder((dir) => {
      const json = join(dir, 'rows.jsonl');
      const { status, stdout, stderr } = runBench(
        'e2e',
        '--model',
        TINY,
        '--prompts',
        'text,two',
        '--repeats',
        '2',
        '--json',
        json,
      );
      assert.is(status, 0, stdout + stderr);
      assert.match(stdout.split('\n')[0]!, /^adapter: .*: /);
      assert.match(stdout, /all 2 prompts match/);
      const [ceilings, ...rows] = readFileSync(json, 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      assert.is(ceilings.bench, 'ceilings');
      assert.ok(rows.every(({ model }) => model === 'tiny'));
      assert.equal(
        rows.map(({ prompt, positions }) => [prompt, positions]),
        [
          ['text', 40],
          ['two', 566],
        ],
      );
      assert.equal(
        rows.map(({ tokens }) => tokens.total),
        [40, 24],
      );
      assert.equal(
        rows.map(({ repeats }) => repeats.map(({ stepMillis }: { stepMillis: number[] }) => stepMillis.length)),
        [
          [38, 38],
          [22, 22],
        ],
      );
      for (const times of rows.flatMap(({ repeats }) => repeats)) {
        const { visionMillis, sessionMillis, prefillMillis, ttftMillis } = times; // TTFT has all of these in it, no picture file
        assert.ok(
          sessionMillis > 0 && ttftMillis > visionMillis + sessionMillis + prefillMillis,
          JSON.stringify(times),
        );
      }
      for (const { tokens, adapter, commit, kernels, profile, memory, runs, dtype, activations } of rows) {
        assert.ok(activations.startsWith(dtype), activations);
        assert.ok(tokens.matched + tokens.ties === tokens.total && adapter && commit);
        assert.is(runs.greedy.stepErrors.length, runs.greedy.steps);
        assert.ok(memory.length > tokens.total && memory.every(({ resident }: { resident: number }) => resident > 0));
        const sum = (phase: string) =>
          kernels
            .filter((row: { phase: string }) => row.phase === phase)
            .reduce((total: number, { micros }: { micros: number }) => total + micros, 0);
        for (const [phase, { gpuMicros, wallMicros }] of Object.entries<{ gpuMicros: number; wallMicros: number }>(
          profile,
        ))
          assert.ok(Math.abs(sum(phase) - gpuMicros) < 1e-3 && gpuMicros <= wallMicros, phase);
      }
      assert.equal(Object.keys(rows[1].profile), ['vision', 'prefill', 'decode']);
      assert.ok(
        rows[1].stages.some(
          ({ stage, relative }: { stage: string; relative: number }) => stage === 'img1.pixel_values' && relative === 0,
        ),
      );
    });
  });

  if (f16) {
    test('f16 storage keeps logits within 2e-2 of their standard deviation', () => {
      const { status, stdout, stderr } = runBench('--model', TINY, '--dtype', 'f16', '--prompts', 'text,two,three');
      assert.is(status, 0, stdout + stderr);
      assert.match(stdout, /all 3 prompts match/);
    });
  }

  test('a wrong reference is found, named, and shows no time', () => {
    inFolder((dir) => {
      const reference = join(dir, 'expected.safetensors');
      writeReference(reference, (tensors) => {
        tensors['text.forced_logits']!.data[700]! += 0.01;
        tensors['img0.vis_sel']!.data[5]! += 0.01;
      });
      const { status, stdout } = runBench('--model', TINY, '--reference', reference, '--prompts', 'text,one');
      assert.is(status, 1);
      assert.match(
        stdout,
        /^text .* WRONG from forced: forced: 1 of \d+ steps out of bounds, relative logit error [\d.e-]+$/m,
      );
      assert.match(stdout, /^one .* WRONG from img0\.vis_sel: relative error/m);
      assert.match(stdout, /2 of 2 prompts do not match/);
    });
  });

  test('a differing token is a tie only where the reference margin is small', () => {
    inFolder((dir) => {
      const reference = join(dir, 'expected.safetensors');
      const swap = (margin: number) => (tensors: Record<string, HostTensor>) => {
        const { data } = tensors['text.step_logits']!;
        const first = [...data.subarray(0, 512)];
        const [best, second] = [...first.keys()].sort((a, b) => first[b]! - first[a]!);
        data[second!] = data[best!]! + margin;
      };
      writeReference(reference, swap(1e-5));
      const tied = runBench('--model', TINY, '--reference', reference, '--prompts', 'text').stdout;
      assert.match(tied, /39\/40 1 tie/);
      writeReference(reference, swap(1));
      const wrong = runBench('--model', TINY, '--reference', reference, '--prompts', 'text');
      assert.match(wrong.stdout, /WRONG from greedy: .* wrong tokens at steps 0/);
      assert.is(wrong.status, 1);
    });
  });

  test('bad folders, files and arguments end in one clear line and exit code 2', () => {
    fails(runBench('--model', '/no_such_folder'), /no_such_folder.*expected/);
    fails(runBench('--adapter', 'voodoo'), /expected a name containing 'voodoo', got '/);
    fails(runBench('--model', TINY, '--prompts', 'many'), /--prompts: expected some of text, .*, got 'many'/);
    fails(runBench('--modell', 'x'), /unknown option '--modell'/);
    fails(runBench('ops', 'sort'), /ops: expected one of .*, got 'sort'/);
    inFolder((dir) => {
      cpSync(TINY, dir, { recursive: true });
      const config = JSON.parse(readFileSync(join(TINY, 'config.json'), 'utf8'));
      writeFileSync(join(dir, 'config.json'), JSON.stringify({ ...config, architectures: ['LlamaForCausalLM'] }));
      fails(runBench('--model', dir), /config\.json: architectures: expected .*Phi4ForCausalLMV.*, got .*Llama/);
      copyFileSync(join(TINY, 'config.json'), join(dir, 'config.json'));
      renameSync(join(dir, 'model-00002-of-00002.safetensors'), join(dir, 'gone'));
      fails(runBench('--model', dir), /model-00002-of-00002\.safetensors/);
    });
  });
}

test.run();
