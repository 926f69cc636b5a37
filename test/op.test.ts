// tier: any
// alone
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { showCase } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { parseCase } from '../tools/op/case_text.ts';
import { workgroupMemory } from '../tools/op/workgroup_memory.ts';
import { type Ended, fails } from './bench.ts';
import { copySources } from './copy.ts';
import { testDevice } from './gpu.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const WATCH_MILLIS = 2000;
const TIMED = /^rms_norm\/\w+ +[\d.e-]+ +[\d.]+/m;

const command = (root: string, args: string[]) => [
  ...['--import', 'tsx', '--import', join(root, 'tools/software_vulkan.ts'), join(root, 'tools/op.ts')],
  ...args,
];

function opAt(root: string, ...args: string[]): Ended {
  return spawnSync(process.execPath, command(root, args), { cwd: root, encoding: 'utf8', timeout: 120_000 });
}

const op = (...args: string[]): Ended => opAt(ROOT, ...args);

function edit(root: string, files: string[], from: string, to: string): void {
  for (const file of files) {
    const path = join(root, 'kernels', file);
    const text = readFileSync(path, 'utf8');
    assert.ok(text.includes(from), `${file}: ${from}`);
    writeFileSync(path, text.replace(from, to));
  }
}

const RMS_NORM = ['rms_norm/rms_norm.wgsl', 'rms_norm/rms_norm_subgroup.wgsl'];

test('a case as text is read as the same case, for every spec', () => {
  for (const spec of specs) {
    for (const { quick, ...c } of [...spec.cases, ...spec.bench]) assert.equal(parseCase(spec, showCase(c)), c);
  }
});

test('fields left out are those of the first bench shape, and absent where not every case has them', () => {
  const spec = specs.find(({ name }) => name === 'rms_norm')!;
  assert.equal(parseCase(spec, ''), { rows: 1, cols: 5120, as: 'f32' });
  assert.equal(parseCase(spec, 'cols=8,row=0'), { rows: 1, cols: 8, as: 'f32', row: 0 });
});

test('workgroup memory follows from constants, where it can', () => {
  const bytes = (...lines: string[]) => workgroupMemory(lines.join('\n'));
  assert.is(bytes('fn main() {}'), 0);
  assert.is(bytes('const WG: u32 = 0x40u;', 'var<workgroup> a: array<f32, WG>;'), 256);
  assert.is(bytes('alias elem = f16;', 'var<workgroup> a: elem;', 'var<workgroup> b: atomic<u32>;'), 32);
  assert.is(bytes('const N = 3;', 'var<workgroup> a: array<vec3f, N + 2 * 4>; // padded'), 176);
  const quads = ['const FORMAT: u32 = 1u;', 'const QUADS: u32 = select(2u, 1u, FORMAT == 0u) * (7u / 2u);'];
  assert.is(bytes(...quads, 'var<workgroup> a: array<vec4<f16>, min(QUADS, 9u)>;'), 48);
  assert.is(bytes('var<workgroup> a: array<array<u32, 4>, 8u>;'), 128);
  assert.is(bytes('var<workgroup> a: array<f32, LENGTH>;'), undefined);
  assert.is(bytes('var<workgroup> a: Pair;'), undefined);
});

test('bad arguments end in one clear line and exit code 2', () => {
  fails(op(), /missing required argument 'name'/);
  fails(op('soft_max'), /op: expected one of advance, .*, got 'soft_max'/);
  fails(op('rms_norm', '--case', 'width=3'), /rms_norm: expected a field of rows, cols, as, .*, got 'width'/);
  fails(op('rms_norm', '--case', 'rows=many'), /rms_norm: rows: expected a number, got 'many'/);
  fails(op('rms_norm', '--case', 'as=f64'), /rms_norm: as: expected f32 or f16, got 'f64'/);
  fails(op('rms_norm', '--case', 'rows'), /expected k=v,\.\.\., got 'rows'/);
  fails(op('rms_norm', 'rows=1', '--case', 'rows=2'), /expected one case/);
  fails(op('rms_norm', '--sweep', 'ROWS=1,2'), /expected a field of rows, cols, as, .*, got 'ROWS'/);
  fails(op('rms_norm', '--variant', 'fast'), /--variant: expected one of all, .*rms_norm, got 'fast'/);
  fails(op('rms_norm', '--seed', 'x'), /--seed .*expected an integer/);
  fails(op('rms_norm', '--fast'), /unknown option '--fast'/);
});

