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

  /**
   * Records the tower for the patches of one picture or several, f32 [patches, 3 * patch^2], of which each attends to its own
   * picture's only; returns the residual stream f32 [patches, hidden]. Inputs and scalars are those of packed().
   */
  record(g: Graph, mostPatches: number): Tensor {
    const { patch, channels, positionGrid } = this.#config;
    const patches = g.scalar('patches', mostPatches);
    const lines = g.scalar('lines', 2 * mostPatches);
    const pixels = g.input('pixels', [mostPatches, patch * patch * channels], 'f32', patches);
    const weights = g.input('weights', [lines.most, positionGrid], 'f32', lines);
    const cells = g.input('cells', [mostPatches, 2], 'u32', patches);
    const spans = g.input('spans', [mostPatches, 2], 'u32', patches);
    let x = g.scope('vision.embeddings', () => {
      const position = resizePosition(g, this.#position, weights, cells);
      return matmul(g, pixels, this.#patch.weight, { bias: this.#patch.bias, residual: position });
    });
    this.#layers.forEach((layer, i) => {
      const name = `vision.layers.${i}`;
      x = g.scope(name, () => g.tap(name, this.#layer(g, x, spans, layer, name)));
    });
    return x;
  }

  /** The scalars and inputs of a recorded tower for some pictures, their patches one picture behind the other. */
  packed(pictures: readonly Patches[]): { inputs: Record<string, HostTensor>; scalars: Record<string, number> } {
    const { patch, channels, positionGrid } = this.#config;
    const total = pictures.reduce((sum, { grid }) => sum + grid.rows * grid.cols, 0);
    const lines = pictures.reduce((sum, { grid }) => sum + grid.rows + grid.cols, 0);
    const pixels = new Float32Array(total * patch * patch * channels);
    const weights = new Float32Array(lines * positionGrid);
    const [cells, spans] = [new Uint32Array(2 * total), new Uint32Array(2 * total)];
    let [first, line] = [0, 0];
    for (const { grid, pixels: own } of pictures) {
      const count = grid.rows * grid.cols;
      pixels.set(own.data as Float32Array, first * patch * patch * channels);
      putWeights(weights, line, positionGrid, grid.rows);
      putWeights(weights, line + grid.rows, positionGrid, grid.cols);
      for (let i = 0; i < count; i++) {
        cells.set([line + Math.floor(i / grid.cols), line + grid.rows + (i % grid.cols)], 2 * (first + i));
        spans.set([first, first + count], 2 * (first + i));
      }
      first += count;
      line += grid.rows + grid.cols;
    }
    return {
      scalars: { patches: total, lines },
      inputs: {
        pixels: { shape: [total, patch * patch * channels], dtype: 'f32', data: pixels },
        weights: { shape: [lines, positionGrid], dtype: 'f32', data: weights },
        cells: { shape: [total, 2], dtype: 'u32', data: cells },
        spans: { shape: [total, 2], dtype: 'u32', data: spans },
      },
    };
  }

  #layer(g: Graph, x: Tensor, spans: Tensor, layer: Layer, name: string): Tensor {
    const { hidden, heads, headDim, layerNormEps } = this.#config;
    const as = this.#as;
    const normed = layerNorm(g, x, layer.norm1.weight, layer.norm1.bias, layerNormEps, as);
    const qkv = matmul(g, normed, layer.qkv.weight, { bias: layer.qkv.bias, as });
    const view = (part: number) => ({ tensor: qkv, offset: part * hidden, headStride: headDim, rowStride: 3 * hidden });
    const sizes = { heads, kvHeads: heads, headDim };
    const mixed = attention(g, { ...sizes, q: view(0), k: view(1), v: view(2), kv: { spans, len: x.shape[0]! }, as });
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
    weight: await store.norm(`${prefix}.${name}.weight`, hidden),
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

/** Puts the weights of positionWeights for an axis of nOut patches into rows of nIn, from row `line` on. */
function putWeights(into: Float32Array, line: number, nIn: number, nOut: number): void {
  positionWeights(nIn, nOut).forEach(({ start, weights }, row) => {
    into.set(weights, (line + row) * nIn + start);
  });
}
