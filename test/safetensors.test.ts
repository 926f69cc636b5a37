import { execFileSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { verifyFiles } from '../model/checkpoint/checksums.ts';
import { Checkpoint, SafetensorsFile } from '../model/checkpoint/safetensors.ts';
import { BYTES, type DType, widen } from '../runtime/dtype.ts';
import { CheckpointError } from '../runtime/errors.ts';
import { randomNumbers } from './fixtures/random_numbers.ts';

const TINY = fileURLToPath(new URL('../bench/reference/tiny', import.meta.url));
const SHARDS = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
const SEED = Number(process.env.SEED ?? 20261122);
const temp = mkdtempSync(join(tmpdir(), 'safetensors-'));
const path = join(temp, 'file.safetensors');

/** The npm package safetensors 0.0.1: its only parser of bytes, without types. */
interface PeerFile {
  metadata: Map<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
  getTensor(name: string): Uint8Array;
}
const Peer: new (bytes: Uint8Array) => PeerFile = createRequire(import.meta.url)('safetensors').SafeTensor;

type Entry = { dtype: string; shape: number[]; data_offsets: [number, number] };

/** The bytes of a file with this header (text is taken as it is) and data. */
function encode(header: unknown, data: Uint8Array = new Uint8Array(0), length?: bigint): Uint8Array {
  const text =
    header instanceof Uint8Array ? header : Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(text.length));
  return Buffer.concat([prefix, text, data]);
}

function decode(bytes: Uint8Array): { header: Record<string, Entry>; data: Uint8Array } {
  const length = Number(Buffer.from(bytes).readBigUInt64LE());
  return {
    header: JSON.parse(Buffer.from(bytes.subarray(8, 8 + length)).toString()),
    data: bytes.subarray(8 + length),
  };
}

function entry(dtype: string, shape: number[], begin: number, end: number): Entry {
  return { dtype, shape, data_offsets: [begin, end] };
}

/** The body must throw a CheckpointError that matches every pattern. */
function refuses(body: () => unknown, ...patterns: RegExp[]): void {
  try {
    body();
  } catch (error) {
    assert.instance(error, CheckpointError, String(error));
    for (const pattern of patterns) assert.match((error as Error).message, pattern);
    return;
  }
  assert.unreachable(`no error; wanted ${patterns.join(' ')}`);
}

function refusesFile(bytes: Uint8Array, ...patterns: RegExp[]): void {
  writeFileSync(path, bytes);
  refuses(() => SafetensorsFile.open(path).close(), /file\.safetensors: .*: expected .*, got .*; ./, ...patterns);
}

function refusesFolder(change: (dir: string) => void, ...patterns: RegExp[]): void {
  const dir = join(temp, 'folder');
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir);
  for (const file of [...SHARDS, 'model.safetensors.index.json']) cpSync(join(TINY, file), join(dir, file));
  change(dir);
  refuses(() => Checkpoint.open(dir).close(), /folder.*: .*: expected .*, got .*; ./, ...patterns);
}

function changeIndex(dir: string, change: (map: Record<string, unknown>) => void): void {
  const index = join(dir, 'model.safetensors.index.json');
  const value = JSON.parse(readFileSync(index, 'utf8'));
  change(value.weight_map);
  writeFileSync(index, JSON.stringify(value));
}

/** Adds an empty tensor to a shard. */
function addTensor(file: string, name: string): void {
  const { header, data } = decode(readFileSync(file));
  writeFileSync(file, encode({ ...header, [name]: entry('F32', [0], data.length, data.length) }, data));
}

/** Replaces a file; writing over it in place makes ext4 flush each time. */
function rewrite(file: string, bytes: Uint8Array): void {
  rmSync(file, { force: true });
  writeFileSync(file, bytes);
}

function openFiles(): number {
  return readdirSync('/dev/fd').length;
}

