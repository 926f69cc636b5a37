import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { expectedTensors, isUnused, loadConfig, type ModelConfig } from '../model/checkpoint/config.ts';
import { Checkpoint } from '../model/checkpoint/safetensors.ts';
import { CheckpointError } from '../runtime/errors.ts';
import { elements } from '../runtime/shape.ts';
import { randomNumbers } from './fixtures/random_numbers.ts';

const TINY = fileURLToPath(new URL('../bench/reference/tiny', import.meta.url));
const FILES = ['config.json', 'generation_config.json', 'preprocessor_config.json'] as const;
const SEED = Number(process.env.SEED ?? 20261122);
const dir = join(mkdtempSync(join(tmpdir(), 'config-')), 'folder');

type Json = Record<string, unknown>;
type File = (typeof FILES)[number];

/** The sizes of the 15B model over the tiny one's config.json. */
const FULL = {
  vocab_size: 100352,
  hidden_size: 5120,
  intermediate_size: 17920,
  num_hidden_layers: 40,
  num_attention_heads: 40,
  num_key_value_heads: 10,
  bos_token_id: 100257,
  eos_token_id: 100265,
  pad_token_id: 100349,
  mm_hidden_size: 1152,
  vision_config: {
    hidden_size: 1152,
    intermediate_size: 4304,
    model_type: 'siglip2_vision_model',
    num_attention_heads: 16,
    num_hidden_layers: 27,
  },
};
const FULL_IDS = { bos_token_id: 100257, eos_token_id: [100265], pad_token_id: 100349 };
const VISION = 'model.vision_tower.vision_tower.vision_model.';

/** The tiny configuration with these keys replaced; undefined removes a key. */
function load(changes: Partial<Record<File, Json>>): ModelConfig {
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir);
  for (const file of FILES) {
    const value = { ...JSON.parse(readFileSync(join(TINY, file), 'utf8')), ...changes[file] };
    writeFileSync(join(dir, file), JSON.stringify(value));
  }
  return loadConfig(dir);
}

/** Replaces a file; writing over it in place makes ext4 flush each time. */
function rewrite(path: string, bytes: string | Uint8Array): void {
  rmSync(path, { force: true });
  writeFileSync(path, bytes);
}

function loadVision(changes: Json): ModelConfig {
  const { vision_config: vision } = JSON.parse(readFileSync(join(TINY, 'config.json'), 'utf8'));
  return load({ 'config.json': { vision_config: { ...vision, ...changes } } });
}

/** The body must throw a CheckpointError that names the file, the key, what was expected and what it got. */
function refuses(body: () => unknown, file: File, key: string, expected: string, got: string): void {
  try {
    body();
  } catch (error) {
    assert.instance(error, CheckpointError, String(error));
    const { message } = error as Error;
    assert.ok(message.startsWith(`${join(dir, file)}: ${key}: expected `), message);
    for (const part of [expected, `, got ${got}; `]) assert.ok(message.includes(part), `${message} lacks ${part}`);
    return;
  }
  assert.unreachable(`${key}: no error`);
}

function refusesKey(key: string, values: unknown[], expected: string, file: File = 'config.json'): void {
  for (const value of values)
    refuses(() => load({ [file]: { [key]: value } }), file, key, expected, JSON.stringify(value) ?? 'nothing');
}

function refusesVision(key: string, values: unknown[], expected: string): void {
  for (const value of values) {
    refuses(
      () => loadVision({ [key]: value }),
      'config.json',
      `vision_config.${key}`,
      expected,
      JSON.stringify(value) ?? 'nothing',
    );
  }
}

test('the tiny checkpoint', () => {
  assert.equal(loadConfig(TINY), {
    decoder: {
      vocab: 512,
      hidden: 128,
      layers: 3,
      heads: 4,
      kvHeads: 2,
      headDim: 32,
      ffn: 320,
      rmsNormEps: 1e-5,
      ropeTheta: 500000,
      maxPositions: 32768,
    },
    vision: {
      hidden: 96,
      layers: 4,
      usedLayers: 3,
      heads: 4,
      headDim: 24,
      ffn: 144,
      layerNormEps: 1e-6,
      patch: 16,
      channels: 3,
      positionGrid: 16,
    },
    projector: { type: 'mlp2x_gelu' },
    image: { minPatches: 256, maxPatches: 3600 },
    tokens: { bos: 507, eos: [508], pad: 509 },
    sampling: { temperature: 0.8, topP: 0.95, topK: 50, doSample: true },
    contextLimit: 16384,
    unknownKeys: [],
  });
});

