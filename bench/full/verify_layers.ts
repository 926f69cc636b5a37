import type { ModelConfig, Taps } from '../../model/index.ts';
import { widen } from '../../runtime/index.ts';
import { compareStage, type StageError } from '../verify.ts';
import { decoderLayer, logits, rowsOf, visionLayer } from './host_layers.ts';
import type { HostWeights } from './host_weights.ts';

const ROWS = 8;

/** Keeps what goes into and comes out of some layers, and evaluates them again in float64 on the host. */
export class LayerChecks implements Taps {
  #config: ModelConfig;
  #bound: number;
  #decoder: number[];
  #vision: number[];
  #kept = new Map<string, Float32Array>();

  /** The second, the middle and the last layer of the decoder, the second and the last used of the encoder; `bound` is the error allowed. */
  constructor(config: ModelConfig, bound: number) {
    const [layers, vision] = [config.decoder.layers, config.vision.usedLayers];
    const distinct = (wanted: number[], count: number) => [...new Set(wanted)].filter((i) => i >= 1 && i < count);
    this.#config = config;
    this.#bound = bound;
    this.#decoder = distinct([1, layers >> 1, layers - 1], layers);
    this.#vision = distinct([1, vision - 1], vision);
  }

  wants(name: string): boolean {
    const [, prefix, layer] = /^(vision\.)?layers\.(\d+)$/.exec(name) ?? [];
    const checked = prefix ? this.#vision : this.#decoder;
    return layer !== undefined && checked.some((i) => i === Number(layer) || i === Number(layer) + 1);
  }

  take(name: string, { dtype, data }: Parameters<Taps['take']>[1]): void {
    this.#kept.set(name, widen(dtype, data));
  }

  /** How far the device's rows and logits f32 [vocab] are from float64, one stage at a time. */
  *verify(weights: HostWeights, got: Float32Array): Generator<StageError> {
    for (const layer of this.#vision) yield this.#compare(weights, 'vision.', layer, visionLayer);
    for (const layer of this.#decoder) yield this.#compare(weights, '', layer, decoderLayer);
    const last = this.#rows(`layers.${this.#config.decoder.layers - 1}`, this.#config.decoder.hidden).at(-1)!;
    yield compareStage('lm_head', got, logits(weights, this.#config, last), this.#bound);
  }

  /** Steps of verify. */
  get count(): number {
    return this.#vision.length + this.#decoder.length + 1;
  }

  #compare(weights: HostWeights, prefix: string, layer: number, evaluate: typeof decoderLayer): StageError {
    const { hidden } = prefix ? this.#config.vision : this.#config.decoder;
    const x = this.#rows(`${prefix}layers.${layer - 1}`, hidden);
    const wanted = Array.from({ length: ROWS }, (_, i) => Math.floor((i * (x.length - 1)) / (ROWS - 1)));
    const y = this.#rows(`${prefix}layers.${layer}`, hidden);
    const got = wanted.flatMap((row) => [...y[row]!]);
    const ref = evaluate(weights, this.#config, layer, x, wanted).flatMap((row) => [...row]);
    return compareStage(`${prefix}layers.${layer}`, got, ref, this.#bound);
  }

  #rows(name: string, width: number): Float64Array[] {
    return rowsOf(this.#kept.get(name)!, width);
  }
}