test('the tensors of expected.safetensors and both shards equal an independent decoding of the whole file', () => {
  for (const name of ['expected.safetensors', ...SHARDS]) {
    const bytes = readFileSync(join(TINY, name));
    const { header, data } = decode(bytes);
    const { __metadata__: metadata = {}, ...entries } = header as Record<string, Entry> & { __metadata__?: object };
    const file = SafetensorsFile.open(join(TINY, name));
    assert.equal(file.metadata, metadata);
    assert.equal([...file.tensors.keys()].sort(), Object.keys(entries).sort());
    for (const [tensor, { dtype, shape, data_offsets }] of Object.entries(entries)) {
      const host = file.read(tensor);
      assert.equal([host.dtype.toUpperCase(), host.shape], [dtype, shape], tensor);
      const { buffer, byteOffset, byteLength } = host.data;
      assert.ok(Buffer.from(buffer, byteOffset, byteLength).equals(data.subarray(...data_offsets)), tensor);
    }
    file.close();
  }
});

test('npm safetensors 0.0.1 reads a file without __metadata__ as this reader does, and throws on the shards', () => {
  const { header, data } = decode(readFileSync(join(TINY, SHARDS[0]!)));
  const { __metadata__: _, ...entries } = header;
  const bytes = encode(entries, data);
  writeFileSync(path, bytes);
  const peer = new Peer(new Uint8Array(bytes));
  const file = SafetensorsFile.open(path);
  assert.equal([...file.tensors.keys()], [...peer.metadata.keys()]);
  for (const [name, { dtype, shape, data_offsets }] of peer.metadata) {
    const info = file.info(name);
    const host = file.read(name);
    assert.equal([info.dtype.toUpperCase(), info.shape], [dtype, shape]);
    assert.equal([info.offset, info.offset + info.bytes], data_offsets);
    assert.ok(Buffer.from(host.data.buffer).equals(peer.getTensor(name)), name);
  }
  file.close();
  for (const shard of SHARDS) assert.throws(() => new Peer(new Uint8Array(readFileSync(join(TINY, shard)))), TypeError);
});

test('every dtype, a scalar and empty tensors are read aligned, whatever their offset', () => {
  const values = new Uint8Array(33).map((_, i) => i * 7);
  const header = {
    i8: entry('I8', [1], 0, 1),
    empty: entry('F32', [0, 5], 1, 1),
    f32: entry('F32', [1, 2], 1, 9),
    f16: entry('F16', [2], 9, 13),
    bf16: entry('BF16', [2], 13, 17),
    i32: entry('I32', [], 17, 21),
    u32: entry('U32', [3], 21, 33),
  };
  writeFileSync(path, encode(header, values));
  const file = SafetensorsFile.open(path);
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    const host = file.read(name);
    assert.is(host.dtype, dtype.toLowerCase() as DType);
    assert.equal(host.shape, shape);
    assert.is(host.data.byteLength, host.data.length * BYTES[host.dtype]);
    assert.equal(new Uint8Array(host.data.buffer), values.slice(...data_offsets), name);
  }
  assert.is(file.read('i32').data[0], Buffer.from(values).readInt32LE(17));
  file.close();
});

test('foreign dtypes are an error only when they are asked for', () => {
  const sizes = { F64: 8, I64: 8, U64: 8, C64: 8, BOOL: 1, U8: 1, I16: 2, U16: 2, F8_E4M3: 1, F8_E5M2: 1, F8_E8M0: 1 };
  const header: Record<string, Entry> = { good: entry('F32', [1], 0, 4), nibbles: entry('F4', [3, 2], 4, 7) };
  let end = 7;
  for (const [dtype, size] of Object.entries(sizes)) {
    header[dtype] = entry(dtype, [3], end, end + 3 * size);
    end += 3 * size;
  }
  writeFileSync(path, encode(header, new Uint8Array(end)));
  const file = SafetensorsFile.open(path);
  assert.equal([...file.tensors.keys()], ['good']);
  assert.is(file.read('good').data.length, 1);
  for (const dtype of Object.keys(sizes))
    refuses(() => file.info(dtype), new RegExp(`${dtype}: expected BF16, .* got ${dtype}`));
  refuses(() => file.read('nibbles'), /nibbles: .* got F4/);
  file.close();
});

