// tier: host
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { kernel, loadKernel, reflect, specialise, WgslError } from '../runtime/index.ts';

const SOURCE = `// header
alias elem = f32;
const COLS: u32 = 8u;
const SCALE: f32 = 0.5f;
const BIAS: bool = false;
struct Params {
  rows: u32,
  shift: f32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<elem>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2u>;
@group(0) @binding(31) var<uniform> params: Params;
fn main() {}
`;

test('reflects constants, aliases, bindings and parameters', () => {
  const { constants, aliases, bindings, params } = reflect(SOURCE, 'op.wgsl');
  assert.equal([...constants.keys()], ['COLS', 'SCALE', 'BIAS']);
  assert.equal([...aliases.keys()], ['elem']);
  assert.equal(bindings, [
    { name: 'x', index: 0, access: 'read', scalar: 'elem' },
    { name: 'y', index: 2, access: 'read_write', scalar: 'u32' },
  ]);
  assert.equal(params, [
    { name: 'rows', type: 'u32' },
    { name: 'shift', type: 'f32' },
  ]);
});

test('replaces right-hand sides and nothing else', () => {
  const values = { COLS: 72, SCALE: 2, BIAS: true };
  const lines = specialise(SOURCE, 'op.wgsl', reflect(SOURCE, 'op.wgsl'), values).split('\n');
  const before = SOURCE.split('\n');
  assert.equal(
    lines.flatMap((line, i) => (line === before[i] ? [] : [line])),
    ['const COLS: u32 = 72u;', 'const SCALE: f32 = 2.0f;', 'const BIAS: bool = true;'],
  );
});

test('switches f16 on without moving a line', () => {
  const lines = specialise(SOURCE, 'op.wgsl', reflect(SOURCE, 'op.wgsl'), { elem: 'f16' }).split('\n');
  assert.is(lines.length, SOURCE.split('\n').length);
  assert.is(lines[0], 'enable f16; // header');
  assert.is(lines[1], 'alias elem = f16;');
});

test('names file and line of what it cannot read, and unknown or ill-typed constants', () => {
  const fails = (source: string, pattern: RegExp) => assert.throws(() => reflect(source, 'op.wgsl'), pattern);
  fails(SOURCE.replace('array<vec2u>', 'vec2u'), /op\.wgsl:11: expected .*, got '@group\(0\)/);
  fails(SOURCE.replace('  shift: f32,', '  shift: vec4f,'), /op\.wgsl:8: expected/);
  const set = (values: Record<string, number | boolean>) => () =>
    specialise(SOURCE, 'op.wgsl', reflect(SOURCE, 'op.wgsl'), values);
  assert.throws(
    set({ ROWS: 1 }),
    (error: Error) => error instanceof WgslError && /COLS, SCALE, BIAS, elem/.test(error.message),
  );
  assert.throws(set({ COLS: -1 }), /constant COLS: expected u32, got -1/);
  assert.throws(set({ BIAS: 1 }), /constant BIAS: expected bool, got 1/);
  assert.throws(set({ SCALE: Number.NaN }), /constant SCALE: expected f32/);
});

test('a kernel of your own comes as text or as a file, with what it appends, and is refused at once', () => {
  const folder = mkdtempSync(join(tmpdir(), 'daybreak-wgsl-'));
  const file = join(folder, 'own.wgsl');
  writeFileSync(file, SOURCE);
  const lib = ['fn half(x: f32) -> f32 { return 0.5 * x; }'];
  const made = [SOURCE, pathToFileURL(file)].map((wgsl) => loadKernel(kernel({ name: 'own/own', wgsl, lib })));
  assert.is(made[0]!.text, `${SOURCE}\n${lib[0]}`);
  assert.equal(made[1], made[0]);
  rmSync(folder, { recursive: true });
  const refuses = (options: object, message: RegExp) =>
    assert.throws(
      () => kernel({ name: 'own/own', wgsl: SOURCE, ...options }),
      (error: Error) => error instanceof WgslError && message.test(error.message),
    );
  refuses({ wgsl: SOURCE.replace('array<vec2u>', 'vec2u') }, /^own\/own\.wgsl:11: expected/);
  refuses({ wgsl: pathToFileURL(file) }, /kernel: file: expected a readable one, got ENOENT/);
  refuses({ wgsl: undefined }, /kernel: wgsl: expected a text or the URL of a file, got undefined/);
  refuses({ name: 'a b' }, /kernel: name: expected <op>\/<variant>, got "a b"/);
});

test.run();
