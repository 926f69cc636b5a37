// tier: any
// alone
// The tuner: what is right and fastest is found on the device, and what is wrong there is named and never used.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { race } from '../bench/tune/race.ts';
import { tuneProblems } from '../bench/tune.ts';
import { specs } from '../kernels/specs.ts';
import { OutOfMemoryError, Plan } from '../runtime/index.ts';
import { type Ended, fails, runDaybreak, TINY } from './bench.ts';
import { copySources, replaceIn } from './copy.ts';
import { testDevice } from './gpu.ts';

/** Says which variant an op takes, and whether it is right. */
const CHOSEN = `
  import { Random } from './kernels/spec.ts';
  import { specs } from './kernels/specs.ts';
  import { chosenVariant, verifyCase } from './kernels/verify.ts';
  import { openDevice } from './runtime/index.ts';
  const spec = specs.find(({ name }) => name === 'rms_norm');
  const c = { rows: 1, cols: 512, as: 'f32' };
  const device = await openDevice();
  const { name } = chosenVariant(device, spec, c, spec.inputs(c, new Random(1)));
  console.log(name, 'is right:', (await verifyCase(device, spec, c, name)).ok);
  device.dispose();`;

const device = await testDevice();
if (device) {
  test('variants take turns, and the fastest comes first', async () => {
    const before = device.memory.current;
    const spec = specs.find(({ name }) => name === 'matmul')!;
    const c = spec.bench.find(({ rows, weights, from }) => rows === 1 && weights === 'bf16' && from === 'f32')!;
    const small = { ...c, inner: 512, outs: 512, activation: 'none', split: 0 };
    // On one row a tile of 64 does 64 times the work.
    const variants = spec.variants.filter(({ name }) => ['matmul/matmul_tile', 'matmul/gemv_register'].includes(name));
    const { problem, usual, order, micros, wrong } = await race(device, spec, [small], variants, 100);
    assert.is(problem, '1 f32 bf16');
    assert.is(usual.name, 'matmul/gemv_register');
    assert.equal(
      order.map(({ name }) => name),
      ['matmul/gemv_register', 'matmul/matmul_tile'],
    );
    assert.ok(micros.get(usual)!.length >= 3 && micros.get(usual)!.every((sample) => sample > 0));
    assert.is(wrong.size, 0);
    assert.is(device.memory.current, before);
  });

  test('a variant that the device has no room to check is neither right nor wrong', async () => {
    const create = Plan.create;
    Plan.create = (graph, options) => {
      if (options?.guardBytes && graph.forced.layer_norm === 'layer_norm/layer_norm_subgroup')
        throw new OutOfMemoryError('test: no room');
      return create.call(Plan, graph, options);
    };
    try {
      const problem = { op: 'layer_norm', cases: [{ rows: 3, cols: 64, mean: 0, as: 'f32' }] };
      const { ops, problems } = await tuneProblems(device, [problem], 60, () => {});
      const [best] = Object.values(ops.layer_norm!.best);
      assert.is(problems.length, 1);
      assert.ok(best!.length > 0 && !best!.includes('layer_norm_subgroup'), best!.join());
      assert.equal(ops.layer_norm!.wrong, {});
    } finally {
      Plan.create = create;
    }
  });

  test('what is known when it is killed is kept', async () => {
    const cache = mkdtempSync(join(tmpdir(), 'daybreak-tune-'));
    const script = new URL('../tools/command/main.ts', import.meta.url).pathname;
    const preload = new URL('../tools/software_vulkan.ts', import.meta.url).pathname;
    const args = ['--import', 'tsx', '--import', preload, script, 'tune', '--model', TINY, '--formats', 'bf16'];
    const env = { ...process.env, XDG_CACHE_HOME: cache };
    const child = spawn(process.execPath, [...args, '--dtypes', 'f32'], { env, stdio: ['ignore', 'pipe', 'ignore'] });
    try {
      let shown = '';
      await new Promise<void>((resolve) => {
        child.on('exit', () => resolve());
        child.stdout.on('data', (text) => {
          shown += text;
          if (/^qkv 1 .*\n/m.test(shown)) child.kill('SIGKILL');
        });
      });
      const [file] = readdirSync(join(cache, 'daybreak')).filter((name) => name.startsWith('variants-'));
      const { qkv } = JSON.parse(readFileSync(join(cache, 'daybreak', file!), 'utf8')).ops;
      const [, first] = /^(qkv 1 .*?) {2,}/m.exec(shown)!;
      assert.ok(Object.keys(qkv.best).includes(first!), `${first} ${JSON.stringify(qkv.best)}`);
    } finally {
      child.kill('SIGKILL');
      rmSync(cache, { recursive: true });
    }
  });

  const root = copySources();
  const cacheIn = (folder: string) => join(folder, 'cache');
  const run = (folder: string, script: string, ...args: string[]): Ended => {
    const preload = join(folder, 'tools/software_vulkan.ts');
    const command = ['--import', 'tsx', '--import', preload, join(folder, script), ...args];
    const env = { ...process.env, XDG_CACHE_HOME: cacheIn(folder) };
    return spawnSync(process.execPath, command, { cwd: folder, env, encoding: 'utf8', timeout: 540_000 });
  };
  const table = () => {
    const file = readdirSync(join(cacheIn(root), 'daybreak')).find((name) => name.startsWith('variants-'))!;
    return JSON.parse(readFileSync(join(cacheIn(root), 'daybreak', file), 'utf8'));
  };
  test.after(() => {
    device.dispose();
    rmSync(root, { recursive: true });
  });

  test('a variant with a fault, and one that does not compile, are named and never chosen', () => {
    replaceIn(join(root, 'kernels/rms_norm/rms_norm_subgroup.wgsl'), 'vec4<elem>(w[i] *', 'vec4<elem>(-w[i] *');
    replaceIn(join(root, 'kernels/layer_norm/layer_norm_subgroup.wgsl'), '/ f32(COLS) + EPS)', '/ f32(COLS) + EPZ)');
    replaceIn(
      join(root, 'bench/tune/problems.ts'),
      'joined(problems)',
      'joined(problems.filter(({ op }) => /_norm$/.test(op)))',
    ); // which compile quickly
    writeFileSync(join(root, 'chosen.ts'), CHOSEN);
    assert.match(run(root, 'chosen.ts').stdout, /^rms_norm\/rms_norm_subgroup is right: false$/m);

    const json = join(root, 'tune.jsonl');
    const args = ['--formats', 'bf16', '--dtypes', 'f32', '--seconds', '4', '--json', json];
    const tuned = run(root, 'tools/command/main.ts', 'tune', ...args);
    assert.is(tuned.status, 1, tuned.stdout + tuned.stderr);
    const broken = [
      'layer_norm/layer_norm_subgroup',
      'rms_norm/rms_norm_subgroup',
      'rms_norm/rms_norm_subgroup:WG=256',
    ];
    const named = [...tuned.stdout.matchAll(/^(\S+) is WRONG here and not used: (.+)$/gm)];
    assert.equal(named.map(([, name]) => name).sort(), broken, tuned.stdout);
    const faultOf = (name: string) => named.find((line) => line[1] === name)![2]!;
    assert.match(faultOf('rms_norm/rms_norm_subgroup'), /rows=1,.*: \[\d+\]: expected .*, got /);
    assert.match(faultOf('layer_norm/layer_norm_subgroup'), /layer_norm_subgroup\.wgsl:\d+:\d+: .*EPZ/);
    assert.match(tuned.stdout, /^\d+ problems in [\d.]+ s, [\d.]+ of them for compiling and checks$/m);
    const ops: Record<string, { best: Record<string, string[]> }> = table().ops;
    const ranked = Object.values(ops).flatMap(({ best }) => Object.values(best));
    assert.ok(ranked.length > 0);
    for (const names of ranked)
      assert.equal(
        names.filter((name) => !name.includes('subgroup')),
        names,
      );
    const rows = readFileSync(json, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.ok(
      rows[0].variants.every(({ micros }: { micros: number[] }) => micros.length > 0 && micros.every((t) => t > 0)),
    );

    const seen = run(root, 'tools/command/main.ts', 'info');
    assert.is(seen.status, 1, seen.stderr);
    for (const name of broken) assert.match(seen.stdout, new RegExp(`^${name} is WRONG here and not used: `, 'm'));
    assert.match(seen.stdout, /^rms_norm 1 .*f32.* measured here +rms_norm\/rms_norm$/m);
    assert.match(run(root, 'chosen.ts').stdout, /^rms_norm\/rms_norm is right: true$/m);
  });

  const asksOnce = () => {
    const fresh = copySources();
    test.after(() => rmSync(fresh, { recursive: true }));
    const measured = join(fresh, 'kernels/measured.ts');
    const committed = /COMMITTED: readonly MeasuredTable\[\] = \[.*\];/.exec(readFileSync(measured, 'utf8'))![0];
    replaceIn(measured, committed, 'COMMITTED: readonly MeasuredTable[] = [];');
    replaceIn(join(fresh, 'bench/tune.ts'), 'ONCE_SECONDS = 50', 'ONCE_SECONDS = 300'); // this machine may be busy
    const ask = (...args: string[]) =>
      run(fresh, 'tools/command/main.ts', 'ask', '--model', TINY, '--max-tokens', '2', ...args, 'Hello');
    const kept = () =>
      existsSync(join(cacheIn(fresh), 'daybreak')) &&
      readdirSync(join(cacheIn(fresh), 'daybreak')).some((name) => name.startsWith('variants-'));
    const note =
      /^note: measuring once what is fastest on .* for this model; nothing new is timed after \d+ s, .*; --no-tune leaves/m;
    assert.not.match(ask('--no-tune').stderr, note);
    assert.not.ok(kept());
    const first = ask('--json');
    assert.is(first.status, 0, first.stderr);
    assert.match(first.stderr, note);
    assert.match(first.stderr, /^note: measured in [\d.]+ s$/m);
    assert.is(JSON.parse(first.stdout).newTokens, 2, 'nothing else on standard output');
    assert.ok(kept());
    assert.not.match(ask().stderr, note);
  };
  if (process.env.DAYBREAK_SLOW === '1') {
    test('asking tunes once on an adapter that is not known, and says so; --no-tune does not', asksOnce);
  } else console.log('without DAYBREAK_SLOW=1: no tuning by ask on an adapter that is not known');

  test('the command line is checked', () => {
    fails(runDaybreak('tune', '--adapter', 'null'), /tune: expected an adapter that computes, got 'null'$/);
    fails(runDaybreak('tune', '--formats', 'int3'), /--formats .*expected some of int4, bf16$/);
    fails(runDaybreak('tune', '--seconds', '0'), /--seconds .*expected a number above 0$/);
    fails(runDaybreak('tune', '--write', join(root, 'no', 'file')), /--write: expected a file that can be written/);
  });
}

test.run();