test('readInto reads the range asked for, and whole ranges only', () => {
  const file = SafetensorsFile.open(join(TINY, 'expected.safetensors'));
  const info = file.info('big.logits');
  const whole = new Uint8Array(file.read('big.logits').data.buffer);
  const target = new Uint8Array(20).fill(255);
  file.readInto(info, 16, target.subarray(4, 16));
  assert.equal(target.slice(4, 16), whole.slice(16, 28));
  assert.equal([...target.slice(0, 4), ...target.slice(16)], Array(8).fill(255));
  file.readInto(info, info.bytes, new Uint8Array(0));
  for (const offset of [-1, 0.5, Number.NaN, info.bytes - 11, 2 ** 53]) {
    refuses(
      () => file.readInto(info, offset, new Uint8Array(12)),
      /big\.logits: expected a range within its 2048 bytes/,
    );
  }
  refuses(() => file.readInto({ ...info, bytes: 1e9 }, 0, new Uint8Array(12)), /expected a range/);
  file.close();
  file.close();
  refuses(() => file.read('big.logits'), /big\.logits: expected readable bytes/);
});

test('a file that is cut while in use is an error', () => {
  writeFileSync(path, encode({ a: entry('F32', [4], 0, 16) }, new Uint8Array(16)));
  const file = SafetensorsFile.open(path);
  truncateSync(path, readFileSync(path).length - 4);
  refuses(() => file.read('a'), /a: expected 16 bytes .*, got 12/);
  file.close();
});

test('opening a file far larger than memory reads the header only', () => {
  const bytes = 2 ** 37;
  writeFileSync(path, encode({ big: entry('F32', [2 ** 35], 0, bytes) }));
  truncateSync(path, readFileSync(path).length + bytes);
  const file = SafetensorsFile.open(path);
  const tail = new Uint8Array(8).fill(1);
  file.readInto(file.info('big'), bytes - 8, tail);
  assert.equal(tail, new Uint8Array(8));
  file.close();
  rmSync(path);
});

test('names such as __proto__ are names like any other', () => {
  const text =
    '{"__proto__": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}, "constructor": {"dtype":"F32","shape":[],"data_offsets":[4,8]}}';
  writeFileSync(path, encode(text, new Uint8Array([0, 0, 128, 63, 0, 0, 0, 64])));
  const file = SafetensorsFile.open(path);
  assert.equal([...file.tensors.keys()], ['__proto__', 'constructor']);
  assert.equal([...file.read('__proto__').data, ...file.read('constructor').data], [1, 2]);
  refuses(() => file.info('toString'), /toString: expected a tensor, got nothing; the nearest names are/);
  file.close();
});

test('bad lengths and headers', () => {
  const a = { a: entry('F32', [1], 0, 4) };
  const data = new Uint8Array(4);
  refusesFile(new Uint8Array(0), /file: expected at least 8 bytes, got 0/);
  refusesFile(new Uint8Array(7), /got 7/);
  refusesFile(encode('', data, 0n), /header length: expected 1 to 4 bytes, got 0/);
  refusesFile(encode(a, data, 1000n), /header length: .* got 1000/);
  refusesFile(encode(a, data, 100_000_001n), /got 100000001/);
  refusesFile(encode(a, data, 2n ** 53n + 1n), /got 9007199254740993/);
  refusesFile(encode(a, data, 2n ** 64n - 1n), /got 18446744073709551615/);
  const badName = Buffer.from(JSON.stringify({ '#': entry('F32', [1], 0, 4) }));
  refusesFile(encode(badName.fill(0xff, 2, 3), data), /header: expected UTF-8 JSON/);
  refusesFile(encode('\ufeff{}'), /header: expected UTF-8 JSON/);
  for (const text of ['{', '{"a":}', '{} x', '{"a', '"', '{"\\', '     '])
    refusesFile(encode(text), /expected UTF-8 JSON/);
  for (const text of ['[]', 'null', '1', '"a"']) refusesFile(encode(text), /header: expected an object, got/);
  refusesFile(encode(`{"a":${'['.repeat(1e6)}`), /levels of nesting: expected at most 64, got more/);
  refusesFile(encode(`{"a":[${'[],'.repeat(2 ** 20)}[]]}`), /keys, arrays and objects: expected at most 1048576/);
  const many = Array.from({ length: 2 ** 20 }, (_, i) => `"${i}":1`);
  refusesFile(encode(`{${many.join()}}`), /keys, arrays and objects: expected at most 1048576/);
  refusesFile(encode({ __metadata__: { format: 1 } }), /__metadata__: expected an object of strings/);
  refusesFile(encode({ __metadata__: [] }), /__metadata__/);
  refuses(() => SafetensorsFile.open(join(temp, 'absent')), /absent: file: expected a readable file, got ENOENT/);
  refuses(() => SafetensorsFile.open(temp), /a folder or a device/);
  refuses(() => SafetensorsFile.open('a\0b'), /a\?b: file/);
});

