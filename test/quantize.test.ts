// tier: gpu
import { spawnSync } from 'node:child_process';
import fs, {
  copyFileSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { dequantizeWeightsHost, isQuantized, type Quantization, quantizeWeightsHost } from '../kernels/index.ts';
import { Random } from '../kernels/spec.ts';
import { writeIndex } from '../model/checkpoint/checksums.ts';
import {
  interleaved,
  type MatrixLayout,
  plain,
  rotary,
  rowPadded,
  stacked,
} from '../model/checkpoint/matrix_layout.ts';
import { Checkpoint, INDEX, SafetensorsFile } from '../model/checkpoint/safetensors.ts';
import { SafetensorsWriter } from '../model/checkpoint/safetensors_writer.ts';
import {
  decode,
  formatOf,
  loadConfig,
  Phi4Vision,
  quantizeCheckpoint,
  quantizeOnDevice,
  type StoredFormats,
} from '../model/index.ts';
import { WeightStore } from '../model/weights.ts';
import {
  CheckpointError,
  type Device,
  type HostTensor,
  type Matrix,
  openDevice,
  UsageError,
  widen,
} from '../runtime/index.ts';
import { fails, runDaybreak, TINY } from './bench.ts';
import { writeSafetensors } from './fixtures/safetensors.ts';
import { quick, testDevice } from './gpu.ts';
import { rejects } from './rejects.ts';

const SHARD_BYTES = 200_000;
const KILLS = process.env.DAYBREAK_SLOW === '1' ? 20 : quick ? 1 : 5;
const SEED = Number(process.env.SEED ?? 20261122);
const CHILD = fileURLToPath(new URL('./fixtures/quantize_child.ts', import.meta.url));
const VISION = 'model.vision_tower.vision_tower.vision_model';
const random = new Random(SEED);
const root = mkdtempSync(join(tmpdir(), 'daybreak-quantize-'));
process.on('exit', () => rmSync(root, { recursive: true, force: true }));
const clean = join(root, 'clean');

/** A folder's files by name. */
function contents(dir: string): Map<string, Buffer> {
  return new Map(readdirSync(dir).map((name) => [name, readFileSync(join(dir, name))]));
}

function assertSame(dir: string, expected = contents(clean)): void {
  const got = contents(dir);
  assert.equal([...got.keys()], [...expected.keys()]);
  for (const [name, bytes] of expected) assert.ok(bytes.equals(got.get(name)!), `${name} differs`);
}

await quantizeCheckpoint(TINY, clean, { shardBytes: SHARD_BYTES });

test('the report names every tensor that inference reads, its error and its bytes', async () => {
  const { tensors } = JSON.parse(readFileSync(join(clean, 'quantization.json'), 'utf8'));
  assert.equal(await quantizeCheckpoint(TINY, clean, { shardBytes: SHARD_BYTES }), tensors);
  assertSame(clean);
  const bytes = tensors.reduce((sum: number, { bytesAfter }: { bytesAfter: number }) => sum + bytesAfter, 0);
  const { metadata, weight_map } = JSON.parse(readFileSync(join(clean, INDEX), 'utf8'));
  assert.is(metadata.total_size, bytes);
  assert.ok(new Set(Object.values(weight_map)).size > 4);
  for (const { name, format, error } of tensors) {
    const [low, high] = { q4: [0.05, 0.12], q8: [0.002, 0.01], f16: [0, 1e-4], bf16: [0, 0] }[format as string]!;
    assert.ok(error >= low! && error <= high!, `${name}: ${format} has error ${error}`);
  }
});

test(`killed at random points and taken up again, ${KILLS} times: the files of one clean run`, async () => {
  const dir = join(root, 'killed');
  const child = (call: number) => {
    const args = ['--import', 'tsx', CHILD, TINY, dir, String(SHARD_BYTES), String(call)];
    return spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 });
  };
  const { stdout, stderr } = child(0);
  const calls = Number(stdout);
  assert.ok(calls > 100, stderr);
  assertSame(dir);
  for (let i = 0; i < KILLS; i++) {
    rmSync(dir, { recursive: true });
    const call = 1 + random.below(calls);
    const { signal } = child(call);
    assert.is(signal, 'SIGKILL');
    const finished = readdirSync(dir).filter((name) => name.endsWith('.safetensors'));
    for (const name of finished) assert.ok(readFileSync(join(dir, name)).equals(readFileSync(join(clean, name))), name);
    await quantizeCheckpoint(TINY, dir, { shardBytes: SHARD_BYTES });
    assertSame(dir);
  }
});

