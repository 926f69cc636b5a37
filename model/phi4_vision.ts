import { join } from 'node:path';
import { checkForced } from '../kernels/index.ts';
import {
  CapabilityError,
  DaybreakError,
  type Device,
  type DeviceTensor,
  type ForcedVariants,
  Graph,
  Owned,
  orAborted,
  Pace,
  type PieceOptions,
  Plan,
  runInPieces,
  UsageError,
} from '../runtime/index.ts';
import { Queue } from '../runtime/queue.ts';
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
import { Engine, type EngineOptions } from './engine.ts';
import { FeatureStore, featuresTensor, type HeldFeatures } from './features.ts';
import type { Patches } from './image/patches.ts';
import { lazy } from './lazy.ts';
import { type CacheOptions, checkOption } from './pages.ts';
import { Phi3 } from './phi3.ts';
import { Projector } from './projector.ts';
import type { PromptImage } from './prompt_images.ts';
import { Session, type SessionOptions } from './session.ts';
import { Siglip2 } from './siglip2.ts';
import { type Taps, takeTaps } from './taps.ts';
import { WeightStore } from './weights.ts';

/** How to load a model; every field is optional. */
export interface LoadOptions extends CacheOptions {
  /** Rows of encoded pictures that are kept for prompts to come; by default those of one picture of the largest size. */
  pictureRows?: number;
  /** Rows of a prompt that one run takes at most, 1024 unless told: fewer take less memory. */
  chunkRows?: number;
  /** Whether prompts that come find again what earlier ones computed, pages and pictures; true unless told. */
  reuse?: boolean;
  /** What activations between norms and matmuls and the KV cache are stored as; see usualActivations. Sums are f32 either way. */
  dtype?: 'f32' | 'f16';
  /** Whether int4 and int8 weights of the decoder take activations as 8-bit integers, for integer dot products; see usualActivations. */
  int8Activations?: boolean;
  /** Variants of ops to use wherever they can compute the problem, in place of the best known. */
  variants?: ForcedVariants;
  /** Formats to quantise the matrices to while they load; those of no quantised format stay as they are. */
  quantize?: Partial<StoredFormats>;
  /** Whether to compare the files of a quantised checkpoint with their checksums; true unless told. */
  verify?: boolean;
  /** Told the checkpoint bytes loaded so far and in all. */
  progress?: (loaded: number, total: number) => void;
  /** Ends loading, which is rejected with the signal's reason; what was loaded is freed. */
  signal?: AbortSignal;
}

/**
 * How activations are stored unless told: on GPUs as f16, where they have it, and as integers for weights that are; on CPUs as f32, and
 * as integers for weights that are where subgroups have 8 lanes, as on lavapipe: see matmul_dot_shuffle.
 */
export function usualActivations({ onCpu, features, leastLanes }: Pick<Device, 'onCpu' | 'features' | 'leastLanes'>) {
  const dtype = !onCpu && features.has('shader-f16') ? 'f16' : 'f32';
  return { dtype, int8Activations: !onCpu || leastLanes >= 8 } as const;
}

/** A picture on its way into the decoder's space. */
export class PromptPicture implements PromptImage {
  readonly patches: Patches;
  readonly grid: Patches['grid'];
  readonly digest: string;
  readonly rows: number;
  /** f32 [rows, hidden] on the device, once the model has encoded it. */
  features: DeviceTensor | undefined;
  #release: HeldFeatures['release'] = () => {};

  constructor(patches: Patches) {
    const { grid, digest } = patches;
    this.patches = patches;
    this.grid = grid;
    this.rows = grid.rows * grid.cols;
    this.digest = digest;
  }

  /** Takes features over. */
  give({ storage, release }: HeldFeatures, hidden: number): void {
    this.features = featuresTensor(storage, this.rows, hidden);
    this.#release = release;
  }

  /** Lets go of the features, a second time does nothing; `keep` false makes sure that nobody finds them again. */
  dispose(keep = true): void {
    this.features = undefined;
    this.#release(keep);
    this.#release = () => {};
  }
}

/** A picture whose features are on the device until it is disposed of. */
export type ImageFeatures = PromptPicture & { features: DeviceTensor };

/** Phi-4-reasoning-vision on one device: encoder, projector and decoder of one model folder. */
export class Phi4Vision {
  readonly device: Device;
  readonly config: ModelConfig;
  readonly decoder: Phi3;
  readonly dtype: 'f32' | 'f16';
  /** Whether there are quantised weights that take activations as 8-bit integers. */
  readonly int8Activations: boolean;
  /** Names in the checkpoint that this model neither uses nor knows as unused. */
  readonly unknownTensors: readonly string[];
  /** What can go wrong with these weights in this dtype, as far as the weights alone tell it; a sentence each. */
  readonly notes: readonly string[];
  #vision: Siglip2;
  #projector: Projector;
  #owned: Owned;
  #engineOptions: EngineOptions;
  #pictureRows: number;
  #passes = new Queue();
  #engine: Engine | undefined;
  #pace: Pace;
  /** The plan that encodes pictures, and where they are kept. */
  #encoding = lazy(() => this.#planEncoding());
  /** The weights of encoder and projector; undefined once they are released. */
  #visionWeights: Owned | undefined;

