import type { Shape } from '../../runtime/shape.ts';
import { Fields } from './fields.ts';

/** The formats that each class of matrices may have in a checkpoint that `npm run quantize` wrote. */
const CLASS_FORMATS = {
  /** Attention and MLP of the decoder layers; the rows of gate_up_proj alternate: gate_0, up_0, gate_1, ... */
  decoder: ['q4', 'q8'],
  head: ['q4', 'q8', 'bf16'],
  embedding: ['q4', 'q8', 'bf16'],
  /** Vision tower and projector. */
  vision: ['q4', 'q8', 'f16', 'bf16'],
} as const;

/** The format of each class of matrices, and how many columns share a scale in the quantised ones. */
export type StoredFormats = {
  readonly [Class in keyof typeof CLASS_FORMATS]: (typeof CLASS_FORMATS)[Class][number];
} & {
  readonly group: number;
  /** Whether four-bit quants are stored + 8, as version 1 had them. */
  readonly plusEight?: boolean;
};

/** The formats that matrices are quantised to unless told otherwise. */
export const DEFAULT_FORMATS: StoredFormats = { group: 64, decoder: 'q4', head: 'q8', embedding: 'q8', vision: 'f16' };

/** The key of config.json that says how a checkpoint was quantised, the version that is written and what `group` may be. */
export const QUANTIZATION = { key: 'daybreak_quantization', version: 2, groups: [32, 64, 128] } as const;

/** What the network, the image processor and the sampler need to know of a checkpoint; sizes in elements. */
export interface ModelConfig {
  readonly decoder: {
    readonly vocab: number;
    readonly hidden: number;
    readonly layers: number;
    readonly heads: number;
    readonly kvHeads: number;
    readonly headDim: number;
    readonly ffn: number;
    readonly rmsNormEps: number;
    readonly ropeTheta: number;
    readonly maxPositions: number;
  };
  readonly vision: {
    readonly hidden: number;
    /** Layers in the checkpoint; the last one is never run. */
    readonly layers: number;
    readonly usedLayers: number;
    readonly heads: number;
    readonly headDim: number;
    readonly ffn: number;
    readonly layerNormEps: number;
    /** Pixels along a side of a patch. */
    readonly patch: number;
    readonly channels: number;
    /** Rows and columns of the table of position embeddings. */
    readonly positionGrid: number;
  };
  readonly projector: { readonly type: 'mlp2x_gelu' };
  readonly image: { readonly minPatches: number; readonly maxPatches: number };
  readonly tokens: { readonly bos?: number; readonly eos: readonly number[]; readonly pad?: number };
  /** Defaults of the checkpoint; topK 0 means no limit. */
  readonly sampling: {
    readonly temperature: number;
    readonly topP: number;
    readonly topK: number;
    readonly doSample: boolean;
  };
  /** Longest sequence of prompt and answer, in positions: 16384, or maxPositions where that is less. */
  readonly contextLimit: number;
  /** How the matrices are stored where the checkpoint is a quantised one. */
  readonly formats?: StoredFormats;
  /** Keys that this project does not know, as paths such as vision_config.foo: worth a warning. */
  readonly unknownKeys: readonly string[];
}

const CONTEXT_LIMIT = 16384;
const MAX_LAYERS = 1024;
const VISION = 'model.vision_tower.vision_tower.vision_model.';

/** Keys without influence on inference: provenance, training, and defaults of other programs. */
const BOOKKEEPING = new Set([
  ...['_name_or_path', '_from_model_config', 'transformers_version', 'auto_map', 'dtype', 'torch_dtype', 'use_cache'],
  ...['initializer_range', 'attention_dropout', 'embd_pdrop', 'resid_pdrop', 'original_max_position_embeddings'],
  ...['mm_vision_tower', 'mm_projector_lr', 'freeze_mm_mlp_adapter', 'tune_mm_mlp_adapter', 'unfreeze_vision_tower'],
  ...['image_aspect_ratio', 'tokenizer_model_max_length', 'tokenizer_padding_side', 'max_length', 'max_new_tokens'],
  ...['do_convert_rgb', 'image_processor_type', 'processor_class'],
]);