test('a header of more than 100 MB is refused unread', () => {
  writeFileSync(path, encode('', new Uint8Array(0), 100_000_001n));
  truncateSync(path, 200_000_000);
  refuses(() => SafetensorsFile.open(path), /header length: expected 1 to 100000000 bytes, got 100000001/);
  rmSync(path);
});

test('repeated keys are found at any level and in any spelling, and text that looks like a key is not one', () => {
  const one = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}';
  refusesFile(encode(`{"a":${one},"b":${one},"a" \n\t\r :${one}}`), /: a: expected one entry, got a second one/);
  refusesFile(encode(`{"a":${one},"\\u0061":${one}}`), /: a: expected one entry/);
  refusesFile(encode(`{"":${one},"":${one}}`), /expected one entry/);
  refusesFile(encode(`{"__proto__":${one},"__proto__":${one}}`), /__proto__: expected one entry/);
  refusesFile(encode(`{"a":${one.replace('"shape"', '"dtype":"I32","shape"')}}`), /dtype: expected one entry/);
  const names = ['a', 'a"', '{"a":', '}', '\\', ':', '"', ',"a":'];
  writeFileSync(
    path,
    encode({ __metadata__: { a: 'a' }, ...Object.fromEntries(names.map((name) => [name, JSON.parse(one)])) }),
  );
  const file = SafetensorsFile.open(path);
  assert.equal([...file.tensors.keys()], names);
  file.close();
});

test('bad entries', () => {
  const bad = (value: unknown, ...patterns: RegExp[]) =>
    refusesFile(encode({ t: value }, new Uint8Array(4)), /: t: /, ...patterns);
  for (const value of [1, null, 'x', [], {}]) bad(value, /expected a dtype of the safetensors format, got nothing/);
  for (const dtype of ['f32', 'float32', '__proto__', 'toString', '', 4])
    bad({ ...entry('F32', [1], 0, 4), dtype }, /expected a dtype/);
  for (const shape of [undefined, null, 1, '1', [-1], [1.5], ['1'], [null], [2 ** 53], [[1]], { length: 1 }]) {
    bad({ ...entry('F32', [1], 0, 4), shape }, /expected a shape of non-negative integers/);
  }
  for (const data_offsets of [
    undefined,
    null,
    4,
    [0],
    [0, 4, 8],
    [4, 0],
    [-4, 0],
    [0, 4.5],
    ['0', '4'],
    [0, 2 ** 53],
    [0, null],
  ]) {
    bad({ ...entry('F32', [1], 0, 4), data_offsets }, /expected data_offsets \[begin, end\]/);
  }
  bad(entry('F32', [2 ** 30, 2 ** 30], 0, 4), /expected fewer than 2\^53 elements/);
  bad(entry('F32', [2 ** 50, 2 ** 50, 0], 0, 0), /expected fewer than 2\^53 elements/);
  bad(entry('F32', [2], 0, 4), /expected 8 bytes for F32 \[2\], got 4/);
  bad(entry('F4', [3], 0, 2), /expected 1.5 bytes/);
  bad(entry('F32', [2], 0, 8), /expected data up to byte 4, where the file ends, got 8/);
});

