// tier: host
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const WARNING =
  'Warning: maxDynamicUniformBuffersPerPipelineLayout artificially reduced from 1000000 to 16 to fit dynamic offset allocation limit.';

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const command = (act: string) => [path('../tools/start.mjs'), path('fixtures/native_lines.ts'), act];
const run = (act: string) =>
  spawnSync(process.execPath, command(act), { encoding: 'latin1', timeout: 60_000, maxBuffer: 2 ** 24 });

test("two lines of Dawn's native code are left out, and every other byte comes through", () => {
  const { status, stderr } = run('mixed');
  assert.is(status, 0);
  assert.equal(stderr.split('\n'), [
    'first',
    `second ${Buffer.from('\u00e9').toString('latin1')} \u00ff`,
    'Warning: another',
    'Warning: maxDynamicUniformBuffersPerPipelineLayout is fine',
    ` x ${WARNING}`,
    'last',
  ]);
});

test('lines that come in parts are put together, and what has no end is shown too', () => {
  const { stderr } = run('torn');
  assert.equal(stderr.split('\n'), [`waiting: maxDynamicWar${WARNING}`, 'end', 'Warning: maxDyn']);
});

test('what was written before a crash is shown, and the crash is the exit code', () => {
  const { status, stderr } = run('crash');
  assert.is(status, 139);
  assert.ok(stderr === 'before the crash\n'.repeat(1000), stderr.slice(-1000));
});

test('what a program prints itself keeps its order, and its exit code', () => {
  const expected = Array.from({ length: 100 }, (_, i) => [`out ${i}`, `error ${i}`]).flat();
  for (const line of ['"$0" "$@" 2>&1', 'f=$(mktemp) && ! "$0" "$@" > "$f" 2>&1 && cat "$f" && rm "$f" && exit 3']) {
    const { status, stdout } = spawnSync('sh', ['-c', line, process.execPath, ...command('interleaved')]);
    assert.is(status, 3);
    assert.equal(String(stdout).trim().split('\n'), expected);
  }
});

test('a terminal stays one', () => {
  const quoted = [process.execPath, ...command('terminal')].map((word) => `'${word}'`).join(' ');
  const { error, stdout } = spawnSync('script', ['-qec', quoted, '/dev/null'], { encoding: 'utf8' });
  if (error) console.log('SKIP start: script (bsdutils) is not there to make a terminal');
  else assert.is(stdout.trim(), 'terminal: true');
  assert.is(run('terminal').stdout, 'terminal: false\n');
});

test('a process that holds standard error open holds up nothing', () => {
  const started = performance.now();
  const { status, stderr } = run('heir');
  assert.is(status, 0);
  assert.is(stderr, 'left\n');
  assert.ok(performance.now() - started < 15_000);
});

test('a process that the program forks keeps its own channels', () => {
  const { status, stdout, stderr } = run('forks');
  assert.is(status, 0);
  assert.equal([stdout, stderr], ['answered\n', 'of a fork\n']);
});

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  test(`${signal} reaches the program`, async () => {
    const child = spawn(process.execPath, command('waits'));
    await once(child.stdout, 'data');
    const started = performance.now();
    child.kill(signal);
    const [code] = await once(child, 'close');
    assert.is(code, 128 + { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 }[signal]);
    assert.ok(performance.now() - started < 10_000);
  });
}

test.run();