/**
 * Reads config.json, and generation_config.json and preprocessor_config.json where they exist. CheckpointError naming
 * file, key, expected and got when a value is missing, malformed, contradictory or not supported.
 */
export function loadConfig(dir: string): ModelConfig {
  const config = Fields.open(dir, 'config.json');
  const visionConfig = config.object('vision_config');
  const generation = Fields.openOptional(dir, 'generation_config.json');
  const preprocessor = Fields.openOptional(dir, 'preprocessor_config.json');

  config.require('architectures', ['Phi4ForCausalLMV']);
  config.require('model_type', 'phi4-siglip');
  const decoder = readDecoder(config);
  const vision = readVision(visionConfig);
  config.require('mm_projector_type', 'mlp2x_gelu');
  config.allow('mm_hidden_size', vision.hidden);
  config.allow('mm_vision_select_layer', -2);
  config.allow('use_mm_proj', true);
  config.allow('use_s2', false);
  return {
    decoder,
    vision,
    projector: { type: 'mlp2x_gelu' },
    image: readImage(config, preprocessor, vision.patch),
    tokens: readTokens(config, generation, decoder.vocab),
    sampling: {
      temperature: generation.number('temperature', (x) => x >= 0, 'a number >= 0', 1),
      topP: generation.number('top_p', (x) => x > 0 && x <= 1, 'a number in (0, 1]', 1),
      topK: generation.integer('top_k', 0, undefined, 50),
      doSample: generation.boolean('do_sample', false),
    },
    contextLimit: Math.min(CONTEXT_LIMIT, decoder.maxPositions),
    ...(config.has(QUANTIZATION.key) && { formats: readFormats(config.object(QUANTIZATION.key)) }),
    unknownKeys: [
      ...unknownKeys(config, ''),
      ...unknownKeys(visionConfig, 'vision_config.'),
      ...unknownKeys(generation, 'generation_config.'),
      ...unknownKeys(preprocessor, 'preprocessor_config.'),
    ],
  };
}

/** The name and shape of every tensor of the official checkpoint layout; 695 for the 15B model. */
export function expectedTensors(config: ModelConfig): Map<string, Shape> {
  return new Map<string, Shape>([
    ...decoderTensors(config.decoder),
    ...linearTensors('model.mm_projector.0', config.decoder.hidden, config.vision.hidden),
    ...linearTensors('model.mm_projector.2', config.decoder.hidden, config.decoder.hidden),
    ...visionTensors(config.vision),
  ]);
}

/** Whether inference never reads a tensor: the last vision layer, the norm after it and the pooling head. */
export function isUnused(name: string, config: ModelConfig): boolean {
  const unused = [`encoder.layers.${config.vision.usedLayers}.`, 'post_layernorm.', 'head.'];
  return unused.some((part) => name.startsWith(VISION + part));
}

function readDecoder(config: Fields): ModelConfig['decoder'] {
  const hidden = config.integer('hidden_size');
  const heads = config.integer('num_attention_heads');
  const kvHeads = config.integer('num_key_value_heads', 1, undefined, heads);
  const headDim = readHeadDim(config, hidden, heads);
  config.check(heads % kvHeads === 0, 'num_key_value_heads', `a divisor of num_attention_heads ${heads}`);
  config.allow('head_dim', headDim);
  config.allow('hidden_act', 'silu');
  config.allow('attention_bias', false);
  config.allow('partial_rotary_factor', 1);
  config.allow('sliding_window', null);
  config.allow('tie_word_embeddings', false);
  config.allow('quantization_config', null);
  return {
    vocab: config.integer('vocab_size'),
    hidden,
    layers: config.integer('num_hidden_layers', 1, MAX_LAYERS),
    heads,
    kvHeads,
    headDim,
    ffn: config.integer('intermediate_size'),
    rmsNormEps: config.positive('rms_norm_eps'),
    ropeTheta: readRopeTheta(config),
    maxPositions: config.integer('max_position_embeddings'),
  };
}

