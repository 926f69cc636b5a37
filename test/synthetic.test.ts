// tier: host
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { dequantizeWeightsHost } from '../kernels/index.ts';
import { verifyFiles } from '../model/checkpoint/checksums.ts';
import { DEFAULT_FORMATS, loadConfig } from '../model/checkpoint/config.ts';
import { openSynthetic, type SyntheticFormat, SyntheticSource } from '../model/checkpoint/synthetic.ts';
import { Checkpoint, Processor, synthesizeCheckpoint, type TensorSource } from '../model/index.ts';
import { DaybreakError, elements, f32ToF16, UsageError, widen } from '../runtime/index.ts';
import { fails, TINY } from './bench.ts';
import { rejects } from './rejects.ts';

const dir = mkdtempSync(join(tmpdir(), 'synthetic-'));
const FC2 = 'model.vision_tower.vision_tower.vision_model.encoder.layers.0.mlp.fc2.weight';
const DOWN = 'model.layers.0.mlp.down_proj.weight';

function bytesOf(source: TensorSource, name: string, from = 0, length = source.info(name).bytes - from): Uint8Array {
  const bytes = new Uint8Array(length);
  source.readInto(source.info(name), from, bytes);
  return bytes;
}

/** Expects the same bytes; uvu's own comparison would take hours to show a difference. */
function same(got: Uint8Array, expected: Uint8Array, what: string): void {
  assert.ok(Buffer.compare(got, expected) === 0, what);
}

/** Mean, standard deviation and extremes. */
function statistics(values: Float32Array) {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
  return { mean, deviation, least: Math.min(...values), largest: Math.max(...values) };
}

function floats(source: TensorSource, name: string): Float32Array {
  const { dtype, data } = source.read(name);
  return widen(dtype, data);
}

/** The values of a quantised matrix [rows, inner]. */
function dequantized(source: TensorSource, name: string, format: 'q4' | 'q8', rows: number, inner: number) {
  const quants = source.read(`${name}.${format}`).data as Uint32Array;
  const scales = source.read(`${name}.scales`).data as Uint16Array;
  return dequantizeWeightsHost({ quants, scales }, rows, inner, { format, group: DEFAULT_FORMATS.group });
}

test('a seed has its own bytes, the same ones on every machine', () => {
  const sum = (format: SyntheticFormat, seed: number, name: string) =>
    crc32(bytesOf(openSynthetic(TINY, format, seed).source, name)).toString(16);
  assert.is(sum('bf16', 1, DOWN), '9787076f');
  assert.is(sum('bf16', 4294967295, 'model.norm.weight'), '1aab1d5f');
  assert.is(sum('int4', 1, `${DOWN}.q4`), '26abfaa4');
  assert.is(sum('int4', 1, `${DOWN}.scales`), 'e0dcccb9');
  assert.is(sum('int4', 1, 'lm_head.weight.q8'), '947d343b');
  assert.is(sum('int4', 1, FC2), '3ce3afab');
});

test('tensors of one shape differ, and so do seeds', () => {
  const { source } = openSynthetic(TINY, 'bf16', 1);
  const other = openSynthetic(TINY, 'bf16', 2).source;
  const all = [source, other].flatMap((s) => [0, 1, 2].map((i) => bytesOf(s, DOWN.replace('0', `${i}`))));
  assert.is(new Set(all.map((bytes) => crc32(bytes))).size, all.length);
  for (const seed of [-1, 0.5, 2 ** 32, Number.NaN]) {
    assert.throws(
      () => openSynthetic(TINY, 'bf16', seed),
      (e: Error) => e instanceof UsageError && /seed: expected/.test(e.message),
    );
  }
});

test('a read gives the same bytes wherever it begins and ends', () => {
  const { source } = openSynthetic(TINY, 'int4', 7);
  for (const name of ['lm_head.weight.q8', 'lm_head.weight.scales', `${DOWN}.q4`, FC2, 'model.norm.weight']) {
    const whole = bytesOf(source, name);
    for (const [from, length] of [
      [0, 1],
      [1, 2],
      [3, whole.length - 3],
      [5, 77],
      [whole.length - 1, 1],
      [whole.length, 0],
    ] as const)
      same(bytesOf(source, name, from, length), whole.slice(from, from + length), `${name} ${from} ${length}`);
  }
  const info = source.info(FC2);
  for (const [from, length] of [
    [1, info.bytes],
    [-1, 1],
  ] as const)
    assert.throws(
      () => source.readInto(info, from, new Uint8Array(length)),
      /fc2.*expected a range within its \d+ bytes/,
    );
});

