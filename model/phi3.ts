import {
  attention,
  embed,
  type Int8Rows,
  isQuantized,
  type Logits,
  logits,
  matmul,
  type Normed,
  PAGE,
  qkv,
  quantizeRows,
  rmsNorm,
  type SequenceRows,
} from '../kernels/index.ts';
import type { Amount, Graph, Matrix, Tensor } from '../runtime/index.ts';
import type { ModelConfig } from './checkpoint/config.ts';
import { interleaved, plain, rotary } from './checkpoint/matrix_layout.ts';
import type { PagePool } from './pages.ts';
import type { WeightStore } from './weights.ts';

interface Layer {
  inputNorm: Tensor;
  qkv: Matrix;
  out: Matrix;
  postNorm: Tensor;
  gateUp: Matrix;
  down: Matrix;
}

/** What the decoder layers read beside their input: keys and values, the RoPE table, and where each row stands. */
export interface DecoderState extends SequenceRows {
  pool: PagePool;
  ropeTable: Tensor;
  /** Keys that any row sees at most; by default all that a table holds. */
  keys?: Amount;
}

/** How activations between norms and matmuls are stored, and whether quantised weights take them as 8-bit integers. */
export interface Activations {
  as: 'f32' | 'f16';
  int8: boolean;
}

/** The Phi-3 decoder: RMSNorm, grouped-query attention with RoPE, SwiGLU. */
export class Phi3 {
  #config: ModelConfig['decoder'];
  #activations: Activations;
  #embedding: Matrix;
  #layers: Layer[];
  #norm: Tensor;
  #lmHead: Matrix;

  private constructor(
    config: ModelConfig['decoder'],
    activations: Activations,
    embedding: Matrix,
    layers: Layer[],
    norm: Tensor,
    lmHead: Matrix,
  ) {
    this.#config = config;
    this.#activations = activations;
    this.#embedding = embedding;
    this.#layers = layers;
    this.#norm = norm;
    this.#lmHead = lmHead;
  }

  /** Loads the decoder; the residual stream is f32. */
  static async load(store: WeightStore, config: ModelConfig['decoder'], activations: Activations): Promise<Phi3> {
    const { vocab, hidden, layers: count } = config;
    const embedding = await store.matrix(plain('model.embed_tokens.weight', vocab, hidden));
    const layers: Layer[] = [];
    for (let i = 0; i < count; i++) layers.push(await loadLayer(store, config, `model.layers.${i}`));
    const norm = await store.norm('model.norm.weight', hidden);
    const lmHead = await store.matrix(plain('lm_head.weight', vocab, hidden));
    return new Phi3(config, activations, embedding, layers, norm, lmHead);
  }

  /** The table of the tokens' embeddings. */
  get embedding(): Matrix {
    return this.#embedding;
  }

  /** Records the embedding of ids u32 [tokens]: below vocab a text token, from vocab on a row of `features`. */
  embed(g: Graph, ids: Tensor, features?: Matrix): Tensor {
    const tables = [{ matrix: this.#embedding, firstId: 0 }];
    if (features) tables.push({ matrix: features, firstId: this.#config.vocab });
    return g.scope('embed', () => embed(g, ids, tables));
  }

  /** Records all layers for x f32 [tokens, hidden]; appends to the cache and returns the residual stream. */
  layers(g: Graph, x: Tensor, state: DecoderState): Tensor {
    return this.#layers.reduce(
      (stream, layer, i) =>
        g.scope(`layers.${i}`, () => g.tap(`layers.${i}`, this.#layer(g, stream, layer, state.pool.layers[i]!, state))),
      x,
    );
  }

  /** Records the final norm of one row of x f32 [tokens, hidden]; returns [1, hidden]. */
  finalNorm(g: Graph, x: Tensor, row: Amount): Tensor {
    return g.scope('head', () => rmsNorm(g, x, this.#norm, this.#config.rmsNormEps, { as: this.#activations.as, row }));
  }

  /** Records lm_head for one normed row; returns the logits of the vocabulary. */
  logits(g: Graph, normed: Tensor): Logits {
    return g.scope('head', () => logits(g, this.#rows(g, normed, this.#lmHead), this.#lmHead));
  }

  /** Records the final norm and lm_head for x f32 [1, hidden]; returns the logits of the vocabulary. */
  lastLogits(g: Graph, x: Tensor): Logits {
    return g.scope('head', () => logits(g, this.#normed(x, this.#norm, this.#lmHead), this.#lmHead));
  }

  /** Rows as a weight takes them. */
  #rows(g: Graph, x: Tensor, w: Matrix): Tensor | Int8Rows {
    return this.#takesInt8(w) ? quantizeRows(g, x) : x;
  }

  /** Rows of the residual stream behind a norm, as a weight takes them. */
  #normed(x: Tensor, norm: Tensor, w: Matrix): Normed {
    return { x, norm, eps: this.#config.rmsNormEps, as: this.#activations.as, int8: this.#takesInt8(w) };
  }

  #takesInt8(w: Matrix): boolean {
    return this.#activations.int8 && isQuantized(w.dtype);
  }

  #layer(g: Graph, x: Tensor, layer: Layer, pools: { k: Tensor; v: Tensor }, state: DecoderState): Tensor {
    const { heads, kvHeads, headDim } = this.#config;
    const { places, tables, ropeTable, keys } = state;
    const { as } = this.#activations;
    const mixed = g.scope('attn', () => {
      const sizes = { heads, kvHeads, headDim };
      const options = { table: ropeTable, places, tables, ...sizes, as };
      const rotated = qkv(g, this.#normed(x, layer.inputNorm, layer.qkv), layer.qkv, options, pools);
      const q = { tensor: rotated, offset: 0, headStride: headDim, rowStride: heads * headDim };
      const paged = (tensor: Tensor) => ({ tensor, offset: 0, headStride: PAGE * headDim, rowStride: headDim });
      const kv = { places, tables, pageStride: kvHeads * PAGE * headDim, ...(keys !== undefined && { keys }) };
      const views = { q, k: paged(pools.k), v: paged(pools.v) };
      const int8 = this.#takesInt8(layer.out);
      const values = attention(g, { ...views, kv, ...sizes, as, int8 });
      return matmul(g, values, layer.out, { residual: x });
    });
    return g.scope('mlp', () => {
      const normed = this.#normed(mixed, layer.postNorm, layer.gateUp);
      const int8 = this.#takesInt8(layer.down);
      const gated = matmul(g, normed, layer.gateUp, { activation: 'silu_gate', as, int8 });
      return matmul(g, gated, layer.down, { residual: mixed });
    });
  }
}

async function loadLayer(store: WeightStore, config: ModelConfig['decoder'], prefix: string): Promise<Layer> {
  const { hidden, heads, kvHeads, headDim, ffn } = config;
  return {
    inputNorm: await store.norm(`${prefix}.input_layernorm.weight`, hidden),
    qkv: await store.matrix(rotary(`${prefix}.self_attn.qkv_proj.weight`, heads, kvHeads, headDim, hidden)),
    out: await store.matrix(plain(`${prefix}.self_attn.o_proj.weight`, hidden, heads * headDim)),
    postNorm: await store.norm(`${prefix}.post_attention_layernorm.weight`, hidden),
    gateUp: await store.matrix(interleaved(`${prefix}.mlp.gate_up_proj.weight`, ffn, hidden)),
    down: await store.matrix(plain(`${prefix}.mlp.down_proj.weight`, hidden, ffn)),
  };
}