test('the tensors of the tiny checkpoint are the expected ones', () => {
  const checkpoint = Checkpoint.open(TINY);
  const stored = [...checkpoint.tensors.values()].map(({ name, shape }) => [name, shape] as const);
  assert.equal(new Map(stored.toSorted()), new Map([...expectedTensors(loadConfig(TINY))].toSorted()));
  checkpoint.close();
});

test('the 15B checkpoint has 695 tensors of 15,119,518,144 parameters', () => {
  const config = load({ 'config.json': FULL, 'generation_config.json': FULL_IDS });
  const tensors = [...expectedTensors(config)];
  const count = (wanted: (name: string) => boolean) => {
    const some = tensors.filter(([name]) => wanted(name));
    return [some.length, some.reduce((sum, [, shape]) => sum + elements(shape), 0)];
  };
  assert.equal(
    count(() => true),
    [695, 15_119_518_144],
  );
  assert.equal(
    count((name) => name.startsWith('model.mm_projector.')),
    [4, 32_122_880],
  );
  assert.equal(
    count((name) => name.startsWith(VISION)),
    [448, 427_888_064],
  );
  assert.equal(
    count((name) => !/mm_projector|vision_tower/.test(name)),
    [243, 14_659_507_200],
  );
  assert.equal(
    count((name) => isUnused(name, config)),
    [29, 30_480_160],
  );
  assert.is(isUnused(`${VISION}encoder.layers.26.layer_norm1.weight`, config), true);
  for (const name of [
    `${VISION}encoder.layers.2.layer_norm1.weight`,
    `${VISION}encoder.layers.25.mlp.fc1.bias`,
    'lm_head.weight',
  ]) {
    assert.is(isUnused(name, config), false, name);
  }
  assert.equal([config.decoder.headDim, config.vision.headDim, config.vision.usedLayers], [128, 72, 26]);
  assert.equal(config.tokens, { bos: 100257, eos: [100265], pad: 100349 });
});

test('the keys of the published config.json are all known', () => {
  const published = {
    auto_map: { AutoConfig: 'modeling_phi4_visionr.Phi4VisionR' },
    freeze_mm_mlp_adapter: false,
    image_aspect_ratio: 'square',
    mm_projector_lr: 2e-5,
    transformers_version: '4.56.1',
    tune_mm_mlp_adapter: false,
    unfreeze_vision_tower: true,
    use_cache: false,
    use_mm_proj: true,
    use_s2: false,
  };
  assert.equal(load({ 'config.json': published }).unknownKeys, []);
});

test('unknown keys are listed, not refused', () => {
  const { unknownKeys } = load({
    'config.json': { ...FULL, logit_scale: 2, constructor: 1, vision_config: { ...FULL.vision_config, window: 1 } },
    'generation_config.json': { ...FULL_IDS, repetition_penalty: 1.1 },
    'preprocessor_config.json': { do_pad: true },
  });
  const listed = [
    'logit_scale',
    'constructor',
    'vision_config.window',
    'generation_config.repetition_penalty',
    'preprocessor_config.do_pad',
  ];
  assert.equal(unknownKeys, listed);
});

test('other sizes: no GQA, GQA 5:1, head sizes 64 and 72, odd widths and vocabularies, short context', () => {
  const sizes = (changes: Json) => load({ 'config.json': changes }).decoder;
  assert.is(sizes({ num_key_value_heads: undefined }).kvHeads, 4);
  assert.is(sizes({ num_key_value_heads: null }).kvHeads, 4);
  assert.is(sizes({ head_dim: 32 }).headDim, 32);
  const odd = {
    vocab_size: 1031,
    hidden_size: 640,
    num_attention_heads: 10,
    num_key_value_heads: 2,
    intermediate_size: 215,
  };
  const config = load({ 'config.json': { ...odd, max_position_embeddings: 4096, mm_hidden_size: undefined } });
  assert.equal([config.decoder.headDim, config.decoder.vocab, config.contextLimit], [64, 1031, 4096]);
  const tensors = expectedTensors(config);
  assert.equal(tensors.get('model.layers.2.self_attn.qkv_proj.weight'), [896, 640]);
  assert.equal(tensors.get('model.layers.0.mlp.gate_up_proj.weight'), [430, 640]);
  const vision = {
    ...FULL.vision_config,
    hidden_size: 144,
    num_attention_heads: 2,
    intermediate_size: 1076,
    num_hidden_layers: 2,
  };
  const other = load({ 'config.json': { mm_hidden_size: 144, vision_config: vision } });
  assert.equal([other.vision.headDim, other.vision.usedLayers], [72, 1]);
  assert.equal(expectedTensors(other).get(`${VISION}encoder.layers.1.mlp.fc2.weight`), [144, 1076]);
});