/**
 * The base of the rotary embedding: rope_theta, or that of rope_parameters, where transformers 5 writes it. Both that and
 * the older rope_scaling may say that nothing else is done to the embedding, and nothing else may they say.
 */
function readRopeTheta(config: Fields): number {
  const named = ['rope_parameters', 'rope_scaling'].filter((key) => config.has(key)).map((key) => config.object(key));
  for (const rope of named) {
    for (const key of ['rope_type', 'type']) rope.allow(key, 'default');
    rope.allow('partial_rotary_factor', 1);
    rope.allow('factor', 1);
  }
  const holders = [config, ...named].filter((section) => section.has('rope_theta'));
  const theta = (holders[0] ?? config).positive('rope_theta');
  for (const holder of holders) holder.require('rope_theta', theta);
  for (const rope of named) for (const key of unknownKeys(rope)) rope.check(!rope.has(key), key, 'nothing');
  return theta;
}

function readVision(config: Fields): ModelConfig['vision'] {
  config.require('model_type', 'siglip2_vision_model');
  config.allow('hidden_act', 'gelu_pytorch_tanh');
  config.allow('patch_size', 16);
  config.allow('num_channels', 3);
  config.allow('num_patches', 256);
  const hidden = config.integer('hidden_size');
  const heads = config.integer('num_attention_heads');
  const layers = config.integer('num_hidden_layers', 1, MAX_LAYERS);
  return {
    hidden,
    layers,
    usedLayers: layers - 1,
    heads,
    headDim: readHeadDim(config, hidden, heads),
    ffn: config.integer('intermediate_size'),
    layerNormEps: config.positive('layer_norm_eps', 1e-6),
    patch: 16,
    channels: 3,
    positionGrid: 16,
  };
}

/** config.json decides, as in the reference; preprocessor_config.json may only repeat it. */
function readImage(config: Fields, preprocessor: Fields, patch: number): ModelConfig['image'] {
  const minPatches = config.integer('min_num_patches', 1, undefined, 256);
  const maxPatches = config.integer('max_num_patches', 1, undefined, 3600);
  config.check(minPatches <= maxPatches, 'min_num_patches', `at most max_num_patches ${maxPatches}`);
  preprocessor.allow('min_num_patches', minPatches);
  preprocessor.allow('max_num_patches', maxPatches);
  preprocessor.allow('patch_size', patch);
  for (const step of ['do_resize', 'do_rescale', 'do_normalize']) preprocessor.allow(step, true);
  preprocessor.allow('resample', 2);
  preprocessor.allow('rescale_factor', 1 / 255);
  preprocessor.allow('image_mean', [0.5, 0.5, 0.5]);
  preprocessor.allow('image_std', [0.5, 0.5, 0.5]);
  return { minPatches, maxPatches };
}

/** generation_config.json decides; config.json fills in what it lacks. Both are asked, so that both know the key. */
function readTokens(config: Fields, generation: Fields, vocab: number): ModelConfig['tokens'] {
  const source = (key: string) => [generation, config].filter((section) => section.has(key))[0] ?? config;
  const id = (key: string) => (source(key).has(key) ? source(key).integer(key, 0, vocab - 1) : undefined);
  return {
    bos: id('bos_token_id'),
    eos: readTokenIds(source('eos_token_id'), 'eos_token_id', vocab),
    pad: id('pad_token_id'),
  };
}

/** hidden / heads, which the attention kernels need to be a multiple of 8. */
function readHeadDim(config: Fields, hidden: number, heads: number): number {
  config.check(hidden % (8 * heads) === 0, 'hidden_size', `a multiple of 8 x num_attention_heads ${heads}`);
  return hidden / heads;
}

/** One id or a list of ids, each below `vocab`. */
function readTokenIds(config: Fields, key: string, vocab: number): number[] {
  const value = config.get(key);
  const ids = Array.isArray(value) ? value : [value];
  const valid = ids.length > 0 && ids.every((id) => Number.isInteger(id) && id >= 0 && id < vocab);
  config.check(valid, key, `a token id below vocab_size ${vocab}, or a list of such`);
  return ids;
}

