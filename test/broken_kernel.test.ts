// tier: any
// nopt
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
    const env = { ...process.env, XDG_CACHE_HOME: root }; // nothing that was found of these kernels before
    return spawnSync(process.execPath, command, { cwd: root, env, encoding: 'utf8', timeout: 300_000 });
  };
  const kernel = (name: string) => join(root, 'kernels', name);

  test.before(() => {
    replaceIn(kernel('lib/rotary.wgsl'), 'vec4f(-sine.x, sine.x,', 'vec4f(sine.x, sine.x,');
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
    const { status, stdout } = run(
      'bench/main.ts',
      'e2e',
      '--model',
      'bench/reference/tiny',
      '--no-tune',
      '--prompts',
      'text,one',
    );
    assert.is(status, 1, stdout);
    assert.match(stdout, /^text .* WRONG from layers\.0 \(prefill\): relative error .*$/m);
    assert.match(stdout, /^one .* WRONG from img0\.vis_sel: relative error .*$/m);
    assert.match(stdout, /2 of 2 prompts do not match/);
  });

  test('a decoder that is wrong is named by its first wrong layer and phase, and its steps are counted', () => {
    const phi3 = join(root, 'model/phi3.ts');
    replaceIn(kernel('lib/rotary.wgsl'), 'vec4f(sine.x, sine.x,', 'vec4f(-sine.x, sine.x,');
    replaceIn(kernel('resize_position/resize_position.wgsl'), 'sum -= weight', 'sum += weight');
    const broken = (file: string, right: string, wrong: string) => {
      replaceIn(file, right, wrong);
      const { status, stdout } = run(
        'bench/main.ts',
        '--model',
        'bench/reference/tiny',
        '--no-tune',
        '--prompts',
        'text',
      );
      replaceIn(file, wrong, right);
      assert.is(status, 1, stdout);
      return /^text .*$/m.exec(stdout)![0];
    };
    const layer = broken(phi3, '(g, stream, layer,', '(g, stream, this.#layers[i === 1 ? 2 : i]!,');
    assert.match(
      layer,
      /WRONG from layers\.1 \(prefill\): relative error [\d.e-]+; greedy: 24 of 24 steps out of bounds/,
    );
    assert.match(layer, /; forced: 16 of 16 steps out of bounds, .* wrong tokens at steps 0, 1, .* and \d+ more$/);
    const step = broken(phi3, '{ residual: mixed }', '{ residual: x.shape[0] === 1 ? x : mixed }');
    assert.match(step, /WRONG from layers\.0 \(decode\): relative error/);
    const head = broken(phi3, 'this.#norm, this.#config.rmsNormEps', 'this.#norm, 1');
    assert.match(head, /WRONG from lm_head: relative error/);
  });
}

test.run();