const device = await testDevice();
if (device) {
  device.dispose();

  test('a right op prints its rows: bench shapes, a case, every variant', () => {
    const { status, stdout, stderr } = op('rms_norm');
    assert.is(status, 0, stderr);
    assert.match(stdout, /^adapter: .*\nceilings /);
    assert.match(stdout, /^rms_norm\/\w+ .* rows=512,cols=5120,as=f32$/m);
    const all = op('rms_norm', '--case', 'rows=3,cols=12,as=f32', '--variant', 'all');
    assert.match(all.stdout, /^rms_norm\/rms_norm +[\d.e-]+( +[\d.e-]+){6} % +256 +1 +3 {2}rows=3,cols=12,as=f32$/m);
    assert.is(all.status, 0, all.stderr);
  });

  test('an op that writes into one of its tensors, and not all of it, is timed', () => {
    const { status, stdout, stderr } = op('kv_append');
    assert.is(status, 0, stdout + stderr);
    assert.match(stdout, /^kv_append\/kv_append +0 +\d/m);
  });

  test('a line that a failing test prints is a command line', () => {
    const { status, stdout, stderr } = op('rms_norm/rms_norm', 'rows=9,cols=64,as=f32,row=6', '--seed', '7');
    assert.is(status, 0, stderr);
    assert.match(stdout, /^rms_norm\/rms_norm .* rows=9,cols=64,as=f32,row=6$/m);
  });

  test('sweeps of a field and of a constant, dispatches and source', () => {
    const folder = mkdtempSync(join(tmpdir(), 'daybreak-op-'));
    const file = join(folder, 'rows.json');
    const rows = op('rms_norm', '--case', 'cols=12', '--sweep', 'rows=1,2', '--json', file);
    assert.match(rows.stdout, /rows=1,cols=12,as=f32\n[\s\S]*rows=2,cols=12,as=f32\n/);
    const json = readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    rmSync(folder, { recursive: true });
    const swept = json.map(({ case: c }) => c.rows);
    assert.equal(swept, [1, 2]);
    assert.ok(json.every(({ op: name, micros, adapter }) => name === 'rms_norm' && micros.length >= 5 && adapter));
    const lanes = op('rms_norm/rms_norm', '--case', 'cols=12', '--sweep', 'WG=32,64', '--print-wgsl');
    assert.match(lanes.stdout, / 128 .* WG=32\n[\s\S]* 256 .* WG=64\n/);
    const at = readFileSync(join(ROOT, 'kernels/rms_norm/rms_norm.wgsl'), 'utf8').split('\n');
    const line = at.findIndex((text) => text.startsWith('const WG')) + 1;
    assert.match(lanes.stdout, new RegExp(`^ +${line} {2}const WG: u32 = 32u;$`, 'm'));
    const { stdout, status, stderr } = op('sample', '--case', 'n=257', '--profile');
    if (/timestamp-query/.test(stderr)) return;
    assert.match(stdout, /^Dispatches of sample\/sample_draw .*n=257\n[\s\S]*^sample\/sample_weights +\d+ % /m);
    assert.is(status, 0, stderr);
  });

  test('cases that cannot be are one clear line', () => {
    fails(op('rms_norm', '--case', 'rows=-1'), /--case: expected sizes that inputs can have, got rows=-1,/);
    fails(op('matmul', '--case', 'inner=7'), /matmul: inner: expected a multiple of 8, got 7/);
    fails(op('layer_norm', '--sweep', 'NO=1'), /expected a field of/);
  });

  test('a flipped sign turns the exit code 1 and prints WRONG without a time', () => {
    const root = copySources();
    edit(root, RMS_NORM, 'let scale = inverseSqrt', 'let scale = -inverseSqrt');
    for (const args of [[], ['--case', 'rows=2,cols=12'], ['--variant', 'all', '--profile']]) {
      const { status, stdout, stderr } = opAt(root, 'rms_norm', ...args, '--json', join(root, 'rows.json'));
      assert.is(status, 1, stderr);
      assert.match(
        stdout,
        /^rms_norm\/\w+ +WRONG {2}rows=.*: \[0\]: expected .*, got .*; largest error [\d.]+, 200 % /m,
      );
      assert.not.match(stdout, TIMED);
      assert.not.match(readFileSync(join(root, 'rows.json'), 'utf8'), /micros/);
    }
    assert.is(opAt(root, 'layer_norm', 'rows=2,cols=12').status, 0);
    rmSync(root, { recursive: true });
  });

  test('a kernel that does not compile is named with file, line and column, its library too', () => {
    const root = copySources();
    edit(root, RMS_NORM, 'let scale = ', 'let scale = no_');
    const own = opAt(root, 'rms_norm/rms_norm', 'rows=2');
    assert.is(own.status, 1, own.stderr);
    assert.match(own.stdout, /^kernels\/rms_norm\/rms_norm\.wgsl:\d+:\d+: unresolved/m);
    edit(root, RMS_NORM, 'let scale = no_', 'let scale = ');
    edit(root, ['lib/sum.wgsl'], 'return ', 'return no_');
    const at = readFileSync(join(root, 'kernels/lib/sum.wgsl'), 'utf8').split('\n');
    const line = at.findIndex((text) => text.includes('return no_')) + 1;
    const lib = opAt(root, 'rms_norm/rms_norm', 'rows=2');
    assert.match(lib.stdout, new RegExp(`^kernels/lib/sum\\.wgsl:${line}:\\d+: unresolved`, 'm'));
    assert.not.match(lib.stdout, TIMED);
    rmSync(root, { recursive: true });
  });

  test('--watch runs again within 2 s of a change, survives errors and ends with exit code 0', async () => {
    const root = copySources();
    const child = spawn(process.execPath, command(root, ['rms_norm', 'rows=1,cols=8,as=f32', '--watch']), {
      cwd: root,
    });
    const runs = readRuns(child);
    try {
      assert.match(await runs(), TIMED);
      const millis: number[] = [];
      while (millis.length < 5 && !millis.some((took) => took < WATCH_MILLIS)) {
        edit(root, RMS_NORM, '// y', '// y');
        const start = performance.now();
        assert.match(await runs(), TIMED);
        millis.push(performance.now() - start);
      }
      assert.ok(Math.min(...millis) < WATCH_MILLIS, `${millis} ms`);
      edit(root, RMS_NORM, 'let scale = ', 'let scale = no_');
      assert.match(await runs(), /kernels\/rms_norm\/\w+\.wgsl:\d+:\d+: unresolved[\s\S]*-- exit code 1 /);
      edit(root, RMS_NORM, 'let scale = no_', 'let scale = ');
      assert.match(await runs(), TIMED);
      edit(root, ['rms_norm/rms_norm.ts'], 'export function', 'export functio');
      assert.match(await runs(), /-- exit code 1 /);
      edit(root, ['rms_norm/rms_norm.ts'], 'export functio ', 'export function ');
      assert.match(await runs(), TIMED);
      const ended = new Promise((done) => child.on('exit', (code, signal) => done(signal ?? code)));
      child.kill('SIGINT');
      assert.is(await ended, 0);
    } finally {
      child.kill('SIGKILL');
      rmSync(root, { recursive: true });
    }
  });
}

/** What a watching command prints up to the end of its next run. */
function readRuns(child: ChildProcess): () => Promise<string> {
  let text = '';
  let wake = () => {};
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (part) => {
      text += part;
      wake();
    });
  }
  child.on('exit', () => wake());
  return async () => {
    for (;;) {
      const end = /-- exit code .*\n/.exec(text);
      if (end) {
        const run = text.slice(0, end.index + end[0].length);
        text = text.slice(run.length);
        return run;
      }
      if (child.exitCode !== null) throw new Error(`ended with exit code ${child.exitCode}:\n${text}`);
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
}

test.run();