test('tensors cover the data exactly', () => {
  const two = (a: [number, number], b: [number, number]) => ({
    a: entry('I8', [a[1] - a[0]], ...a),
    b: entry('I8', [b[1] - b[0]], ...b),
  });
  refusesFile(
    encode(two([0, 5], [4, 8]), new Uint8Array(8)),
    /: b: expected data from byte 5 on, got an overlap: it begins at 4/,
  );
  refusesFile(encode(two([0, 8], [0, 8]), new Uint8Array(8)), /: b: .* an overlap/);
  refusesFile(encode(two([0, 8], [4, 4]), new Uint8Array(8)), /: b: .* an overlap/);
  refusesFile(
    encode(two([0, 3], [4, 8]), new Uint8Array(8)),
    /: b: expected data from byte 3 on, got a hole: it begins at 4/,
  );
  refusesFile(encode(two([4, 8], [1, 4]), new Uint8Array(8)), /: b: .* a hole: it begins at 1/);
  refusesFile(
    encode(two([0, 4], [4, 8]), new Uint8Array(9)),
    /: data: expected 8 bytes, the end of the last tensor, got 9/,
  );
  refusesFile(encode(two([0, 4], [4, 8]), new Uint8Array(7)), /: b: expected data up to byte 7/);
  refusesFile(encode({}, new Uint8Array(1)), /: data: expected 0 bytes/);
  writeFileSync(path, encode(two([4, 8], [0, 4]), new Uint8Array(8)));
  SafetensorsFile.open(path).close();
});

test('a folder with an index, and one with a single file', () => {
  const checkpoint = Checkpoint.open(TINY);
  assert.is(checkpoint.tensors.size, 105);
  const shards = SHARDS.map((shard) => SafetensorsFile.open(join(TINY, shard)));
  for (const shard of shards) {
    for (const [name, info] of shard.tensors) {
      assert.equal(checkpoint.info(name), info);
      assert.equal(checkpoint.read(name), shard.read(name));
    }
  }
  refuses(
    () => checkpoint.readInto(shards[0]!.info('lm_head.weight'), 0, new Uint8Array(1)),
    /lm_head\.weight: expected a range/,
  );
  refuses(
    () => checkpoint.readInto({ ...checkpoint.info('lm_head.weight'), file: 'x' }, 0, new Uint8Array(1)),
    /got x/,
  );
  refuses(
    () => checkpoint.info('model.layers.1.mlp.gate_proj.weight'),
    /nearest names are model\.layers\.1\.mlp\.gate_up_proj\.weight,/,
  );
  checkpoint.close();
  refuses(() => checkpoint.read('model.norm.weight'), /expected readable bytes/);

  const dir = join(temp, 'single');
  mkdirSync(dir);
  cpSync(join(TINY, SHARDS[1]!), join(dir, 'model.safetensors'));
  const single = Checkpoint.open(dir);
  assert.equal([...single.tensors.keys()], [...shards[1]!.tensors.keys()]);
  assert.equal(single.read('model.embed_tokens.weight'), shards[1]!.read('model.embed_tokens.weight'));
  for (const file of [single, ...shards]) file.close();
});

