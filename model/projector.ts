import { matmul } from '../kernels/index.ts';
import type { DType, Graph, Matrix, Tensor } from '../runtime/index.ts';
import { plain } from './checkpoint/matrix_layout.ts';
import type { WeightStore } from './weights.ts';

/** The MLP between encoder and decoder: Linear, exact (erf) GELU, Linear. */
export class Projector {
  #as: DType;
  #weights: readonly [Matrix, Matrix];
  #biases: readonly [Tensor, Tensor];

  private constructor(as: DType, weights: readonly [Matrix, Matrix], biases: readonly [Tensor, Tensor]) {
    this.#as = as;
    this.#weights = weights;
    this.#biases = biases;
  }

  static async load(store: WeightStore, visionHidden: number, hidden: number, as: DType): Promise<Projector> {
    const prefix = 'model.mm_projector';
    const weights = [
      await store.matrix(plain(`${prefix}.0.weight`, hidden, visionHidden)),
      await store.matrix(plain(`${prefix}.2.weight`, hidden, hidden)),
    ] as const;
    const biases = [
      await store.vector(`${prefix}.0.bias`, [hidden]),
      await store.vector(`${prefix}.2.bias`, [hidden]),
    ] as const;
    return new Projector(as, weights, biases);
  }

  /** Records z = W2 gelu(W0 x + b0) + b2 for x f32 [T, visionHidden]; returns f32 [T, hidden]. */
  record(g: Graph, x: Tensor): Tensor {
    return g.scope('projector', () => {
      const wide = matmul(g, x, this.#weights[0], { bias: this.#biases[0], activation: 'gelu_erf', as: this.#as });
      return matmul(g, wide, this.#weights[1], { bias: this.#biases[1] });
    });
  }
}