test('a read across the blocks of the generator is that of one piece', () => {
  const config = { ...loadConfig(TINY) };
  const source = new SyntheticSource({ ...config, decoder: { ...config.decoder, vocab: 4096 } }, 3);
  const whole = bytesOf(source, 'lm_head.weight');
  assert.ok(whole.length > 10 * 2 ** 16);
  for (let from = 65530; from < whole.length; from += 100_001)
    same(bytesOf(source, 'lm_head.weight', from, 65537), whole.slice(from, from + 65537), `${from}`);
});

test('values have the promised mean, deviation and range', () => {
  const { source, config } = openSynthetic(TINY, 'bf16', 11);
  const { hidden, ffn } = config.decoder;
  const matrix = statistics(floats(source, DOWN));
  assert.ok(Math.abs(matrix.deviation * Math.sqrt(ffn) - 1) < 0.01);
  assert.ok(Math.abs(matrix.mean) * Math.sqrt(ffn) < 0.02);
  assert.ok(matrix.largest * Math.sqrt(ffn) < 4 && matrix.least * Math.sqrt(ffn) > -4);
  for (const name of [
    'model.layers.0.input_layernorm.weight',
    'model.norm.weight',
    FC2.replace('mlp.fc2', 'layer_norm1'),
  ]) {
    const { mean, deviation } = statistics(floats(source, name));
    assert.ok(Math.abs(mean - 1) < 0.04 && Math.abs(deviation - 0.1) < 0.03, `${name} ${mean} ${deviation}`);
  }
  const bias = statistics(floats(source, FC2.replace('weight', 'bias')));
  assert.ok(Math.abs(bias.mean) < 0.008 && Math.abs(bias.deviation - 0.02) < 0.006);
  const int4 = openSynthetic(TINY, 'int4', 11).source;
  const q4 = statistics(dequantized(int4, DOWN, 'q4', hidden, ffn));
  const q8 = statistics(dequantized(int4, 'lm_head.weight', 'q8', config.decoder.vocab, hidden));
  const f16 = statistics(floats(int4, FC2));
  for (const [{ mean, deviation }, inner] of [
    [q4, ffn],
    [q8, hidden],
    [f16, config.vision.ffn],
  ] as const) {
    assert.ok(Math.abs(deviation * Math.sqrt(inner) - 1) < 0.01, `${deviation * Math.sqrt(inner)}`);
    assert.ok(Math.abs(mean) * Math.sqrt(inner) < 0.02);
  }
});

test('rows of a matrix are independent of each other and of themselves shifted', () => {
  const { source, config } = openSynthetic(TINY, 'bf16', 5);
  const { hidden, ffn } = config.decoder;
  const values = floats(source, 'model.layers.1.mlp.gate_up_proj.weight').map((x) => x * Math.sqrt(hidden));
  const correlation = (shift: number) => {
    let sum = 0;
    for (let i = 0; i + shift < values.length; i++) sum += values[i]! * values[i + shift]!;
    return sum / (values.length - shift);
  };
  const bound = 5 / Math.sqrt(values.length / 2);
  for (const shift of [1, 2, 3, 8, 64, hidden - 1, hidden, hidden + 1, 2 * hidden, ffn * hidden, 4096, 16384, 32768])
    assert.ok(Math.abs(correlation(shift)) < bound, `${shift}: ${correlation(shift)}`);
});

test('quants are -7 to 7 and -127 to 127, and 0 beyond the columns', () => {
  const base = loadConfig(TINY);
  const inner = 101;
  for (const format of ['q4', 'q8'] as const) {
    const config = {
      ...base,
      formats: { ...DEFAULT_FORMATS, decoder: format },
      decoder: { ...base.decoder, ffn: inner },
    };
    const source = new SyntheticSource(config, 9);
    const { data, shape } = source.read(`${DOWN}.${format}`);
    const [rows = 0, words = 0] = shape;
    const columns = words * (format === 'q4' ? 8 : 4);
    const scales = new Uint16Array(rows * Math.ceil(columns / DEFAULT_FORMATS.group)).fill(f32ToF16(1));
    const how = { format, group: DEFAULT_FORMATS.group };
    const quants = dequantizeWeightsHost({ quants: data as Uint32Array, scales }, rows, columns, how);
    const inside = quants.filter((_, i) => i % columns < inner);
    const { least, largest } = statistics(inside);
    assert.equal([least, largest], format === 'q4' ? [-7, 7] : [-127, 127]);
    assert.ok(quants.every((quant, i) => i % columns < inner || quant === 0));
  }
});

