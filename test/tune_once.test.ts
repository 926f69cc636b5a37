// tier: any
// Who asks on an adapter of which nothing is known measures first what is fastest there, once.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Ended, TINY } from './bench.ts';
import { copySources, replaceIn } from './copy.ts';
import { testDevice } from './gpu.ts';

const slow = process.env.DAYBREAK_SLOW === '1';
test('a command line without a device asks for nothing to be measured', () => {
  const { status, stdout } = spawnSync(process.execPath, ['--import', 'tsx', 'tools/ask.ts', '--help'], {
    encoding: 'utf8',
  });
  assert.is(status, 0);
  assert.match(stdout, /--no-tune/);
});

const device = slow ? await testDevice() : undefined;
if (!slow) console.log('without DAYBREAK_SLOW=1: no tuning of an adapter that is not known (a minute or two)');
if (device) {
  device.dispose();
  const root = copySources();
  const cache = join(root, 'cache');
  const run = (script: string, ...args: string[]): Ended => {
    const command = [
      '--import',
      'tsx',
      '--import',
      join(root, 'tools/software_vulkan.ts'),
      join(root, script),
      ...args,
    ];
    const env = { ...process.env, XDG_CACHE_HOME: cache };
    return spawnSync(process.execPath, command, { cwd: root, env, encoding: 'utf8', timeout: 540_000 });
  };
  test.after(() => rmSync(root, { recursive: true }));

  test('asking tunes once on an adapter that is not known, and says so; --no-tune does not', () => {
    const measured = join(root, 'kernels/measured.ts');
    const committed = /COMMITTED: readonly MeasuredTable\[\] = \[.*\];/.exec(readFileSync(measured, 'utf8'))![0];
    replaceIn(measured, committed, 'COMMITTED: readonly MeasuredTable[] = [];');
    replaceIn(join(root, 'bench/tune.ts'), 'seconds: 45', 'seconds: 1');
    const ask = (...args: string[]) => run('tools/ask.ts', '--model', TINY, '--max-tokens', '2', ...args, 'Hello');
    const kept = () =>
      existsSync(join(cache, 'daybreak')) &&
      readdirSync(join(cache, 'daybreak')).some((name) => name.startsWith('variants-'));
    const note = /^note: measuring once what is fastest on .*, 1 s; --no-tune leaves it out$/m;
    assert.not.match(ask('--no-tune').stderr, note);
    assert.not.ok(kept());
    const first = ask('--json');
    assert.is(first.status, 0, first.stderr);
    assert.match(first.stderr, note);
    assert.is(JSON.parse(first.stdout).newTokens, 2, 'nothing else on standard output');
    assert.ok(kept());
    assert.not.match(ask().stderr, note);
  });
}

test.run();
