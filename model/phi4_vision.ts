import { join } from 'node:path';
import {
  CapabilityError,
  DaybreakError,
  type Device,
  type DType,
  Graph,
  type Matrix,
  Owned,
  Plan,
  type Tensor,
  UsageError,
} from '../runtime/index.ts';
import { DAMAGED, verifyFiles } from './checkpoint/checksums.ts';
import {
  DEFAULT_FORMATS,
  expectedTensors,
  loadConfig,
  type ModelConfig,
  type StoredFormats,
} from './checkpoint/config.ts';
import { checkpointError } from './checkpoint/json.ts';
import { Checkpoint, INDEX, type TensorSource } from './checkpoint/safetensors.ts';
import { bytesOf, checkTensors, storedTensors } from './checkpoint/stored_tensors.ts';
import type { Patches } from './image/patches.ts';
import { Phi3 } from './phi3.ts';
import { Projector } from './projector.ts';
import { Session, type SessionOptions } from './session.ts';
import { Siglip2 } from './siglip2.ts';
import { type Taps, takeTaps } from './taps.ts';
import { WeightStore } from './weights.ts';

/** How to load a model; every field is optional. */
export interface LoadOptions {
  /** What activations between norms and matmuls and the KV cache are stored as; sums are f32 either way. */
  dtype?: 'f32' | 'f16';
  /** Whether int4 and int8 weights of the decoder take activations as 8-bit integers, for integer dot products; less exact. */
  int8Activations?: boolean;
  /** Formats to quantise the matrices to while they load; those of no quantised format stay as they are. */
  quantize?: Partial<StoredFormats>;
  /** Whether to compare the files of a quantised checkpoint with their checksums; true unless told. */
  verify?: boolean;
  /** Told the checkpoint bytes loaded so far and in all. */
  progress?: (loaded: number, total: number) => void;
}

/** One picture in the decoder's space, on the device. */
export interface ImageFeatures {
  grid: Patches['grid'];
  /** f32 [rows * cols, hidden]. */
  features: Tensor;
  dispose(): void;
}

/** Phi-4-reasoning-vision on one device: encoder, projector and decoder of one model folder. */
export class Phi4Vision {
  readonly device: Device;
  readonly config: ModelConfig;
  readonly decoder: Phi3;
  readonly dtype: DType;
  /** Names in the checkpoint that this model neither uses nor knows as unused. */
  readonly unknownTensors: readonly string[];
  #vision: Siglip2;
  #projector: Projector;
  #owned: Owned;
  /** The weights of encoder and projector; undefined once they are released. */
  #visionWeights: Owned | undefined;

  private constructor(device: Device, config: ModelConfig, dtype: DType, parts: Parts, store: WeightStore) {
    const known = new Set(storedTensors(config, expectedTensors(config)).map(({ name }) => name));
    this.device = device;
    this.config = config;
    this.dtype = dtype;
    this.decoder = parts.decoder;
    this.#vision = parts.vision;
    this.#projector = parts.projector;
    this.#owned = store.owned;
    this.#visionWeights = parts.visionWeights;
    this.unknownTensors = store.unused().filter((name) => !known.has(name));
  }

  /** Loads a model folder; throws CheckpointError, CapabilityError or OutOfMemoryError. */
  static async load(device: Device, dir: string, options: LoadOptions = {}): Promise<Phi4Vision> {
    const checkpoint = Checkpoint.open(dir);
    try {
      const { verify = true } = options;
      const verified = verify && verifyFiles(checkpoint);
      const config = loadConfig(dir);
      const quantized = config.formats !== undefined;
      if (quantized && verify && !verified)
        throw checkpointError(join(dir, INDEX), 'metadata.sums', 'the checksums of the files', 'none', DAMAGED);
      return await Phi4Vision.fromSource(device, config, checkpoint, { ...options, verify: quantized && verify });
    } finally {
      checkpoint.close();
    }
  }

