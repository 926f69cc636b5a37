// tier: gpu
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Ended } from './bench.ts';
import { copySources, replaceIn } from './copy.ts';
import { testDevice } from './gpu.ts';

const device = await testDevice();
if (device) {
  device.dispose();
  const root = copySources();
  const run = (script: string, ...args: string[]): Ended => {
    const command = [
      '--import',
      'tsx',
      '--import',
      join(root, 'tools/software_vulkan.ts'),
      join(root, script),
      ...args,
    ];
    return spawnSync(process.execPath, command, { cwd: root, encoding: 'utf8', timeout: 300_000 });
  };
  const kernel = (name: string) => join(root, 'kernels', name);

  test.before(() => {
    replaceIn(kernel('rope/rope.wgsl'), 'a * cosine - b * sine', 'a * cosine + b * sine');
    replaceIn(kernel('resize_position/resize_position.wgsl'), 'sum += weight', 'sum -= weight');
  });
  test.after(() => rmSync(root, { recursive: true }));

  test('a flipped sign turns the op check red, names the op and shows no time', () => {
    const { status, stdout } = run('tools/op.ts', 'rope');
    assert.is(status, 1, stdout);
    assert.match(stdout, /^rope\/rope +WRONG .*expected/m);
    assert.not.match(stdout, /^rope\/rope +[\d.]/m);
  });

  test('it turns the bench of the ops red, and leaves the others green', () => {
    const { status, stdout } = run('bench/main.ts', 'ops', 'rope');
    assert.is(status, 1, stdout);
    assert.match(stdout, /^rope\/rope +WRONG/m);
    assert.is(run('bench/main.ts', 'ops', 'argmax').status, 0);
  });

  test('it turns the rows of the e2e bench red and names the first stage that diverges', () => {
    const { status, stdout } = run('bench/main.ts', 'e2e', '--prompts', 'text,one');
    assert.is(status, 1, stdout);
    assert.match(stdout, /^text .* WRONG from greedy: relative logit error .*$/m);
    assert.match(stdout, /^one .* WRONG from img0\.vis_sel: relative error .*$/m);
    assert.match(stdout, /2 of 2 prompts do not match/);
  });
}

test.run();