test('finished shards are kept, damaged ones are not', async () => {
  const dir = copy();
  const [kept, damaged] = readdirSync(dir).filter((name) => name.endsWith('.safetensors'));
  const { ino } = fs.statSync(join(dir, kept!));
  truncateSync(join(dir, damaged!), 5000);
  writeFileSync(join(dir, `${damaged}.1.part`), 'half');
  await quantizeCheckpoint(TINY, dir, { shardBytes: SHARD_BYTES });
  assertSame(dir);
  assert.is(fs.statSync(join(dir, kept!)).ino, ino);
});

test('a folder that holds anything else is refused and left alone', async () => {
  const refuses = async (dir: string, pattern: RegExp, options = {}) => {
    const before = contents(dir);
    await rejects(quantizeCheckpoint(TINY, dir, { shardBytes: SHARD_BYTES, ...options }), UsageError, pattern);
    assertSame(dir, before);
  };
  const other = mkdtempSync(join(root, 'other-'));
  writeFileSync(join(other, 'notes.1.part'), 'mine');
  await refuses(other, /expected a new or empty folder, got 1 files; choose another folder/);
  await refuses(copy(), /expected a new folder, or one of the same model and options/, { formats: { group: 32 } });
  await refuses(copy(), /expected a new folder, or one of the same model and options/, { shardBytes: 2 ** 20 });
  const model = mkdtempSync(join(root, 'model-'));
  for (const name of readdirSync(TINY).filter((file) => file !== 'images'))
    copyFileSync(join(TINY, name), join(model, name));
  await rejects(quantizeCheckpoint(model, copy(), { shardBytes: SHARD_BYTES }), UsageError, /same model and options/);
  await rejects(
    quantizeCheckpoint(TINY, join(other, 'notes.1.part', 'deep')),
    UsageError,
    /expected a folder that can be/,
  );
  await rejects(
    quantizeCheckpoint(clean, join(root, 'twice')),
    UsageError,
    /expected a checkpoint as published, got a qu/,
  );
});

test('a full disk ends the run with the file, and the next run goes on', async () => {
  const dir = join(root, 'full');
  const { writeSync, statfsSync } = fs;
  let room = 500_000;
  const full = (...args: Parameters<typeof writeSync>) => {
    const written = writeSync(...args);
    room -= written;
    if (room < 0) throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    return written;
  };
  Object.assign(fs, { writeSync: full });
  syncBuiltinESMExports();
  const pattern = /model-0000\d-of-0000\d.safetensors: .* got ENOSPC.* free space and run the same command again/;
  await rejects(quantizeCheckpoint(TINY, dir, { shardBytes: SHARD_BYTES }), UsageError, pattern);
  Object.assign(fs, { writeSync, statfsSync: () => ({ bavail: 1000, bsize: 4, blocks: 1000 }) });
  syncBuiltinESMExports();
  assert.not.ok(readdirSync(dir).some((name) => name.endsWith('.part')));
  await rejects(
    quantizeCheckpoint(TINY, dir, { shardBytes: SHARD_BYTES }),
    UsageError,
    /bytes free on the disk, got 4000/,
  );
  Object.assign(fs, { statfsSync });
  syncBuiltinESMExports();
  await quantizeCheckpoint(TINY, dir, { shardBytes: SHARD_BYTES });
  assertSame(dir);
});

test('the command writes what the library does, and says what came out', async () => {
  const [dir, same] = [join(root, 'command'), join(root, 'library')];
  const { status, stdout } = runDaybreak(
    'quantize',
    '--model',
    TINY,
    '--out',
    dir,
    '--group',
    '128',
    '--vision',
    'int8',
    '--host',
  );
  assert.is(status, 0);
  assert.match(stdout, /^q4 +12 +1\.0 +0\.3 /m);
  assert.match(stdout, /^all +76 /m);
  await quantizeCheckpoint(TINY, same, { formats: { group: 128, vision: 'q8' } });
  assertSame(dir, contents(same));
  fails(
    runDaybreak('quantize', '--model', TINY, '--out', TINY, '--host'),
    /^error: quantize: .* expected a new or empty folder/,
  );
  fails(runDaybreak('quantize', '--model', TINY, '--out', dir, '--group', '48'), /Allowed choices are 32, 64, 128/);
});