test('a whole file beside an index whose shards are not there', () => {
  const dir = join(temp, 'stale');
  mkdirSync(dir);
  const [whole, index] = [join(dir, 'model.safetensors'), join(dir, 'model.safetensors.index.json')];
  cpSync(join(TINY, 'model.safetensors.index.json'), index);
  cpSync(join(TINY, SHARDS[0]!), whole);
  for (const shards of [[], SHARDS.slice(0, 1)]) {
    for (const shard of shards) cpSync(join(TINY, shard), join(dir, shard));
    const checkpoint = Checkpoint.open(dir);
    assert.equal([...checkpoint.shards.keys()], [whole]);
    assert.is(checkpoint.notes.length, 1);
    assert.match(
      checkpoint.notes[0]!,
      /index\.json: model-0000\d-of-00002\.safetensors is not there; .* from model\.safetensors/,
    );
    assert.is(verifyFiles(checkpoint), false);
    checkpoint.close();
  }
  for (const shard of SHARDS) cpSync(join(TINY, shard), join(dir, shard));
  const checkpoint = Checkpoint.open(dir);
  assert.equal([checkpoint.shards.size, checkpoint.notes], [2, []]);
  checkpoint.close();
  rmSync(dir, { recursive: true });
});

test('a Git LFS pointer is named', () => {
  const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 9160000000\n';
  refusesFile(Buffer.from(pointer), /file: expected its contents, got a Git LFS pointer; run git lfs pull/);
  refusesFolder((dir) => rewrite(join(dir, SHARDS[1]!), Buffer.from(pointer)), /00002-of-00002.*a Git LFS pointer/);
  refusesFolder((dir) => rewrite(join(dir, 'model.safetensors.index.json'), Buffer.from(pointer)), /a Git LFS pointer/);
});

test('bad folders', () => {
  refuses(() => Checkpoint.open(join(temp, 'absent')), /absent\/model\.safetensors: file: .*ENOENT/);
  refusesFolder(
    (dir) => rmSync(join(dir, 'model.safetensors.index.json')),
    /folder\/model\.safetensors: file: .*ENOENT/,
  );
  refusesFolder(
    (dir) => rmSync(join(dir, SHARDS[1]!)),
    /model-00002-of-00002\.safetensors: shard: expected a file, as .*index\.json says, got nothing/,
  );
  refusesFolder(
    (dir) => changeIndex(dir, (map) => Object.assign(map, { extra: SHARDS[0] })),
    /00001.*: extra: expected the tensor here, .*got nothing/,
  );
  refusesFolder(
    (dir) => changeIndex(dir, (map) => delete map['model.norm.weight']),
    /00001.*: model\.norm\.weight: expected a tensor that .*index\.json lists/,
  );
  refusesFolder(
    (dir) => changeIndex(dir, (map) => Object.assign(map, { 'lm_head.weight': SHARDS[1] })),
    /00002.*: lm_head\.weight: expected the tensor here, .*got nothing/,
  );
  refusesFolder(
    (dir) => addTensor(join(dir, SHARDS[1]!), 'lm_head.weight'),
    /00002.*: lm_head\.weight: expected the tensor in model-00001/,
  );
  const shardNames = [
    '../x.safetensors',
    '/etc/x.safetensors',
    'a/x.safetensors',
    '..\\x.safetensors',
    'c:x.safetensors',
    '..',
    '',
    'config.json',
  ];
  for (const shard of [...shardNames, 'a\0.safetensors', 1, null, {}, ['x']]) {
    refusesFolder(
      (dir) => changeIndex(dir, (map) => Object.assign(map, { t: shard })),
      /index\.json: t: expected the name of a \.safetensors file in the same folder/,
    );
  }
  for (const text of ['{}', '{"weight_map":[]}', '{"weight_map":null}']) {
    refusesFolder(
      (dir) => writeFileSync(join(dir, 'model.safetensors.index.json'), text),
      /weight_map: expected an object/,
    );
  }
  const twice = `{"weight_map":{"a":"${SHARDS[0]}","a":"${SHARDS[1]}"}}`;
  refusesFolder(
    (dir) => writeFileSync(join(dir, 'model.safetensors.index.json'), twice),
    /index\.json: a: expected one entry/,
  );
  refusesFolder((dir) => writeFileSync(join(dir, 'model.safetensors.index.json'), '{'), /expected UTF-8 JSON/);
});