test('defaults where optional keys and files are absent', () => {
  load({ 'config.json': { min_num_patches: undefined, max_num_patches: undefined } });
  rmSync(join(dir, 'generation_config.json'));
  rmSync(join(dir, 'preprocessor_config.json'));
  const config = loadConfig(dir);
  assert.equal(config.tokens, { bos: 507, eos: [508], pad: 509 });
  assert.equal(config.sampling, { temperature: 1, topP: 1, topK: 50, doSample: false });
  assert.equal(config.image, { minPatches: 256, maxPatches: 3600 });
  rmSync(join(dir, 'config.json'));
  refuses(
    () => loadConfig(dir),
    'config.json',
    'file',
    'a readable file',
    `ENOENT: no such file or directory, stat '${join(dir, 'config.json')}'`,
  );
});

test('the generation config decides about tokens and sampling', () => {
  const { tokens, sampling } = load({
    'config.json': { bos_token_id: undefined, eos_token_id: 1 },
    'generation_config.json': {
      bos_token_id: 3,
      eos_token_id: [508, 507],
      temperature: 0,
      top_k: 0,
      top_p: 1,
      do_sample: false,
    },
  });
  assert.equal(tokens, { bos: 3, eos: [508, 507], pad: 509 });
  assert.equal(sampling, { temperature: 0, topP: 1, topK: 0, doSample: false });
  const single = load({ 'generation_config.json': { eos_token_id: 5 } });
  assert.equal(single.tokens.eos, [5]);
  assert.equal(
    loadVision({
      layer_norm_eps: 1e-5,
      patch_size: 16,
      num_patches: 256,
      num_channels: 3,
      hidden_act: 'gelu_pytorch_tanh',
    }).vision.layerNormEps,
    1e-5,
  );
});

test('another architecture is refused', () => {
  refusesKey(
    'architectures',
    [['Phi3ForCausalLM'], [], undefined, 'Phi4ForCausalLMV', ['Phi4ForCausalLMV', 'x']],
    '["Phi4ForCausalLMV"]',
  );
  refusesKey('model_type', ['phi3', undefined, null], '"phi4-siglip"');
  refusesKey('hidden_act', ['gelu', 1], '"silu"');
  refusesKey('attention_bias', [true, 0], 'false');
  refusesKey('partial_rotary_factor', [0.5, '1'], '1');
  refusesKey('sliding_window', [2048, 0], 'null');
  refusesKey('tie_word_embeddings', [true], 'false');
  refusesKey('quantization_config', [{ bits: 4 }], 'null');
  refusesKey('head_dim', [64], '32');
  refusesKey('mm_hidden_size', [97, '96'], '96');
  refusesKey('mm_projector_type', ['linear', undefined], '"mlp2x_gelu"');
  refusesKey('mm_vision_select_layer', [-1], '-2');
  refusesKey('use_mm_proj', [false], 'true');
  refusesKey('use_s2', [true], 'false');
  refusesKey('vision_config', [undefined, [], 1, 'x'], 'an object');
  refusesVision('model_type', ['siglip_vision_model', undefined], '"siglip2_vision_model"');
  refusesVision('hidden_act', ['gelu'], '"gelu_pytorch_tanh"');
  refusesVision('patch_size', [14], '16');
  refusesVision('num_channels', [1], '3');
  refusesVision('num_patches', [729], '256');
});