test('weights that a format cannot hold are named', async () => {
  const dir = mkdtempSync(join(root, 'model-'));
  for (const name of readdirSync(TINY).filter((file) => file !== 'images'))
    copyFileSync(join(TINY, name), join(dir, name));
  for (const [name, bits, got] of [
    [`${VISION}.encoder.layers.1.mlp.fc2.weight`, 0x4780, '65536'],
    ['model.layers.2.mlp.down_proj.weight', 0xff80, '-Infinity'],
    ['lm_head.weight', 0x7fc0, 'NaN'],
  ] as const) {
    const info = place(dir, name);
    const bytes = readFileSync(info.file);
    const before = bytes.readUInt16LE(info.offset + 34);
    bytes.writeUInt16LE(bits, info.offset + 34);
    writeFileSync(info.file, bytes);
    const out = mkdtempSync(join(root, 'out-'));
    const pattern = new RegExp(
      `${name}: expected weights from -65504 to 65504 for .*, got ${got}; choose another format`,
    );
    await rejects(quantizeCheckpoint(dir, out), CheckpointError, pattern);
    assert.equal(readdirSync(out), ['quantization.json']);
    bytes.writeUInt16LE(before, info.offset + 34);
    writeFileSync(info.file, bytes);
  }
});

/** Where a tensor of a checkpoint lies. */
function place(dir: string, name: string) {
  const checkpoint = Checkpoint.open(dir);
  checkpoint.close();
  return checkpoint.info(name);
}

/** A copy of the clean output. */
function copy(): string {
  const dir = mkdtempSync(join(root, 'copy-'));
  cpSync(clean, dir, { recursive: true });
  return dir;
}

/** Changes a byte of a file, as a flash cell or a cable might. */
function flip(path: string, position: number): void {
  const bytes = readFileSync(path);
  bytes[position] = bytes[position]! ^ (1 << random.below(8));
  writeFileSync(path, bytes);
}

/** Changes the header of a shard, whose index then has its sum. */
function changeHeader(
  dir: string,
  shard: string,
  change: (header: Record<string, Record<string, unknown>>) => void,
): void {
  const bytes = readFileSync(join(dir, shard));
  const start = 8 + Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString('utf8', 8, start));
  change(header);
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(join(dir, shard), Buffer.concat([length, text, bytes.subarray(start)]));
  const files = readdirSync(dir).filter((name) => name !== INDEX);
  const isShard = (name: string) => name.endsWith('.safetensors');
  writeIndex(
    dir,
    files.filter(isShard),
    files.filter((name) => !isShard(name)),
  );
}

/** Adds 8 to the four-bit quants of a shard, whose tensors then have their sums. */
function toVersion1(path: string): void {
  const file = SafetensorsFile.open(path);
  const tensors = [...file.tensors.keys()].map((name) => [name, file.read(name)] as const);
  file.close();
  for (const [name, { data }] of tensors) {
    if (name.endsWith('.q4'))
      data.forEach((word, i) => {
        data[i] = (word ^ 0x88888888) >>> 0;
      });
  }
  const parts = tensors.map(([name, { shape, dtype }]) => ({ name, shape, dtype }));
  const writer = new SafetensorsWriter(path, parts);
  for (const [name, { data }] of tensors) writer.write(name, data);
  writer.finish();
}

/** Compares long arrays; the assertion library's own would spend minutes on their difference. */
function assertSameValues(got: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  assert.is(got.length, expected.length, what);
  let wrong = 0;
  while (wrong < got.length && got[wrong] === expected[wrong]) wrong++;
  assert.is(wrong, got.length, `${what}: value ${wrong} is ${got[wrong]}, not ${expected[wrong]}`);
}

/** What is left of weights [rows, cols] after quantisation. */
function quantizedOnHost(values: number[], rows: number, cols: number, how: Quantization): number[] {
  return [...dequantizeWeightsHost(quantizeWeightsHost(Float32Array.from(values), rows, cols, how), rows, cols, how)];
}

/** The tiny checkpoint with the matrices of a quantised format as f32 values of what is left of them. */
function dequantizedTensors(formats: StoredFormats): Record<string, HostTensor> {
  const checkpoint = Checkpoint.open(TINY);
  const tensors = [...checkpoint.tensors.keys()].map((name): [string, HostTensor] => {
    const tensor = checkpoint.read(name);
    const format = formatOf(name, formats);
    if (!isQuantized(format)) return [name, tensor];
    const [rows = 0, cols = 0] = tensor.shape;
    const values = [...widen(tensor.dtype, tensor.data)];
    const left = quantizedOnHost(values, rows, cols, { format, group: formats.group });
    return [name, { shape: tensor.shape, dtype: 'f32', data: Float32Array.from(left) }];
  });
  checkpoint.close();
  return Object.fromEntries(tensors);
}