  /** Loads the tensors of a configuration from any source; its checksums count where `verify` is true. */
  static async fromSource(
    device: Device,
    config: ModelConfig,
    source: TensorSource,
    { dtype = 'f32', int8Activations = false, verify, progress, ...options }: LoadOptions = {},
  ): Promise<Phi4Vision> {
    if (dtype === 'f16' && !device.features.has('shader-f16')) {
      const expected = `expected an adapter with shader-f16 for f16, got '${device.name}'`;
      throw new CapabilityError(`model: dtype: ${expected}; use f32`);
    }
    if (options.quantize && config.formats)
      throw new UsageError(`model: quantize: expected a checkpoint as published, got a quantised one; leave it out`);
    const quantize = options.quantize && { ...DEFAULT_FORMATS, ...options.quantize };
    const total = checkTensors(source, config);
    let loaded = 0;
    const count = (bytes: number) => {
      loaded += bytes;
      progress?.(loaded, total);
    };
    const store = new WeightStore(device, source, { formats: config.formats, quantize, verify, progress: count });
    return store.owned.orFree(async () => {
      device.assertRoom(bytesOf(source, config, quantize), 'weights');
      const parts = {
        vision: await Siglip2.load(store, config.vision, dtype),
        projector: await Projector.load(store, config.vision.hidden, config.decoder.hidden, dtype),
        visionWeights: store.owned.split(), // all so far
        decoder: await Phi3.load(store, config.decoder, { as: dtype, int8: int8Activations }),
      };
      await device.idle();
      return new Phi4Vision(device, config, dtype, parts, store);
    });
  }

  /** Frees the weights. */
  dispose(): void {
    this.#owned.free();
    this.device.reclaim();
  }

  /** Frees the weights of encoder and projector; pictures that are encoded already stay. */
  releaseVision(): void {
    this.#visionWeights?.free();
    this.#visionWeights = undefined;
    this.device.reclaim();
  }

  /**
   * Encodes and projects one picture; the features stay on the device until disposed of. DaybreakError once the vision
   * weights are released.
   */
  async encodeImage(patches: Patches, taps?: Taps): Promise<ImageFeatures> {
    if (!this.#visionWeights) {
      throw new DaybreakError(
        'model: picture: expected vision weights on the device, got them released; load it again',
      );
    }
    const { grid } = patches;
    const owned = new Owned(this.device);
    return owned.orFree(async () => {
      const shape = [grid.rows * grid.cols, this.config.decoder.hidden];
      const features = owned.keep(this.device.tensor('features', shape, 'f32'));
      const graph = new Graph(this.device, { taps: (name) => taps?.wants(name) ?? false });
      const encoded = graph.tap('vis_sel', this.#vision.record(graph, grid));
      graph.output('features', this.#projector.record(graph, encoded), features.storage);
      const plan = owned.keep(await Plan.create(graph));
      plan.run(this.#vision.inputs(patches));
      await this.device.idle();
      await takeTaps(this.device, plan, taps);
      plan.dispose();
      return { grid, features, dispose: () => owned.free() };
    });
  }

  /** A sequence with a KV cache of its own. */
  session(options: SessionOptions): Promise<Session> {
    return Session.create(this.device, this.config, this.decoder, this.dtype, options);
  }
}

interface Parts {
  vision: Siglip2;
  projector: Projector;
  visionWeights: Owned;
  decoder: Phi3;
}

/** The pictures' features as one matrix, in order, without copying; undefined where there are none. */
export function joinFeatures(images: readonly ImageFeatures[]): Matrix | undefined {
  const first = images[0];
  if (!first) return undefined;
  let rows = 0;
  const blocks = images.map(({ features }) => {
    const block = { tensor: features, row: rows };
    rows += features.shape[0]!;
    return block;
  });
  return { name: 'image features', rows, cols: first.features.shape[1]!, dtype: 'f32', blocks };
}