test('a rotary embedding that nothing else is done to, wherever it is written', () => {
  const theta = (changes: Json) => load({ 'config.json': changes }).decoder.ropeTheta;
  const plain = [
    { rope_type: 'default' },
    { type: 'default' },
    { rope_type: 'default', type: 'default', factor: 1 },
    {},
    null,
  ];
  for (const rope_scaling of plain) assert.is(theta({ rope_scaling }), 500000);
  const nested = {
    rope_theta: 5e5,
    rope_type: 'default',
    partial_rotary_factor: 1,
    original_max_position_embeddings: 4096,
  };
  const saved = load({ 'config.json': { rope_theta: undefined, rope_scaling: undefined, rope_parameters: nested } });
  assert.equal(saved, loadConfig(TINY));
  assert.is(theta({ rope_theta: undefined, rope_scaling: { ...nested, rope_theta: 1e4 } }), 1e4);
  assert.is(theta({ rope_parameters: nested }), 500000);
  const bad: [string, Json, string, string][] = [
    ...['linear', 'dynamic', 'yarn', 'longrope', 'llama3', 'su', 7].flatMap(
      (kind): [string, Json, string, string][] => [
        ['rope_scaling', { type: kind }, 'type', '"default"'],
        ['rope_scaling', { rope_type: kind, factor: 2 }, 'rope_type', '"default"'],
        ['rope_parameters', { ...nested, rope_type: kind }, 'rope_type', '"default"'],
      ],
    ),
    ['rope_parameters', { ...nested, partial_rotary_factor: 0.5 }, 'partial_rotary_factor', '1'],
    ['rope_parameters', { ...nested, rope_theta: 1e4 }, 'rope_theta', '500000'],
    ['rope_parameters', { ...nested, rope_theta: '1e4' }, 'rope_theta', '500000'],
    ['rope_parameters', { ...nested, factor: 2 }, 'factor', '1'],
    ['rope_parameters', { full_attention: nested }, 'full_attention', 'nothing'],
    ['rope_scaling', { short_factor: [2] }, 'short_factor', 'nothing'],
  ];
  for (const [key, value, inner, expected] of bad) {
    refuses(() => theta({ [key]: value }), 'config.json', `${key}.${inner}`, expected, JSON.stringify(value[inner]));
  }
  refusesKey('rope_scaling', [false, 'default', []], 'an object');
  refuses(() => theta({ rope_theta: undefined }), 'config.json', 'rope_theta', 'a positive number', 'nothing');
});

test('ids of tokens that inference does not need may be null', () => {
  const none = { bos_token_id: null, pad_token_id: null };
  const config = load({ 'config.json': none, 'generation_config.json': none });
  assert.equal(config, { ...loadConfig(TINY), tokens: { bos: undefined, eos: [508], pad: undefined } });
  assert.is(load({ 'generation_config.json': none }).tokens.pad, 509);
});

test('a Git LFS pointer is named', () => {
  load({});
  const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 1084\n';
  for (const file of FILES) {
    load({});
    rewrite(join(dir, file), pointer);
    refuses(() => loadConfig(dir), file, 'file', 'its contents', 'a Git LFS pointer');
  }
});

test('sizes that are not positive integers, that do not divide or that are absurd are refused', () => {
  const bad = [0, -1, 1.5, '8', true, undefined, null, [], {}, 2 ** 31 + 1];
  for (const key of [
    'vocab_size',
    'hidden_size',
    'intermediate_size',
    'num_attention_heads',
    'max_position_embeddings',
  ]) {
    refusesKey(key, bad, 'an integer from 1 to 2147483648');
  }
  refusesKey(
    'num_key_value_heads',
    bad.filter((value) => value != null),
    'an integer from 1 to 2147483648',
  );
  refusesKey('num_hidden_layers', [...bad, 1025], 'an integer from 1 to 1024');
  for (const key of ['hidden_size', 'intermediate_size', 'num_attention_heads'])
    refusesVision(key, bad, 'an integer from 1 to 2147483648');
  refusesVision('num_hidden_layers', [...bad, 1025], 'an integer from 1 to 1024');
  for (const key of ['rms_norm_eps', 'rope_theta'])
    refusesKey(key, [0, -1, '1', undefined, false], 'a positive number');
  refusesVision('layer_norm_eps', [0, -1e-6, 'x', []], 'a positive number');
  refusesKey('hidden_size', [130, 120], 'a multiple of 8 x num_attention_heads 4');
  refusesVision('hidden_size', [98, 80], 'a multiple of 8 x num_attention_heads 4');
  refusesKey('num_key_value_heads', [3, 8], 'a divisor of num_attention_heads 4');
  refusesKey('min_num_patches', [0, -1, 0.5, '1'], 'an integer from 1');
  refusesKey('min_num_patches', [3601], 'at most max_num_patches 3600');
  refusesKey('max_num_patches', [0, 2 ** 31 + 1], 'an integer from 1');
  load({});
  writeFileSync(
    join(dir, 'config.json'),
    readFileSync(join(dir, 'config.json'), 'utf8').replace('"rope_theta":500000', '"rope_theta":1e999'),
  );
  refuses(() => loadConfig(dir), 'config.json', 'rope_theta', 'a positive number', 'Infinity');
});