test('the shape 15b is the published model', () => {
  const { config, source } = openSynthetic('15b', 'bf16', 0);
  assert.is(source.tensors.size, 695);
  assert.is(
    [...source.tensors.values()].reduce((sum, { shape }) => sum + elements(shape), 0),
    15_119_518_144,
  );
  assert.equal(config.unknownKeys, []);
  assert.equal(config.tokens, { bos: 100257, eos: [100265], pad: 100349 });
  const int4 = openSynthetic('15b', 'int4', 0).source;
  const bytes = [...int4.tensors.values()].reduce((sum, info) => sum + info.bytes, 0);
  assert.is(bytes, 9_161_336_128);
  assert.ok(bytesOf(int4, 'lm_head.weight.q8', 400_000_000, 1000).some((byte) => byte !== 0));
});

const write = (out: string, format: SyntheticFormat, shape = TINY, seed = 21) =>
  synthesizeCheckpoint(join(dir, out), { shape, format, seed, textSide: TINY });

test('the files hold the source, open as a checkpoint, and have checksums', async () => {
  for (const format of ['bf16', 'int4'] as const) {
    const { source } = openSynthetic(TINY, format, 21);
    assert.is((await write(format, format)).length, source.tensors.size);
    const checkpoint = Checkpoint.open(join(dir, format));
    assert.equal([...checkpoint.tensors.keys()].sort(), [...source.tensors.keys()].sort());
    for (const [name, info] of checkpoint.tensors) {
      assert.is(info.dtype, source.info(name).dtype);
      assert.equal(info.shape, source.info(name).shape);
      same(bytesOf(checkpoint, name), bytesOf(source, name), name);
    }
    assert.ok(verifyFiles(checkpoint));
    checkpoint.close();
    const { formats } = loadConfig(join(dir, format));
    assert.equal(formats, format === 'int4' ? DEFAULT_FORMATS : undefined);
    assert.ok(Processor.load(join(dir, format)).tokenizer.encode('Hello').length > 0);
  }
});

test('the command writes the same files', () => {
  const out = join(dir, 'again');
  const script = fileURLToPath(new URL('../tools/command/main.ts', import.meta.url));
  const options = ['--shape', TINY, '--format', 'int4', '--out', out, '--seed', '21'];
  const run = () =>
    spawnSync(process.execPath, ['--import', 'tsx', script, 'synthesize', ...options], { encoding: 'utf8' });
  const { status, stdout, stderr } = run();
  assert.is(status, 0, stderr);
  assert.match(stdout, /: \d+ tensors, \d+ bytes in .* s, .* MB\/s/);
  for (const name of readdirSync(out)) same(readFileSync(join(out, name)), readFileSync(join(dir, 'int4', name)), name);
  fails(run(), /again: expected a new or empty folder, got \d+ files/);
});

test('a shape without a text side gets one; what cannot be written is refused', async () => {
  const shape = join(dir, 'shape');
  mkdirSync(shape);
  writeFileSync(join(shape, 'config.json'), readFileSync(join(TINY, 'config.json')));
  await write('bare', 'bf16', shape);
  assert.ok(Processor.load(join(dir, 'bare')).tokenizer.encode('Hello').length > 0);
  await rejects(write('bare', 'bf16', shape), DaybreakError, /bare: expected a new or empty folder, got \d+ files/);
  await rejects(write('new', 'bf16', dir), DaybreakError, /config\.json: file: expected a readable file/);
  await rejects(write('shape/config.json', 'bf16'), DaybreakError, /expected a folder that can be written/);
  await rejects(write('none/new', 'bf16'), DaybreakError, /expected a folder that can be written/);
  await rejects(write('new', 'bf16', TINY, -1), DaybreakError, /seed: expected an integer from 0/);
  assert.not.ok(existsSync(join(dir, 'new')));
  const vocab = 2 ** 31 - 1; // terabytes
  const config = {
    ...JSON.parse(readFileSync(join(TINY, 'config.json'), 'utf8')),
    vocab_size: vocab,
    hidden_size: 4096,
  };
  writeFileSync(join(shape, 'config.json'), JSON.stringify(config));
  await rejects(write('large', 'bf16', shape), DaybreakError, /large: expected \d{14} bytes free on the disk, got \d+/);
});

test.after(() => rmSync(dir, { recursive: true }));
test.run();
