import { advance, argmax, ropeTable, type Sampling, sample, settingsTensor, uniform } from '../kernels/index.ts';
import {
  type Device,
  type DType,
  Graph,
  type Matrix,
  Owned,
  Plan,
  PromptError,
  type Storage,
  type Tensor,
} from '../runtime/index.ts';
import type { ModelConfig } from './checkpoint/config.ts';
import { KvCache } from './kv_cache.ts';
import type { DecoderState, Phi3 } from './phi3.ts';
import { checkSampling } from './sampler.ts';
import { type Taps, takeTaps } from './taps.ts';

/** Prompt tokens that one prefill plan takes; longer prompts run in chunks, which bounds temporaries. */
const PREFILL_CHUNK = 1024;

type DeviceTensor = Tensor & { storage: Storage };

/** What a sequence needs beforehand. */
export interface SessionOptions {
  /** Positions of prompt and answer together. */
  capacity: number;
  /** How tokens are drawn; without it, or at temperature 0, the likeliest is taken. */
  sampling?: Sampling & { seed: number };
}

/** What one step of decoding reads and updates on the device, so that the commands of every token are the same. */
interface DecodeState extends DecoderState {
  position: DeviceTensor;
  seen: { keys: number };
  /** The token to embed next, u32 [1]. */
  token: DeviceTensor;
  /** Tokens chosen so far, u32 [1]. */
  step: DeviceTensor;
  /** At each step the model's own choice and how many of its logits were not finite, u32 [capacity, 2]. */
  history: DeviceTensor;
  /** Tokens to go on with in place of the model's choices, u32 [capacity], and how many of them count, u32 [1]. */
  forced: DeviceTensor;
  forcedCount: DeviceTensor;
  /** How tokens are drawn; without it the likeliest is taken. */
  settings: DeviceTensor | undefined;
}

/** One sequence: prefill fills the KV cache, then every step yields a token; all buffers and plans made beforehand. */
export class Session {
  readonly capacity: number;
  readonly device: Device;
  /** Logits of the latest step, f32 [1, vocab]. */
  readonly logits: DeviceTensor;
  /** At each step the model's own choice and how many of its logits were not finite, u32 [capacity, 2]. */
  readonly history: DeviceTensor;
  readonly vocab: number;
  /** What activations between norms and matmuls and the cache are stored as. */
  readonly dtype: DType;
  #decoder: Phi3;
  #state: DecodeState;
  /** The final norm of the prompt's last row, [1, hidden]. */
  #normed: DeviceTensor;
  #head: Plan;
  #step: Plan;
  #owned: Owned;
  #promptLength = 0;

  private constructor(
    device: Device,
    decoder: Phi3,
    state: DecodeState,
    io: SessionIo,
    plans: { head: Plan; step: Plan },
    owned: Owned,
  ) {
    this.device = device;
    this.#decoder = decoder;
    this.#state = state;
    this.#normed = io.normed;
    this.#head = plans.head;
    this.#step = plans.step;
    this.#owned = owned;
    this.capacity = state.cache.capacity;
    this.logits = io.logits;
    this.vocab = io.logits.shape[1]!;
    this.dtype = io.normed.dtype;
    this.history = state.history;
  }

  /** Allocates cache and state and plans one decode step; throws CapabilityError, OutOfMemoryError or PromptError. */
  static async create(
    device: Device,
    config: ModelConfig,
    decoder: Phi3,
    dtype: DType,
    { capacity, sampling }: SessionOptions,
  ): Promise<Session> {
    if (sampling) checkSampling(sampling);
    const owned = new Owned(device);
    return owned.orFree(async () => {
      const state = createState(device, config.decoder, dtype, capacity, owned);
      if (sampling && sampling.temperature > 0) {
        state.settings = owned.keep(device.upload(settingsTensor(sampling), 'settings'));
      }
      const normed = owned.keep(device.tensor('normed', [1, config.decoder.hidden], dtype));
      const logits = owned.keep(device.tensor('logits', [1, config.decoder.vocab], 'f32'));
      const head = new Graph(device);
      recordHead(head, decoder, normed, state, logits);
      const step = new Graph(device);
      const x = decoder.layers(step, decoder.embed(step, state.token), state);
      recordHead(step, decoder, decoder.finalNorm(step, x), state, logits);
      const plans = { head: owned.keep(await Plan.create(head)), step: owned.keep(await Plan.create(step)) };
      return new Session(device, decoder, state, { normed, logits }, plans, owned);
    });
  }

