import { attention, layerNorm, matmul, resizePosition } from '../kernels/index.ts';
import { type DType, type Graph, type HostTensor, type Matrix, roundUp, type Tensor } from '../runtime/index.ts';
import type { ModelConfig } from './checkpoint/config.ts';
import { COLUMN_MULTIPLE, plain, rowPadded, stacked } from './checkpoint/matrix_layout.ts';
import { type Patches, positionWeights } from './image/patches.ts';
import type { WeightStore } from './weights.ts';

const PREFIX = 'model.vision_tower.vision_tower.vision_model';

interface Layer {
  norm1: Norm;
  qkv: Linear;
  out: Linear;
  norm2: Norm;
  fc1: Linear;
  fc2: Linear;
}

interface Norm {
  weight: Tensor;
  bias: Tensor;
}

interface Linear {
  weight: Matrix;
  bias: Tensor;
}

/** SigLIP-2 NaFlex encoder: all layers but the last, no final norm, no pooling head. */
export class Siglip2 {
  #config: ModelConfig['vision'];
  #as: DType;
  #patch: Linear;
  #position: Tensor;
  #layers: Layer[];

  private constructor(config: ModelConfig['vision'], as: DType, patch: Linear, position: Tensor, layers: Layer[]) {
    this.#config = config;
    this.#as = as;
    this.#patch = patch;
    this.#position = position;
    this.#layers = layers;
  }

  /** Loads the tower; activations between norms and matmuls are stored as `as`. */
  static async load(store: WeightStore, config: ModelConfig['vision'], as: DType): Promise<Siglip2> {
    const { hidden, patch, channels, positionGrid, usedLayers } = config;
    const embeddings = `${PREFIX}.embeddings`;
    const patchWeight = await store.matrix(
      plain(`${embeddings}.patch_embedding.weight`, hidden, patch * patch * channels),
    );
    const patchBias = await store.vector(`${embeddings}.patch_embedding.bias`, [hidden]);
    const table = await store.vector(`${embeddings}.position_embedding.weight`, [positionGrid ** 2, hidden]);
    const layers: Layer[] = [];
    for (let i = 0; i < usedLayers; i++) layers.push(await loadLayer(store, config, `${PREFIX}.encoder.layers.${i}`));
    const position = { ...table, shape: [positionGrid ** 2, hidden] };
    return new Siglip2(config, as, { weight: patchWeight, bias: patchBias }, position, layers);
  }

  /** Records the tower for patches f32 [T, 3 * patch^2] of a grid; returns the residual stream f32 [T, hidden]. */
  record(g: Graph, grid: Patches['grid']): Tensor {
    const { patch, channels, positionGrid } = this.#config;
    const pixels = g.input('pixels', [grid.rows * grid.cols, patch * patch * channels], 'f32');
    const rowWeights = g.input('row_weights', [grid.rows, positionGrid], 'f32');
    const colWeights = g.input('col_weights', [grid.cols, positionGrid], 'f32');
    let x = g.scope('vision.embeddings', () => {
      const position = resizePosition(g, this.#position, rowWeights, colWeights);
      return matmul(g, pixels, this.#patch.weight, { bias: this.#patch.bias, residual: position });
    });
    this.#layers.forEach((layer, i) => {
      const name = `vision.layers.${i}`;
      x = g.scope(name, () => g.tap(name, this.#layer(g, x, layer, name)));
    });
    return x;
  }

  /** The inputs of a recorded tower for one picture. */
  inputs({ grid, pixels }: Patches): Record<string, HostTensor> {
    const { positionGrid } = this.#config;
    return {
      pixels,
      row_weights: denseWeights(positionGrid, grid.rows),
      col_weights: denseWeights(positionGrid, grid.cols),
    };
  }

  #layer(g: Graph, x: Tensor, layer: Layer, name: string): Tensor {
    const { hidden, heads, headDim, layerNormEps } = this.#config;
    const as = this.#as;
    const tokens = x.shape[0]!;
    const normed = layerNorm(g, x, layer.norm1.weight, layer.norm1.bias, layerNormEps, as);
    const qkv = matmul(g, normed, layer.qkv.weight, { bias: layer.qkv.bias, as });
    const view = (part: number) => ({ tensor: qkv, offset: part * hidden, headStride: headDim, rowStride: 3 * hidden });
    const sizes = { tokens, heads, kvHeads: heads, headDim };
    const mixed = attention(g, { ...sizes, q: view(0), k: view(1), v: view(2), kv: { len: tokens }, as });
    const attended = matmul(g, mixed, layer.out.weight, { bias: layer.out.bias, residual: x });
    const normed2 = layerNorm(g, attended, layer.norm2.weight, layer.norm2.bias, layerNormEps, as);
    const wide = matmul(g, normed2, layer.fc1.weight, { bias: layer.fc1.bias, activation: 'gelu_tanh', as });
    g.tap(`${name}.fc1`, wide);
    return matmul(g, wide, layer.fc2.weight, { bias: layer.fc2.bias, residual: attended });
  }
}

async function loadLayer(store: WeightStore, config: ModelConfig['vision'], prefix: string): Promise<Layer> {
  const { hidden, ffn } = config;
  const norm = async (name: string) => ({
    weight: await store.vector(`${prefix}.${name}.weight`, [hidden]),
    bias: await store.vector(`${prefix}.${name}.bias`, [hidden]),
  });
  const projections = ['q', 'k', 'v'].map((part) => `${prefix}.self_attn.${part}_proj`);
  const names = (suffix: string) => projections.map((name) => `${name}.${suffix}`);
  return {
    norm1: await norm('layer_norm1'),
    qkv: {
      weight: await store.matrix(stacked(names('weight'), hidden, hidden)),
      bias: await store.vectors(names('bias'), hidden),
    },
    out: {
      weight: await store.matrix(plain(`${prefix}.self_attn.out_proj.weight`, hidden, hidden)),
      bias: await store.vector(`${prefix}.self_attn.out_proj.bias`, [hidden]),
    },
    norm2: await norm('layer_norm2'),
    fc1: {
      weight: await store.matrix(rowPadded(`${prefix}.mlp.fc1.weight`, ffn, hidden)),
      bias: await store.vector(`${prefix}.mlp.fc1.bias`, [ffn], roundUp(ffn, COLUMN_MULTIPLE)),
    },
    fc2: {
      weight: await store.matrix(plain(`${prefix}.mlp.fc2.weight`, hidden, ffn)),
      bias: await store.vector(`${prefix}.mlp.fc2.bias`, [hidden]),
    },
  };
}

/** The weights of positionWeights as a dense matrix f32 [nOut, nIn]. */
function denseWeights(nIn: number, nOut: number): HostTensor {
  const data = new Float32Array(nOut * nIn);
  positionWeights(nIn, nOut).forEach(({ start, weights }, row) => {
    data.set(weights, row * nIn + start);
  });
  return { shape: [nOut, nIn], dtype: 'f32', data };
}