/** Keys that nothing here reads and that are not known to be without influence. */
function unknownKeys(fields: Fields, prefix = ''): string[] {
  return fields.unasked().flatMap((key) => (BOOKKEEPING.has(key) ? [] : [prefix + key]));
}

function readFormats(section: Fields): StoredFormats {
  const plusEight = section.oneOf('version', [1, QUANTIZATION.version]) === 1;
  return {
    ...(plusEight && { plusEight }),
    group: section.oneOf('group', QUANTIZATION.groups),
    decoder: section.oneOf('decoder', CLASS_FORMATS.decoder),
    head: section.oneOf('head', CLASS_FORMATS.head),
    embedding: section.oneOf('embedding', CLASS_FORMATS.embedding),
    vision: section.oneOf('vision', CLASS_FORMATS.vision),
  };
}

function linearTensors(name: string, out: number, inner: number): [string, Shape][] {
  return [
    [`${name}.weight`, [out, inner]],
    [`${name}.bias`, [out]],
  ];
}

function normTensors(name: string, size: number): [string, Shape][] {
  return [
    [`${name}.weight`, [size]],
    [`${name}.bias`, [size]],
  ];
}

function decoderTensors(config: ModelConfig['decoder']): [string, Shape][] {
  const { vocab, hidden, layers, heads, kvHeads, headDim, ffn } = config;
  const layer = (l: number): [string, Shape][] => [
    [`model.layers.${l}.input_layernorm.weight`, [hidden]],
    [`model.layers.${l}.self_attn.qkv_proj.weight`, [(heads + 2 * kvHeads) * headDim, hidden]],
    [`model.layers.${l}.self_attn.o_proj.weight`, [hidden, hidden]],
    [`model.layers.${l}.post_attention_layernorm.weight`, [hidden]],
    [`model.layers.${l}.mlp.gate_up_proj.weight`, [2 * ffn, hidden]],
    [`model.layers.${l}.mlp.down_proj.weight`, [hidden, ffn]],
  ];
  return [
    ['model.embed_tokens.weight', [vocab, hidden]],
    ...Array.from({ length: layers }, (_, l) => layer(l)).flat(),
    ['model.norm.weight', [hidden]],
    ['lm_head.weight', [vocab, hidden]],
  ];
}

function visionTensors(config: ModelConfig['vision']): [string, Shape][] {
  const { hidden, layers, ffn, patch, channels, positionGrid } = config;
  const mlp = (name: string) => [
    ...linearTensors(`${name}.fc1`, ffn, hidden),
    ...linearTensors(`${name}.fc2`, hidden, ffn),
  ];
  const layer = (name: string) => [
    ...normTensors(`${name}.layer_norm1`, hidden),
    ...['q', 'k', 'v', 'out'].flatMap((part) => linearTensors(`${name}.self_attn.${part}_proj`, hidden, hidden)),
    ...normTensors(`${name}.layer_norm2`, hidden),
    ...mlp(`${name}.mlp`),
  ];
  const head = `${VISION}head`;
  return [
    ...linearTensors(`${VISION}embeddings.patch_embedding`, hidden, patch * patch * channels),
    [`${VISION}embeddings.position_embedding.weight`, [positionGrid * positionGrid, hidden]],
    ...Array.from({ length: layers }, (_, l) => layer(`${VISION}encoder.layers.${l}`)).flat(),
    ...normTensors(`${VISION}post_layernorm`, hidden),
    [`${head}.probe`, [1, 1, hidden]],
    [`${head}.attention.in_proj_weight`, [3 * hidden, hidden]],
    [`${head}.attention.in_proj_bias`, [3 * hidden]],
    ...linearTensors(`${head}.attention.out_proj`, hidden, hidden),
    ...normTensors(`${head}.layernorm`, hidden),
    ...mlp(`${head}.mlp`),
  ];
}