  /**
   * Runs the prompt's ids u32 (from vocab on: rows of `features`) through the decoder, chunk by chunk, leaving the
   * last row for start(). Throws PromptError where the prompt is empty or does not fit the capacity, or another one is there.
   */
  async prefill(ids: Uint32Array, features?: Matrix, taps?: Taps): Promise<void> {
    if (this.#promptLength > 0) {
      throw new PromptError(
        `session: prefill: expected an empty session, got one with a prompt of ${this.#promptLength} positions; reset it first`,
      );
    }
    if (ids.length < 1 || ids.length > this.capacity) {
      throw new PromptError(
        `session: prompt: expected 1 to ${this.capacity} positions, got ${ids.length}; allow a longer context`,
      );
    }
    const plans = new Map<number, Plan>();
    try {
      for (let start = 0; start < ids.length; start += PREFILL_CHUNK) {
        const chunk = ids.subarray(start, start + PREFILL_CHUNK);
        const plan = plans.get(chunk.length) ?? (await this.#planChunk(chunk.length, features, taps));
        plans.set(chunk.length, plan);
        this.device.write(this.#state.position.storage, Uint32Array.of(start));
        this.#state.seen.keys = start + chunk.length;
        plan.run({ ids: { shape: [chunk.length], dtype: 'u32', data: chunk } });
        await this.device.idle();
        await takeTaps(this.device, plan, taps);
      }
    } finally {
      for (const plan of plans.values()) plan.dispose();
    }
    this.#promptLength = ids.length;
  }

  /**
   * Chooses the first token after the prompt; from here the tokens of `forced` are taken in place of the model's
   * choices, which history records all the same. May be called again after steps: the answer starts anew. Throws PromptError
   * where there is no prompt.
   */
  start(forced: Uint32Array = new Uint32Array()): GPUCommandEncoder {
    if (this.#promptLength === 0)
      throw new PromptError('session: start: expected a session with a prompt, got an empty one; call prefill() first');
    const { position, step, forcedCount, seen } = this.#state;
    seen.keys = this.#promptLength;
    this.device.write(position.storage, Uint32Array.of(this.#promptLength - 1));
    this.device.write(step.storage, Uint32Array.of(0));
    this.device.write(forcedCount.storage, Uint32Array.of(forced.length));
    this.device.write(this.#state.forced.storage, forced);
    return this.#encode(this.#head);
  }

  /** Forgets the prompt and its answer, so that another prefill may follow. */
  reset(): void {
    this.#promptLength = 0;
  }

  /** Positions of the prompt; 0 before prefill(). */
  get promptLength(): number {
    return this.#promptLength;
  }

  /** The commands of one further token after start(). */
  step(): GPUCommandEncoder {
    this.#state.seen.keys++;
    return this.#encode(this.#step);
  }

  /** Frees the cache, the state and the plans. */
  dispose(): void {
    this.#owned.free();
  }

  #encode(plan: Plan): GPUCommandEncoder {
    this.device.assertAlive();
    const encoder = this.device.gpu.createCommandEncoder();
    plan.encode(encoder);
    return encoder;
  }

  async #planChunk(tokens: number, features: Matrix | undefined, taps?: Taps): Promise<Plan> {
    const graph = new Graph(this.device, { taps: (name) => taps?.wants(name) ?? false });
    const ids = graph.input('ids', [tokens], 'u32');
    const x = this.#decoder.layers(graph, this.#decoder.embed(graph, ids, features), this.#state);
    graph.output('normed', this.#decoder.finalNorm(graph, x), this.#normed.storage);
    return Plan.create(graph);
  }
}

interface SessionIo {
  normed: DeviceTensor;
  logits: DeviceTensor;
}

function createState(
  device: Device,
  config: ModelConfig['decoder'],
  dtype: DType,
  capacity: number,
  owned: Owned,
): DecodeState {
  const words = (name: string, ...shape: number[]) => owned.keep(device.tensor(name, shape, 'u32'));
  return {
    cache: new KvCache(device, config, capacity, dtype, owned),
    ropeTable: owned.keep(device.upload(ropeTable(capacity, config.headDim, config.ropeTheta), 'rope_table')),
    position: words('position', 1),
    seen: { keys: 0 },
    token: words('token', 1),
    step: words('step', 1),
    history: words('history', capacity, 2),
    forced: words('forced', capacity),
    forcedCount: words('forced_count', 1),
    settings: undefined,
  };
}

/** lm_head, the choice of a token, and the step to the next position. */
function recordHead(g: Graph, decoder: Phi3, normed: Tensor, state: DecodeState, logits: DeviceTensor): void {
  const result = decoder.logits(g, normed);
  g.output('logits', result, logits.storage);
  g.scope('head', () => {
    const { forced, forcedCount, history, token, position, step, settings } = state;
    const largest = argmax(g, result);
    const choice = settings ? sample(g, result, { largest, settings, u: uniform(g, settings, step) }) : largest;
    advance(g, { choice, forced, forcedCount, history, token, position, step });
  });
}