/** The logits of four steps after a few tokens. */
async function logits(on: Device, dir: string, quantize?: StoredFormats): Promise<Float32Array> {
  const model = await Phi4Vision.load(on, dir, { quantize, int8Activations: false });
  const session = await model.session({ capacity: 16 });
  const steps = 4;
  const rows = on.tensor('step_logits', [steps, session.vocab], 'f32');
  await session.prefill(Uint32Array.of(3, 1, 4, 1, 5, 9));
  for await (const _ of decode(session, { steps, forced: Uint32Array.of(2, 6, 5, 3), logits: rows }));
  const { data } = await on.download(rows);
  on.free(rows.storage);
  session.dispose();
  model.dispose();
  return data as Float32Array;
}

const device = await testDevice();
if (device) {
  const load = async (dir: string, options = {}) => {
    const before = device.memory.current;
    try {
      (await Phi4Vision.load(device, dir, options)).dispose();
    } finally {
      assert.is(device.memory.current, before);
    }
  };

  /** A matrix of a folder as the device has it, widened: f32 [rows, cols]. */
  const loadMatrix = async (
    on: Device,
    dir: string,
    layout: MatrixLayout,
    quantize?: StoredFormats,
  ): Promise<{ matrix: Matrix; values: number[] }> => {
    const checkpoint = Checkpoint.open(dir);
    const { formats } = loadConfig(dir);
    const store = new WeightStore(on, checkpoint, { formats, quantize, verify: formats !== undefined });
    const matrix = await store.matrix(layout);
    checkpoint.close();
    const values: number[] = [];
    for (const { tensor, scales, row } of matrix.blocks) {
      assert.is(row * matrix.cols, values.length);
      const { data } = await on.download(tensor);
      const count = tensor.shape[0]!;
      const { dtype: format, group } = matrix;
      if (format !== 'q4' && format !== 'q8') values.push(...widen(format, data));
      else {
        const rows = { quants: data as Uint32Array, scales: (await on.download(scales!)).data as Uint16Array };
        values.push(...dequantizeWeightsHost(rows, count, matrix.cols, { format, group: group! }));
      }
    }
    store.owned.free();
    return { matrix, values };
  };

  test('the device writes the same files as the host', async () => {
    const dir = join(root, 'device');
    await quantizeCheckpoint(TINY, dir, { shardBytes: SHARD_BYTES, quantize: quantizeOnDevice(device) });
    assertSame(dir);
  });

  test('matrices are as the host quantises them, stored or on the fly, in one block and in many', async () => {
    const { decoder, vision } = loadConfig(TINY);
    const layer = `${VISION}.encoder.layers.0`;
    const projections = ['q', 'k', 'v'].map((part) => `${layer}.self_attn.${part}_proj.weight`);
    const layouts = {
      decoder: interleaved('model.layers.1.mlp.gate_up_proj.weight', decoder.ffn, decoder.hidden),
      head: plain('lm_head.weight', decoder.vocab, decoder.hidden),
      embedding: plain('model.embed_tokens.weight', decoder.vocab, decoder.hidden),
      vision: stacked(projections, vision.hidden, vision.hidden),
    };
    const { heads, kvHeads, headDim, hidden } = decoder;
    const qkv = rotary('model.layers.1.self_attn.qkv_proj.weight', heads, kvHeads, headDim, hidden);
    const odd = rowPadded(`${layer}.mlp.fc2.weight`, vision.hidden, vision.ffn);
    const small = await openDevice({ maxBlockBytes: 64 * 144 * 2 });
    for (const formats of [
      { group: 64, decoder: 'q4', head: 'q8', embedding: 'bf16', vision: 'q8' },
      { group: 128, decoder: 'q8', head: 'q4', embedding: 'q4', vision: 'q4' },
    ] as const) {
      const dir = join(root, `group${formats.group}`);
      await quantizeCheckpoint(TINY, dir, { formats });
      for (const [name, layout] of [...Object.entries(layouts), ['vision', odd], ['decoder', qkv]] as const) {
        const source = await loadMatrix(device, TINY, layout);
        const format = formats[name as keyof typeof layouts];
        for (const on of [device, small]) {
          const { rows, cols } = source.matrix;
          const how = { format, group: formats.group };
          const expected =
            format === 'bf16' ? source.values : quantizedOnHost(source.values, rows, cols, how as Quantization);
          for (const { matrix, values } of [
            await loadMatrix(on, dir, layout),
            await loadMatrix(on, TINY, layout, formats),
          ]) {
            assert.equal([matrix.dtype, matrix.rows, matrix.cols], [format, rows, cols]);
            if (name === 'head') assert.is(matrix.blocks.length > 1, on === small);
            assertSameValues(values, expected, `${name} as ${format}`);
          }
        }
      }
    }
    small.dispose();
  });

  test('a checkpoint of version 1, which stored four-bit quants + 8, loads as one of today does', async () => {
    const { decoder } = loadConfig(clean);
    const layout = interleaved('model.layers.1.mlp.gate_up_proj.weight', decoder.ffn, decoder.hidden);
    const today = await loadMatrix(device, clean, layout);
    const dir = copy();
    for (const name of readdirSync(dir).filter((file) => file.endsWith('.safetensors'))) toVersion1(join(dir, name));
    const path = join(dir, 'config.json');
    const config = JSON.parse(readFileSync(path, 'utf8'));
    config.daybreak_quantization.version = 1;
    writeFileSync(path, JSON.stringify(config));
    const old = await loadMatrix(device, dir, layout);
    assert.is(old.matrix.dtype, 'q4');
    assertSameValues(old.values, today.values, 'values');
  });

  test('a matrix of several chunks is quantised on the fly as a whole one is', async () => {
    const [rows, cols] = [2 * 87424 + 77, 96]; // 87424 rows of 192 bytes are a chunk of 16 MiB
    const data = Uint16Array.from({ length: rows * cols }, () => 0x3c00 + (random.word() >>> 23));
    const dir = mkdtempSync(join(root, 'large-'));
    const weights = { shape: [rows, cols], dtype: 'bf16', data } as const;
    writeSafetensors(join(dir, 'model.safetensors'), { 'lm_head.weight': weights });
    const checkpoint = Checkpoint.open(dir);
    const formats = { group: 32, decoder: 'q4', head: 'q4', embedding: 'q4', vision: 'q4' } as const;
    const store = new WeightStore(device, checkpoint, { quantize: formats });
    const { blocks } = await store.matrix(plain('lm_head.weight', rows, cols));
    checkpoint.close();
    assert.is(blocks.length, 1);
    const { tensor, scales } = blocks[0]!;
    const whole = await quantizeOnDevice(device)(weights, { format: 'q4', group: 32 });
    assertSameValues((await device.download(tensor)).data, whole.quants, 'quants');
    assertSameValues((await device.download(scales!)).data, whole.scales, 'scales');
    store.owned.free();
  });

  test('a quantised model computes what one with the dequantised weights does', async () => {
    const formats = { group: 32, decoder: 'q4', head: 'q8', embedding: 'q4', vision: 'bf16' } as const;
    const stored = join(root, 'stored');
    await quantizeCheckpoint(TINY, stored, { formats });
    const widened = mkdtempSync(join(root, 'widened-'));
    for (const name of ['config.json', 'generation_config.json']) copyFileSync(join(TINY, name), join(widened, name));
    writeSafetensors(join(widened, 'model.safetensors'), dequantizedTensors(formats));
    const expected = await logits(device, widened);
    const got = await logits(device, stored);
    const largest = Math.max(...expected.map(Math.abs));
    const error = Math.max(...expected.map((value, i) => Math.abs(value - got[i]!)));
    assert.ok(error < 1e-4 * largest, `error ${error} of ${largest}`);
    assertSameValues(await logits(device, TINY, formats), got, 'on the fly');
    await rejects(
      logits(device, stored, formats),
      UsageError,
      /expected a checkpoint as published, got a quantised one/,
    );
  });

  test('a flipped byte is found in every class of tensor and every other file, and named', async () => {
    const dir = copy();
    const classes = [
      'model.embed_tokens.weight.q8',
      'model.layers.0.self_attn.qkv_proj.weight.q4',
      'model.layers.2.mlp.gate_up_proj.weight.scales',
      'model.layers.1.post_attention_layernorm.weight',
      'lm_head.weight.scales',
      'model.mm_projector.2.weight',
      'model.mm_projector.0.bias',
      `${VISION}.encoder.layers.1.self_attn.k_proj.weight`,
      `${VISION}.encoder.layers.2.layer_norm2.bias`,
      `${VISION}.embeddings.position_embedding.weight`,
    ];
    for (const name of classes) {
      const info = place(dir, name);
      flip(info.file, info.offset + random.below(info.bytes));
      const what = new RegExp(
        `${info.file}: ${name}: expected the checksum [0-9a-f]{8}, got [0-9a-f]{8}; .*quantise it again`,
      );
      await rejects(load(dir), CheckpointError, what);
      await load(dir, { verify: false });
      copyFileSync(join(clean, info.file.slice(dir.length)), info.file);
    }
    for (const name of readdirSync(dir)) {
      const header = name.endsWith('.safetensors')
        ? 8 + Number(readFileSync(join(dir, name)).readBigUInt64LE())
        : Infinity;
      for (let i = 0; i < 4; i++) {
        flip(join(dir, name), random.below(Math.min(fs.statSync(join(dir, name)).size, header)));
        await rejects(load(dir), CheckpointError, new RegExp(name));
        copyFileSync(join(clean, name), join(dir, name));
      }
    }
    await load(dir);
  });

  test('a shard that was cut is named, whatever is verified', async () => {
    const dir = copy();
    const shards = readdirSync(dir).filter((name) => name.endsWith('.safetensors'));
    for (const shard of shards) {
      const { size } = fs.statSync(join(dir, shard));
      for (const left of [0, 7, 900, size - 1]) {
        truncateSync(join(dir, shard), left);
        await rejects(load(dir), CheckpointError, new RegExp(shard));
        await rejects(load(dir, { verify: false }), CheckpointError, new RegExp(shard));
        copyFileSync(join(clean, shard), join(dir, shard));
      }
    }
  });

  test('metadata that contradicts itself is an error that names it', async () => {
    const name = 'model.layers.0.self_attn.o_proj.weight';
    const { file } = place(clean, `${name}.q4`);
    const shard = file.slice(clean.length + 1);
    const changed = async (pattern: RegExp, change: Parameters<typeof changeHeader>[2], options = {}) => {
      const dir = copy();
      changeHeader(dir, shard, change);
      await rejects(load(dir, options), CheckpointError, pattern);
    };
    const rename = (from: string, to: string) => (header: Record<string, unknown>) => {
      header[to] = header[from];
      delete header[from];
    };
    await changed(/o_proj.weight.q4: expected a checksum, got nothing/, (header) => {
      delete header.__metadata__![`crc32:${name}.q4`];
    });
    await changed(/o_proj.weight.scales: expected f16 \[128, 2\], got f16 \[2, 128\]/, (header) => {
      header[`${name}.scales`]!.shape = [2, 128];
    });
    await changed(/o_proj.weight.scales: expected f16 \[128, 2\], got bf16 \[128, 2\]/, (header) => {
      header[`${name}.scales`]!.dtype = 'BF16';
    });
    await changed(/o_proj.weight.q4: expected u32 \[128, 16\], got u32 \[64, 32\]/, (header) => {
      header[`${name}.q4`]!.shape = [64, 32];
    });
    await changed(/o_proj.weight.scales: expected a tensor, got nothing/, rename(`${name}.scales`, 'x'));
    await changed(/o_proj.weight.q4: expected a tensor, got nothing/, rename(`${name}.q4`, `${name}.q8`));
    const configured = async (key: string, value: unknown, pattern: RegExp) => {
      const dir = copy();
      const config = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8'));
      config.daybreak_quantization[key] = value;
      writeFileSync(join(dir, 'config.json'), JSON.stringify(config));
      await rejects(load(dir, { verify: false }), CheckpointError, /config.json/, pattern);
    };
    for (const group of [0, 7, -64, '64', 64.5, null, 2 ** 40])
      await configured('group', group, /daybreak_quantization.group: expected one of 32, 64, 128, got/);
    await configured('version', 3, /daybreak_quantization.version: expected one of 1, 2, got 3/);
    await configured('decoder', 'bf16', /daybreak_quantization.decoder: expected one of q4, q8, got "bf16"/);
    await configured(
      'vision',
      undefined,
      /daybreak_quantization.vision: expected one of q4, q8, f16, bf16, got nothing/,
    );
  });
}

test.run();
