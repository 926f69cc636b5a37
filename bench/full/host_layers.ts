// Layers of the network in float64 on the host, from the same weights and inputs as the device's: MODEL formulas, no kernels.
import type { ModelConfig } from '../../model/index.ts';
import type { HostWeights } from './host_weights.ts';

type Rows = Float64Array[];

/** Values [rows, width] as rows. */
export function rowsOf(values: ArrayLike<number>, width: number): Rows {
  const all = Float64Array.from(values);
  return Array.from({ length: all.length / width }, (_, row) => all.subarray(row * width, (row + 1) * width));
}

/** Rows `wanted` of decoder layer `layer` for x, the residual stream of positions 0, 1, ... in front of it. */
export function decoderLayer(
  weights: HostWeights,
  { decoder }: ModelConfig,
  layer: number,
  x: Rows,
  wanted: readonly number[],
): Rows {
  const { heads, kvHeads, headDim, rmsNormEps, ropeTheta, ffn } = decoder;
  const prefix = `model.layers.${layer}`;
  const qkv = `${prefix}.self_attn.qkv_proj.weight`;
  const normed = x.map(rmsNorm(weights.vector(`${prefix}.input_layernorm.weight`), rmsNormEps));
  const chosen = (rows: Rows) => wanted.map((row) => rows[row]!);
  const rotate = (rows: Rows, positions: readonly number[]) =>
    rows.map((row, i) => rope(row, positions[i]!, headDim, ropeTheta));
  const q = rotate(weights.times(chosen(normed), qkv, range(0, heads * headDim)), wanted);
  const k = rotate(weights.times(normed, qkv, range(heads * headDim, kvHeads * headDim)), [...x.keys()]);
  const v = weights.times(normed, qkv, range((heads + kvHeads) * headDim, kvHeads * headDim));
  const sizes = { heads, shared: heads / kvHeads, headDim };
  const values = q.map((row, i) => attend(row, k.slice(0, wanted[i]! + 1), v, sizes));
  const out = weights.times(values, `${prefix}.self_attn.o_proj.weight`, range(0, x[0]!.length));
  const mixed = add(chosen(x), out);
  const normed2 = mixed.map(rmsNorm(weights.vector(`${prefix}.post_attention_layernorm.weight`), rmsNormEps));
  const gated = gateUp(weights, `${prefix}.mlp.gate_up_proj.weight`, normed2, ffn, weights.interleaved);
  return add(mixed, weights.times(gated, `${prefix}.mlp.down_proj.weight`, range(0, x[0]!.length)));
}

/** up * gate * sigmoid(gate). */
function gateUp(weights: HostWeights, name: string, x: Rows, ffn: number, interleaved: boolean): Rows {
  const gateRows = interleaved ? range(0, ffn).map((i) => 2 * i) : range(0, ffn);
  const upRows = interleaved ? gateRows.map((row) => row + 1) : range(ffn, ffn);
  const gate = weights.times(x, name, gateRows);
  const up = weights.times(x, name, upRows);
  return gate.map((row, t) => row.map((g, i) => (up[t]![i]! * g) / (1 + Math.exp(-g))));
}

/** Rows `wanted` of vision layer `layer` for x, the residual stream of all patches in front of it. */
export function visionLayer(
  weights: HostWeights,
  { vision }: ModelConfig,
  layer: number,
  x: Rows,
  wanted: readonly number[],
): Rows {
  const { heads, headDim, hidden, ffn, layerNormEps } = vision;
  const prefix = `model.vision_tower.vision_tower.vision_model.encoder.layers.${layer}`;
  const norm = (name: string) =>
    layerNorm(weights.vector(`${prefix}.${name}.weight`), weights.vector(`${prefix}.${name}.bias`), layerNormEps);
  const linear = (rows: Rows, name: string, outs: number) => {
    const bias = weights.vector(`${prefix}.${name}.bias`);
    const product = weights.times(rows, `${prefix}.${name}.weight`, range(0, outs));
    return product.map((row) => row.map((value, i) => value + bias[i]!));
  };
  const chosen = (rows: Rows) => wanted.map((row) => rows[row]!);
  const normed = x.map(norm('layer_norm1'));
  const q = linear(chosen(normed), 'self_attn.q_proj', hidden);
  const k = linear(normed, 'self_attn.k_proj', hidden);
  const v = linear(normed, 'self_attn.v_proj', hidden);
  const values = q.map((row) => attend(row, k, v, { heads, shared: 1, headDim }));
  const mixed = add(chosen(x), linear(values, 'self_attn.out_proj', hidden));
  const wide = linear(mixed.map(norm('layer_norm2')), 'mlp.fc1', ffn).map((row) => row.map(gelu));
  return add(mixed, linear(wide, 'mlp.fc2', hidden));
}

/** Logits of one row of the residual stream behind the last layer. */
export function logits(weights: HostWeights, { decoder }: ModelConfig, x: Float64Array): Float64Array {
  const normed = rmsNorm(weights.vector('model.norm.weight'), decoder.rmsNormEps)(x);
  return weights.times([normed], 'lm_head.weight', range(0, decoder.vocab))[0]!;
}

function range(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => from + i);
}

function add(a: Rows, b: Rows): Rows {
  return a.map((row, t) => row.map((value, i) => value + b[t]![i]!));
}

function rmsNorm(weight: Float32Array, eps: number) {
  return (row: Float64Array): Float64Array => {
    const mean = row.reduce((sum, value) => sum + value * value, 0) / row.length;
    return row.map((value, i) => (weight[i]! * value) / Math.sqrt(mean + eps));
  };
}

function layerNorm(weight: Float32Array, bias: Float32Array, eps: number) {
  return (row: Float64Array): Float64Array => {
    const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / row.length;
    return row.map((value, i) => (weight[i]! * (value - mean)) / Math.sqrt(variance + eps) + bias[i]!);
  };
}

/** Rotates pairs (i, i + headDim / 2) of each head by position * theta^(-2i / headDim). */
function rope(row: Float64Array, position: number, headDim: number, theta: number): Float64Array {
  const half = headDim / 2;
  return row.map((value, at) => {
    const i = at % headDim;
    const angle = position * theta ** ((-2 * (i % half)) / headDim);
    const other = i < half ? -row[at + half]! : row[at - half]!;
    return value * Math.cos(angle) + other * Math.sin(angle);
  });
}

/** softmax(q k^T / sqrt(headDim)) v for one query; `shared` query heads use one head of k and v. */
function attend(
  q: Float64Array,
  k: Rows,
  v: Rows,
  { heads, shared, headDim }: { heads: number; shared: number; headDim: number },
): Float64Array {
  const y = new Float64Array(heads * headDim);
  for (let head = 0; head < heads; head++) {
    const from = Math.floor(head / shared) * headDim;
    const scores = k.map((key) => {
      let sum = 0;
      for (let i = 0; i < headDim; i++) sum += q[head * headDim + i]! * key[from + i]!;
      return sum / Math.sqrt(headDim);
    });
    const largest = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - largest));
    const total = weights.reduce((a, b) => a + b, 0);
    weights.forEach((weight, t) => {
      for (let i = 0; i < headDim; i++) y[head * headDim + i]! += (weight / total) * v[t]![from + i]!;
    });
  }
  return y;
}

/** GELU by tanh. */
function gelu(v: number): number {
  return 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
}
