// tier: any
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { copyWorkingTree } from '../bench/compare/sides.ts';
import { Checkpoint } from '../model/checkpoint/safetensors.ts';
import { SafetensorsWriter } from '../model/checkpoint/safetensors_writer.ts';
import { type Ended, fails, runDaybreak, TINY } from './bench.ts';
import { testDevice } from './gpu.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const picture = join(TINY, 'images/img1.png');
const ask = (...args: string[]): Ended => runDaybreak('ask', '--model', TINY, ...args);

/** The tiny checkpoint as one file, beside an index of shards that are not there. */
function writeWhole(dir: string): void {
  cpSync(TINY, dir, { recursive: true, filter: (path) => !path.includes('-of-00002') });
  writeFileSync(join(dir, 'model.safetensors.index.json'), '{"weight_map":{"lm_head.weight":"missing.safetensors"}}');
  const source = Checkpoint.open(TINY);
  const writer = new SafetensorsWriter(join(dir, 'model.safetensors'), [...source.tensors.values()]);
  for (const name of source.tensors.keys()) writer.write(name, source.read(name).data);
  writer.finish();
  source.close();
}

const device = await testDevice();
if (device) {
  device.dispose();

  test('streams an answer and ends with counts, TTFT and tokens/s', () => {
    const { status, stdout, stderr } = ask('--image', picture, '--max-tokens', '12', 'What is this?');
    assert.is(status, 0, stderr);
    assert.match(stderr, /^adapter: /m);
    assert.match(
      stderr.trimEnd().split('\n').at(-1)!,
      /^\d+ prompt tokens \(255 of pictures\), 12 new tokens, finish reason length, TTFT .* ms, .* tokens\/s$/,
    );
    const shown = ask('--json', '--image', picture, '--max-tokens', '12', 'What is this?');
    assert.is(stdout.trimEnd(), JSON.parse(shown.stdout).answer, 'nothing but the answer on standard output');
    assert.not.match(stderr + shown.stderr, /memory on/, 'memory that is not tight is no matter');
  });

  test('the same question has the same greedy answer, and chance its seed', () => {
    const text = (...args: string[]) => JSON.parse(ask('--json', '--max-tokens', '16', ...args, 'Hello').stdout).text;
    const greedy = text();
    assert.is(text(), greedy);
    const drawn = text('--temperature', '1.5', '--seed', '3');
    assert.is(text('--temperature', '1.5', '--seed', '3'), drawn);
    assert.is.not(drawn, greedy);
    assert.is.not(text('--temperature', '1.5', '--seed', '4'), drawn);
  });

  test('the context ends an answer, and refuses a prompt that does not fit', () => {
    const { stdout } = ask('--json', '--context', '50', 'Hello');
    const { promptTokens, newTokens, finishReason } = JSON.parse(stdout);
    assert.is(finishReason, 'length');
    assert.is(promptTokens + newTokens, 51);
    fails(ask('--context', '20', 'Hello'), /prompt: expected at most 20 positions, got \d+/);
    fails(ask('--context', '40000', 'Hello'), /context: expected at most 32768 positions, got 40000/);
  });

  test('wrong questions, marks, pictures and arguments end in one clear line', () => {
    fails(ask(''), /expected text or a picture, got neither/);
    fails(ask('What is <image>?'), /pictures: expected 1, one per <image>, got 0/);
    fails(ask('--image', picture, '<image> or <image>?'), /pictures: expected 2, one per <image>, got 1/);
    fails(ask('--image', picture, '--image', picture, 'One <image>?'), /pictures: expected 1, one per <image>, got 2/);
    fails(ask('--image', '/nowhere.png', 'What?'), /\/nowhere\.png: expected a readable picture/, 1);
    fails(ask('--mode', 'maybe', 'What?'), /--mode .* is invalid.*auto, think, nothink/);
    fails(ask('--temperature', 'hot', 'What?'), /temperature: expected a finite number >= 0, got NaN/);
    fails(ask('--top-p', '2', 'What?'), /topP: expected a number above 0 and at most 1, got 2/);
    fails(ask('--max-tokens', '0', 'What?'), /--max-tokens .*expected an integer from 1 on/);
    fails(runDaybreak('ask', 'What?'), /required option '--model <dir>'/);
  });

  test('the memory plan is printed where it is wanted', () => {
    const question = ['--image', picture, '--max-tokens', '3', 'What is this?'];
    const { status, stderr } = ask('--verbose', '--release-vision', ...question);
    assert.is(status, 0, stderr);
    assert.match(
      stderr,
      /^memory on .* for \d+ positions and 255 patches, in MiB\n {2}vision tower +1 {2}bf16, f32\n/m,
    );
  });

  test('a literal <image> is asked about with a backslash', () => {
    const { status, stdout, stderr } = ask(
      '--json',
      '--max-tokens',
      '1',
      '--image',
      picture,
      'What does \\<image> mean?',
    );
    assert.is(status, 0, stderr);
    assert.is(JSON.parse(stdout).imageTokens, 255);
  });

  test('a stale index beside a whole file is told on standard error', () => {
    const dir = mkdtempSync(join(tmpdir(), 'daybreak-ask-'));
    writeWhole(dir);
    const { status, stdout, stderr } = runDaybreak('ask', '--model', dir, '--json', '--max-tokens', '1', 'Hello');
    assert.is(status, 0, stderr);
    assert.is(JSON.parse(stdout).newTokens, 1);
    assert.match(
      stderr,
      /^note: .*index\.json: missing\.safetensors is not there; .* from model\.safetensors instead$/m,
    );
    rmSync(dir, { recursive: true });
  });

  test('a full disk is said, and a reader that has gone is not', () => {
    const shell = (line: string) => spawnSync('bash', ['-c', line, '-', TINY], { cwd: ROOT, encoding: 'utf8' });
    const question = 'npm run -s ask -- --model "$1" --max-tokens 3 Hello';
    const full = shell(`${question} > /dev/full`);
    assert.is(full.status, 1);
    assert.match(full.stderr, /^error: standard output: expected a place to write to, got ENOSPC: .*; free space/m);
    const gone = shell(`set -o pipefail; ${question} | true`);
    assert.is(gone.status, 0, gone.stderr);
    assert.not.match(gone.stderr, /error/);
    assert.not.match(full.stderr + gone.stderr, /maxDynamic/, "Dawn's warnings, which mean nothing");
  });

  test('a checkout may have any name but one with a question mark, which is refused in words', () => {
    for (const name of ['a #b%20 c', 'what?']) {
      const parent = mkdtempSync(join(tmpdir(), 'daybreak-ask-'));
      const folder = join(parent, name);
      mkdirSync(folder);
      copyWorkingTree(folder);
      symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
      const question = ['run', '-s', 'ask', '--', '--model', 'bench/reference/tiny', '--max-tokens', '1', 'Hello'];
      const ended = spawnSync('npm', question, { cwd: folder, encoding: 'utf8' });
      if (name.includes('?')) fails(ended, /^error: checkout: expected a path without \?, got .*what\?.*; rename/);
      else assert.is(ended.status, 0, ended.stderr);
      rmSync(parent, { recursive: true });
    }
  });

  test('a picture stored sideways is named once, and turned on demand', () => {
    const sideways = join(ROOT, 'test/fixtures/pictures/orientation_6.png');
    const stored = ask('--image', sideways, '--image', sideways, '--max-tokens', '1', 'What is this?');
    const note = `${sideways}: stored sideways; --upright turns it`;
    assert.is(stored.stderr.split(note).length, 2, stored.stderr);
    const upright = ask('--image', sideways, '--upright', '--max-tokens', '1', 'What is this?');
    assert.is(upright.status, 0, upright.stderr);
    assert.not.ok(upright.stderr.includes('sideways;'));
  });

  test('damaged model folders are named', () => {
    const dir = mkdtempSync(join(tmpdir(), 'daybreak-ask-'));
    cpSync(TINY, dir, { recursive: true });
    const damaged = (name: string, contents: string, pattern: RegExp) => {
      writeFileSync(join(dir, name), contents);
      fails(runDaybreak('ask', '--model', dir, 'Hello'), pattern, 1);
      copyFileSync(join(TINY, name), join(dir, name));
    };
    damaged('tokenizer.json', '{"model":', /tokenizer\.json: /);
    damaged('chat_template.jinja', '{% for %}', /chat_template\.jinja: template: expected a Jinja chat template/);
    damaged('model-00001-of-00002.safetensors', 'short', /model-00001-of-00002\.safetensors: /);
    rmSync(dir, { recursive: true });
  });
}

test.run();
