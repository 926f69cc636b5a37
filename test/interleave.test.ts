// tier: any
// alone
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { makeRepository } from '../tools/repository.ts';
import { type Ended, fails } from './bench.ts';
import { replaceIn } from './copy.ts';
import { testDevice } from './gpu.ts';

const device = await testDevice();
if (device) {
  device.dispose();
  const root = makeRepository();
  const temporary = mkdtempSync(join(tmpdir(), 'daybreak-interleave-'));
  test.after(() => rmSync(temporary, { recursive: true }));

  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=test', '-c', 'user.email=test@localhost', ...args], { cwd: root });

  /** Runs the bench of the repository, with a temporary folder of its own. */
  const compare = (...args: string[]): Ended => {
    const preload = join(root, 'tools/software_vulkan.ts');
    const command = ['--import', 'tsx', '--import', preload, join(root, 'bench/main.ts'), 'compare', '--interleave'];
    const env = { ...process.env, TMPDIR: temporary };
    return spawnSync(process.execPath, [...command, ...args], { cwd: root, env, encoding: 'utf8', timeout: 300_000 });
  };
  const leftBehind = () => readdirSync(temporary).filter((name) => name.startsWith('daybreak-compare-'));

  test('commits that cannot take part and names that nobody has end in one clear line', () => {
    git('checkout', '--quiet', '-b', 'old');
    git('rm', '--quiet', 'bench/compare/worker.ts');
    git('commit', '--quiet', '--message=old');
    git('checkout', '--quiet', '-');
    fails(compare('old'), /--interleave: expected a commit with bench\/compare\/worker\.ts, got old without it/);
    fails(compare('nowhere'), /git rev-parse .* nowhere.*: expected success, got 'fatal: .*'/);
    fails(compare('HEAD', '--ops', 'rms_norm,norm'), /--ops: expected some of .*rms_norm.*, got 'norm'/);
    assert.equal(leftBehind(), []);
  });

  test('a slower kernel is found, a wrong one shows no ratio, and both leave exit code 1', () => {
    replaceIn(join(root, 'kernels/argmax/argmax.ts'), 'workgroups: [parts]', 'workgroups: [parts, 8]');
    for (const name of ['rms_norm', 'rms_norm_subgroup'])
      replaceIn(join(root, `kernels/rms_norm/${name}.wgsl`), 'let scale = inverse', 'let scale = -inverse');
    const json = join(temporary, 'rows.jsonl');
    const { status, stdout, stderr } = compare('HEAD', '--ops', 'argmax,rms_norm', '--json', json, '--markdown', '-');
    git('checkout', '--quiet', '--', '.');
    assert.is(status, 1, stdout + stderr);
    assert.match(stdout, /^new: \w+-dirty \(working tree\)$/m);
    assert.match(stdout, /^argmax\/argmax .* slower +n=100352,values=negative$/m);
    assert.match(stdout, /^rms_norm +(gpu|wall) +WRONG: new rms_norm\/\S+ .*: expected .*, got .* rows=1,/m);
    assert.match(stdout, /^\| argmax\/argmax \| .* \| \*\*slower\*\* \|$/m);
    const rows = readFileSync(json, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const [argmax, ...wrong] = rows;
    assert.ok(argmax.timing.low > 1.05 && argmax.timing.ratio > 1.5, JSON.stringify(argmax.timing));
    assert.ok(argmax.samples.length >= 8 && argmax.samples.flat(2).every((micros: number) => micros > 0));
    assert.ok(wrong.length === 2 && wrong.every(({ timing, samples }) => !timing && samples.length === 0));
    assert.equal(leftBehind(), []);
    assert.ok(existsSync(join(root, 'node_modules/webgpu')));
  });
}

test.run();