test('bad token ids and sampling defaults are refused', () => {
  const generation = 'generation_config.json';
  refusesKey(
    'eos_token_id',
    [[], [512], [-1], [1.5], ['508'], '508', 512, {}],
    'a token id below vocab_size 512',
    generation,
  );
  for (const key of ['bos_token_id', 'pad_token_id'])
    refusesKey(key, [512, -1, 0.5, 'x', [1]], 'an integer from 0 to 511', generation);
  const eos = { eos_token_id: undefined };
  refuses(
    () => load({ 'config.json': eos, [generation]: eos }),
    'config.json',
    'eos_token_id',
    'a token id below',
    'nothing',
  );
  refusesKey('temperature', [-1, '1', true], 'a number >= 0', generation);
  refusesKey('top_p', [0, -1, 1.1, 'x'], 'a number in (0, 1]', generation);
  refusesKey('top_k', [-1, 0.5, 'x'], 'an integer from 0', generation);
  refusesKey('do_sample', [1, 'true'], 'true or false', generation);
});

test('another preprocessing is refused', () => {
  const preprocessor = 'preprocessor_config.json';
  for (const key of ['image_mean', 'image_std'])
    refusesKey(key, [[0.5, 0.5], [0.5, 0.5, 0.4], 0.5], '[0.5,0.5,0.5]', preprocessor);
  refusesKey('rescale_factor', [1, 1 / 127.5], '0.00392156862745098', preprocessor);
  for (const key of ['do_resize', 'do_rescale', 'do_normalize']) refusesKey(key, [false], 'true', preprocessor);
  refusesKey('resample', [3], '2', preprocessor);
  refusesKey('patch_size', [14], '16', preprocessor);
  refusesKey('min_num_patches', [255], '256', preprocessor);
  refusesKey('max_num_patches', [1024], '3600', preprocessor);
});

test('text that is not a JSON object, and repeated keys, are refused', () => {
  for (const file of FILES) {
    for (const [text, key, expected] of [
      ['', 'file', 'UTF-8 JSON'],
      ['{"a":', 'file', 'UTF-8 JSON'],
      ['[1]', 'file', 'an object'],
      ['{"hidden_size":1,"hidden_size":2}', 'hidden_size', 'one entry'],
    ] as const) {
      load({});
      writeFileSync(join(dir, file), text);
      try {
        loadConfig(dir);
        assert.unreachable(`${file} ${text}`);
      } catch (error) {
        assert.instance(error, CheckpointError, String(error));
        assert.ok(
          (error as Error).message.startsWith(`${join(dir, file)}: ${key}: expected ${expected}, got `),
          String(error),
        );
      }
    }
  }
});

test(`fuzz: 3000 damaged configurations, seed ${SEED}`, () => {
  console.log(`  fuzz seed ${SEED} (set SEED to change it)`);
  const random = randomNumbers(SEED);
  const pick = (n: number) => Math.floor(random() * n);
  const values = [
    '0',
    '-1',
    '1',
    '64',
    '1e999',
    '2147483648',
    '9007199254740993',
    '{}',
    '[]',
    '[1]',
    'null',
    'true',
    '"x"',
    '"__proto__"',
  ];
  const outcomes = { loaded: 0, refused: 0 };
  load({});
  for (let i = 0; i < 3000; i++) {
    const file = FILES[pick(FILES.length)]!;
    const text = readFileSync(join(TINY, file));
    const at = pick(text.length);
    const damaged =
      i % 2
        ? text
            .toString()
            .replace(/: [^,{[\]}]+/g, (old) => (random() < 0.05 ? `: ${values[pick(values.length)]}` : old))
        : Buffer.concat([text.subarray(0, at), Buffer.from([pick(256)]), text.subarray(at + pick(3))]);
    rewrite(join(dir, file), damaged);
    try {
      const config = loadConfig(dir);
      for (const shape of expectedTensors(config).values()) assert.ok(shape.every(Number.isSafeInteger));
      assert.ok(config.tokens.eos.length > 0 && config.contextLimit > 0);
      outcomes.loaded++;
    } catch (error) {
      if (!(error instanceof CheckpointError)) assert.unreachable(`${file} ${damaged.toString('base64')}: ${error}`);
      outcomes.refused++;
    }
    rewrite(join(dir, file), text);
  }
  assert.ok(outcomes.loaded > 200 && outcomes.refused > 1000, JSON.stringify(outcomes));
});

test.after(() => rmSync(join(dir, '..'), { recursive: true }));
test.run();