test('a pipe in place of a file is refused instead of waited for', () => {
  const pipe = join(temp, 'pipe');
  execFileSync('mkfifo', [pipe]);
  refuses(() => SafetensorsFile.open(pipe), /a folder or a device/);
});

test('messages are short and free of control characters', () => {
  writeFileSync(path, encode({ [`\u001b[31m${'x'.repeat(1e6)}`]: 1 }));
  try {
    SafetensorsFile.open(path);
    assert.unreachable();
  } catch (error) {
    assert.ok((error as Error).message.length < 2000);
    assert.not.match((error as Error).message, /\p{Cc}/u);
  }
});

test(`fuzz: 3000 damaged files and 1000 damaged indexes, seed ${SEED}`, () => {
  console.log(`  fuzz seed ${SEED} (set SEED to change it)`);
  const random = randomNumbers(SEED);
  const pick = (n: number) => Math.floor(random() * n);
  const tokens = [
    '0',
    '-1',
    '1e999',
    '9007199254740993',
    '{}',
    '[]',
    'null',
    '"',
    '\\',
    '\u0000',
    '__proto__',
    ',',
    ':',
    '}',
    ']',
    'F64',
    '\ud800',
  ];
  const mutate = (text: Buffer): Buffer => {
    let bytes = text;
    for (let edits = 1 + pick(3); edits > 0; edits--) {
      const at = pick(bytes.length + 1);
      const rest = at + [0, 1, pick(20)][pick(3)]!;
      const insert = [
        Buffer.from([pick(256)]),
        Buffer.from(tokens[pick(tokens.length)]!),
        bytes.subarray(pick(bytes.length)),
      ][pick(3)]!;
      bytes = Buffer.concat([bytes.subarray(0, at), insert.subarray(0, 40), bytes.subarray(rest)]);
    }
    return bytes;
  };
  const header = {
    __metadata__: { format: 'pt' },
    a: entry('BF16', [2, 3], 0, 12),
    b: entry('F32', [2], 12, 20),
    c: entry('F64', [1], 20, 28),
  };
  const original = encode(header, new Uint8Array(28).fill(1));
  const headerBytes = Buffer.from(JSON.stringify(header));
  const before = openFiles();
  const outcomes = { opened: 0, refused: 0 };
  const attempt = (what: string, bytes: Uint8Array, body: () => void) => {
    try {
      body();
      outcomes.opened++;
    } catch (error) {
      if (!(error instanceof CheckpointError))
        assert.unreachable(`${what} ${Buffer.from(bytes).toString('base64')}: ${error}`);
      outcomes.refused++;
    }
  };
  for (let i = 0; i < 3000; i++) {
    const bytes = i % 3 ? encode(mutate(headerBytes), new Uint8Array(28).fill(1)) : mutate(Buffer.from(original));
    rewrite(path, bytes);
    attempt('file', bytes, () => {
      const file = SafetensorsFile.open(path);
      for (const name of file.tensors.keys()) widen(file.info(name).dtype, file.read(name).data);
      file.close();
    });
  }
  const dir = join(temp, 'fuzz');
  mkdirSync(dir);
  writeFileSync(join(dir, 'x.safetensors'), original);
  writeFileSync(join(dir, 'y.safetensors'), encode({ d: entry('I8', [1], 0, 1) }, new Uint8Array(1)));
  const map = { a: 'x.safetensors', b: 'x.safetensors', c: 'x.safetensors', d: 'y.safetensors' };
  const index = Buffer.from(JSON.stringify({ metadata: { total_size: 29 }, weight_map: map }));
  for (let i = 0; i < 1000; i++) {
    const bytes = mutate(index);
    rewrite(join(dir, 'model.safetensors.index.json'), bytes);
    attempt('index', bytes, () => Checkpoint.open(dir).close());
  }
  assert.ok(outcomes.opened > 20 && outcomes.refused > 2000, JSON.stringify(outcomes));
  assert.is(openFiles(), before, 'every file is closed again');
});

test.after(() => rmSync(temp, { recursive: true }));
test.run();