  private constructor(
    device: Device,
    config: ModelConfig,
    parts: Parts,
    store: WeightStore,
    options: LoadOptions & Pick<Phi4Vision, 'dtype' | 'int8Activations'>,
  ) {
    const known = new Set(storedTensors(config, expectedTensors(config)).map(({ name }) => name));
    this.device = device;
    this.config = config;
    const {
      dtype,
      context,
      cacheBytes,
      chunkRows,
      pictureRows = config.image.maxPatches,
      reuse = true,
      variants,
    } = options;
    this.dtype = dtype;
    this.int8Activations = options.int8Activations && (config.formats ?? options.quantize) !== undefined;
    this.#engineOptions = { context, cacheBytes, chunkRows, reuse, variants };
    this.#pictureRows = reuse ? pictureRows : 0;
    this.#pace = new Pace(device);
    this.decoder = parts.decoder;
    this.#vision = parts.vision;
    this.#projector = parts.projector;
    this.#owned = store.owned;
    this.#visionWeights = parts.visionWeights;
    this.unknownTensors = store.unused().filter((name) => !known.has(name));
    this.notes = dtype === 'f16' ? store.overflowNotes() : [];
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
    { verify, progress, signal, ...options }: LoadOptions = {},
  ): Promise<Phi4Vision> {
    const usual = usualActivations(device);
    const { dtype = usual.dtype, int8Activations = usual.int8Activations } = options;
    if (dtype === 'f16' && !device.features.has('shader-f16')) {
      const expected = `expected an adapter with shader-f16 for f16, got '${device.name}'`;
      throw new CapabilityError(`model: dtype: ${expected}; use f32`);
    }
    if (options.quantize && config.formats)
      throw new UsageError(`model: quantize: expected a checkpoint as published, got a quantised one; leave it out`);
    checkForced(options.variants ?? {});
    checkOption('context', options.context, 1);
    checkOption('chunkRows', options.chunkRows, 1);
    checkOption('pictureRows', options.pictureRows, 0);
    const quantize = options.quantize && { ...DEFAULT_FORMATS, ...options.quantize };
    const total = checkTensors(source, config);
    let loaded = 0;
    const count = (bytes: number) => {
      signal?.throwIfAborted();
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
      return new Phi4Vision(device, config, parts, store, { ...options, dtype, int8Activations });
    });
  }

  /** Frees the weights, the pages and the plans. */
  dispose(): void {
    this.#engine?.dispose();
    this.#owned.free();
    this.device.reclaim();
  }

  /** Frees the weights of encoder and projector; pictures that are encoded already stay. */
  releaseVision(): void {
    this.#visionWeights?.free();
    this.#visionWeights = undefined;
    this.device.reclaim();
  }

  /** Encodes and projects one picture, or takes it out of those kept; see encodeImages. */
  async encodeImage(patches: Patches, taps?: Taps): Promise<ImageFeatures> {
    const picture = new PromptPicture(patches);
    if (taps) await this.#encodeTapped(picture, taps);
    else await this.encodeImages([picture]);
    return picture as ImageFeatures;
  }

  /**
   * Encodes and projects pictures, several in one pass where they fit it, and takes those out that are kept; their features stay on
   * the device until each is disposed of. DaybreakError once the vision weights are released; where it throws, none is encoded.
   */
  encodeImages(pictures: readonly PromptPicture[], options: PieceOptions = {}): Promise<void> {
    return this.#passes.run(() => this.#encodeAll(pictures, options), options.signal);
  }

  async #encodeAll(pictures: readonly PromptPicture[], options: PieceOptions): Promise<void> {
    const { hidden } = this.config.decoder;
    const { store } = await orAborted(this.#encoding(), options.signal);
    const known = (picture: PromptPicture) => {
      const kept = store.find(picture.digest);
      if (kept) picture.give(kept, hidden);
      return kept !== undefined;
    };
    let waiting = pictures.filter((picture) => !picture.features && !known(picture));
    const total = rowsOf(waiting);
    try {
      while (waiting.length > 0) {
        const pass = firstPass(waiting, this.config.image.maxPatches);
        const before = total - rowsOf(waiting);
        const progress = (share: number) => options.progress?.((before + share * rowsOf(pass)) / total);
        await this.#encodePass(pass, { ...options, progress });
        waiting = waiting.filter((picture) => !pass.includes(picture) && !known(picture));
      }
    } catch (error) {
      for (const picture of pictures) picture.dispose();
      throw error;
    }
  }

  async #encodePass(pictures: readonly PromptPicture[], options: PieceOptions): Promise<void> {
    this.#expectVision();
    const { plan, features, store } = await this.#encoding();
    const { inputs, scalars } = this.#vision.packed(pictures.map(({ patches }) => patches));
    plan.setScalars(scalars);
    plan.setInputs(inputs);
    await runInPieces(this.device, plan, this.#pace, options);
    try {
      for (const picture of pictures) this.#place(picture, store);
      this.device.run('features', (encoder) => {
        let row = 0;
        for (const picture of pictures) {
          const { buffer, offset, bytes } = picture.features!.storage;
          const rowBytes = bytes / picture.rows;
          encoder.copyBufferToBuffer(features.storage.buffer, row * rowBytes, buffer, offset, bytes);
          row += picture.rows;
        }
      });
    } catch (error) {
      for (const picture of pictures) picture.dispose(false);
      throw error;
    }
  }

  /** Makes room for a picture's features: among those kept, or where these leave none, in memory of its own. */
  #place(picture: PromptPicture, store: FeatureStore): void {
    const { hidden } = this.config.decoder;
    const kept = store.make(picture.digest, picture.rows);
    if (kept) {
      picture.give(kept, hidden);
      return;
    }
    const storage = this.device.alloc(picture.rows * hidden * 4, 'features');
    picture.give({ storage, release: () => this.device.free(storage) }, hidden);
  }

  /** Encodes one picture with a plan of its own, which keeps copies of stages. */
  async #encodeTapped(picture: PromptPicture, taps: Taps): Promise<void> {
    const owned = new Owned(this.device);
    return owned.orFree(async () => {
      const { plan, features } = await this.#planEncoder(picture.rows, owned, taps);
      const { inputs, scalars } = this.#vision.packed([picture.patches]);
      plan.run(inputs, scalars);
      await this.device.idle();
      await takeTaps(this.device, plan, taps);
      plan.dispose();
      picture.give({ storage: features.storage, release: () => owned.free() }, this.config.decoder.hidden);
    });
  }

  async #planEncoding() {
    const [kept, passing] = [new Owned(this.device), new Owned(this.device)];
    const made = await kept.orFree(() =>
      passing.orFree(async () => {
        const store = new FeatureStore(this.device, this.#pictureRows, this.config.decoder.hidden, kept);
        return { ...(await this.#planEncoder(this.config.image.maxPatches, passing)), store };
      }),
    );
    this.#owned.keep({ dispose: () => kept.free() });
    this.#visionWeights?.keep({ dispose: () => passing.free() });
    return made;
  }

  async #planEncoder(patches: number, owned: Owned, taps?: Taps) {
    this.#expectVision();
    const features = owned.keep(this.device.tensor('encoded', [patches, this.config.decoder.hidden], 'f32'));
    const { variants } = this.#engineOptions;
    const graph = new Graph(this.device, { variants, taps: (name) => taps?.wants(name) ?? false });
    const encoded = graph.tap('vis_sel', this.#vision.record(graph, patches));
    graph.output('features', this.#projector.record(graph, encoded), features.storage);
    return { plan: owned.keep(await Plan.create(graph)), features };
  }

  #expectVision(): void {
    if (this.#visionWeights) return;
    throw new DaybreakError('model: picture: expected vision weights on the device, got them released; load it again');
  }

  /** Makes ready what any answer runs through, pictures included, which else is done as it is first used; told how many of the plans are. */
  async compile(progress: (done: number, total: number) => void = () => {}): Promise<void> {
    const { engine } = this;
    const plans = [engine.chunk, () => engine.decodePlans(false), () => engine.decodePlans(true), this.#encoding];
    let done = 0;
    const made = plans.map((make) => (make() as Promise<unknown>).then(() => progress(++done, plans.length)));
    await Promise.allSettled(made); // where one fails the others are not left behind
    await Promise.all(made);
  }

  /** What all sequences run through; throws CapabilityError or OutOfMemoryError where the pages do not fit. */
  get engine(): Engine {
    this.#engine ??= new Engine(this.device, this.config, this.decoder, this.dtype, this.#engineOptions);
    return this.#engine;
  }

  /** A sequence; see Session. */
  async session(options: SessionOptions = {}): Promise<Session> {
    return new Session(this.engine, options);
  }
}

interface Parts {
  vision: Siglip2;
  projector: Projector;
  visionWeights: Owned;
  decoder: Phi3;
}

/** The first of some pictures and, in order, those after it that fit one pass of so many patches with it; none twice. */
function firstPass(pictures: readonly PromptPicture[], patches: number): PromptPicture[] {
  const pass: PromptPicture[] = [];
  for (const picture of pictures) {
    if (pass.some(({ digest }) => digest === picture.digest)) continue;
    if (pass.length > 0 && rowsOf(pass) + picture.rows > patches) break;
    pass.push(picture);
  }
  return pass;
}

function rowsOf(pictures: readonly PromptPicture[]): number {
  return pictures.reduce((sum, { rows }) => sum + rows, 0);
}
