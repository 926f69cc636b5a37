import { advance, argmax, logProbs, PAGE, ropeTable, SETTINGS, sample, uniform } from '../kernels/index.ts';
import {
  asMatrix,
  type Device,
  type DeviceTensor,
  type DType,
  Graph,
  type HostTensor,
  Owned,
  Pace,
  Plan,
  PromptError,
  type Tensor,
  tensorBytes,
} from '../runtime/index.ts';
import { Queue } from '../runtime/queue.ts';
import type { ModelConfig } from './checkpoint/config.ts';
import { lazy } from './lazy.ts';
import { PagePool } from './pages.ts';
import type { Phi3 } from './phi3.ts';
import type { Taps } from './taps.ts';

/** Rows of a prompt that one run of the chunk plan takes at most; longer prompts run in chunks, which bounds temporaries. */
const CHUNK = 1024;
/** Steps that may be on their way to the host at a time. */
const RING = 4;
/** Likeliest tokens that can be asked for with each token. */
export const MOST_LOG_PROBS = 20;
/** Bytes of a choice, see argmax, and of what log_probs says of it, behind it: ids, then values. */
export const CHOICE_BYTES = 8;
export const LOG_PROB_BYTES = 4 * (1 + MOST_LOG_PROBS);
/** Sequences that may exist at a time. */
const SLOTS = 256;

/** What one step of decoding reads and updates on the device, so that the commands of every token are the same. */
interface DecodeState {
  /** u32 [1, 2]: the position of the token to embed next, and 0. */
  places: DeviceTensor;
  /** u32 [1, pages]: the pages of the sequence that decodes. */
  tables: DeviceTensor;
  /** The token to embed next, u32 [1], and how many were chosen so far, u32 [1]. */
  token: DeviceTensor;
  step: DeviceTensor;
  /** The model's own choice at each step, u32 [capacity, 2]: see argmax. */
  history: DeviceTensor;
  /** Tokens to go on with in place of the model's choices, u32 [capacity], and how many of them count, u32 [1]. */
  forced: DeviceTensor;
  forcedCount: DeviceTensor;
  /** How tokens are drawn, see settingsTensor; not read by greedy plans. */
  settings: DeviceTensor;
}

/** The plans of decoding: the first token after a prompt, and a further one. */
export interface DecodePlans {
  head: Plan;
  step: Plan;
}

/** The plan of log_probs, with the choice that it reads. */
export interface LogProbsPlan {
  plan: Plan;
  choice: DeviceTensor;
}

/** A sequence as the engine sees it: it can take turns with others. */
interface Turn {
  /** Resolves when all its steps have reached the host. */
  settled(): Promise<unknown>;
  /** Writes what its next step reads. */
  writeState(): void;
}

/** How large an engine is. */
export interface EngineOptions {
  /** Positions whose keys and values all sequences together may keep, and one of them may have. */
  context: number;
  reuse: boolean;
}

/**
 * What all sequences of a model run through: the pool of pages, and the plans and buffers of a chunk of a prompt and of a
 * step of decoding, each made at first use and kept. Sequences take turns.
 */
export class Engine {
  readonly device: Device;
  readonly decoder: Phi3;
  readonly dtype: DType;
  readonly vocab: number;
  /** Positions of one sequence at most. */
  readonly capacity: number;
  /** Rows of a chunk at most. */
  readonly chunkRows: number;
  readonly pool: PagePool;
  readonly state: DecodeState;
  /** Logits of the latest step, f32 [1, vocab]. */
  readonly logits: DeviceTensor;
  /** Rows of the pictures' features that a chunk reads, f32 [chunkRows, hidden]. */
  readonly features: DeviceTensor;
  /** The final norm of a prompt's last row, [1, hidden]: as the latest chunk left it, and as the next first token reads it. */
  #prompted: DeviceTensor;
  #normed: DeviceTensor;
  readonly pace: Pace;
  /** Who uses the chunk plan. */
  readonly chunks = new Queue();
  /** Whether full pages are found again by later prompts. */
  readonly reuse: boolean;
  /** The same of every sequence, [SLOTS, hidden]. */
  #slots: DeviceTensor;
  #freeSlots = Array.from({ length: SLOTS }, (_, i) => i);
  #ropeTable: DeviceTensor;
  #owned: Owned;
  /** The plan of a chunk of a prompt: scalars rows, last (rows - 1) and keys, inputs ids, places, tables; leaves `prompted`. */
  readonly chunk = lazy(async () => this.#owned.keep(await this.#planChunk(this.chunkRows)));
  /** The plan of log probabilities of the latest step: scalar top, outputs ids and values. */
  readonly logProbsPlan = lazy(() => this.#planLogProbs());
  #greedy = lazy(() => this.#planDecoding(false));
  #sampled = lazy(() => this.#planDecoding(true));
  #owner: Turn | undefined;
  #ring: GPUBuffer[];
  #waiting: (() => void)[] = [];

  /** Throws CapabilityError or OutOfMemoryError where `context` positions cannot be kept. */
  constructor(device: Device, { decoder: config }: ModelConfig, decoder: Phi3, dtype: DType, options: EngineOptions) {
    const { context, reuse } = options;
    const owned = new Owned(device);
    this.reuse = reuse;
    this.#owned = owned;
    this.pace = new Pace(device);
    try {
      const pages = Math.ceil(context / PAGE);
      const words = (name: string, ...shape: number[]) => owned.keep(device.tensor(name, shape, 'u32'));
      this.device = device;
      this.decoder = decoder;
      this.dtype = dtype;
      this.vocab = config.vocab;
      this.capacity = context;
      this.chunkRows = Math.min(CHUNK, context);
      this.pool = new PagePool(device, config, pages, dtype, owned);
      this.state = {
        places: words('places', 1, 2),
        tables: words('tables', 1, pages),
        token: words('token', 1),
        step: words('step', 1),
        history: words('history', context, 2),
        forced: words('forced', context),
        forcedCount: words('forced_count', 1),
        settings: words('settings', SETTINGS),
      };
      const table = ropeTable(pages * PAGE, config.headDim, config.ropeTheta);
      this.#ropeTable = owned.keep(device.upload(table, 'rope_table'));
      this.#prompted = owned.keep(device.tensor('prompted', [1, config.hidden], dtype));
      this.#normed = owned.keep(device.tensor('normed', [1, config.hidden], dtype));
      this.#slots = owned.keep(device.tensor('normed_rows', [SLOTS, config.hidden], dtype));
      this.logits = owned.keep(device.tensor('logits', [1, config.vocab], 'f32'));
      this.features = owned.keep(device.tensor('features', [this.chunkRows, config.hidden], 'f32'));
      this.#ring = Array.from({ length: RING }, () =>
        owned.keep(device.readbackBuffer(CHOICE_BYTES + 2 * LOG_PROB_BYTES, 'token')),
      );
    } catch (error) {
      owned.free();
      throw error;
    }
  }

  /** The plan of a chunk of so many rows, with copies of the stages that somebody wants; the caller disposes of it. */
  planTapped(taps: Taps, rows: number): Promise<Plan> {
    return this.#planChunk(rows, taps);
  }

  #planChunk(most: number, taps?: Taps): Promise<Plan> {
    return Plan.create(this.recordChunk(most, taps));
  }

  /** The graph of a chunk of at most so many rows. */
  recordChunk(most: number, taps?: Taps): Graph {
    const graph = new Graph(this.device, { taps: (name) => taps?.wants(name) ?? false });
    const rows = graph.scalar('rows', most);
    const last = graph.scalar('last', most - 1);
    const keys = graph.scalar('keys', this.pool.pages * PAGE);
    const ids = graph.input('ids', [most], 'u32', rows);
    const places = graph.input('places', [most, 2], 'u32', rows);
    const tables = graph.input('tables', [1, this.pool.pages], 'u32');
    const x = graph.tap('embed', this.decoder.embed(graph, ids, asMatrix(this.features)));
    const state = { pool: this.pool, ropeTable: this.#ropeTable, places, tables, keys };
    const normed = this.decoder.finalNorm(graph, this.decoder.layers(graph, x, state), last);
    graph.output('normed', normed, this.#prompted.storage);
    return graph;
  }

  /** The plans of decoding, greedily or by chance. */
  decodePlans(sampled: boolean): Promise<DecodePlans> {
    return sampled ? this.#sampled() : this.#greedy();
  }

  /** Whether the state on the device is a sequence's. */
  owns(turn: Turn): boolean {
    return this.#owner === turn;
  }

  /** Gives the state on the device to a sequence, once its own steps have reached the host; those of others are ahead in the queue. */
  async acquire(turn: Turn): Promise<void> {
    await turn.settled();
    if (this.#owner === turn) return;
    this.#owner = turn;
    turn.writeState();
  }

  /** Makes the next step of a sequence write its state anew. */
  disown(turn: Turn): void {
    if (this.#owner === turn) this.#owner = undefined;
  }

  /** Room for the last row of a sequence's prompt; throws PromptError where too many sequences exist. */
  takeSlot(): number {
    const slot = this.#freeSlots.pop();
    if (slot !== undefined) return slot;
    throw new PromptError(
      `session: expected at most ${SLOTS} sequences with a prompt at a time, got one more; dispose of some`,
    );
  }

  giveSlot(slot: number): void {
    this.#freeSlots.push(slot);
  }

  /** Appends a copy of the latest chunk's last row into a slot. */
  keepRow(encoder: GPUCommandEncoder, slot: number): void {
    const bytes = tensorBytes(this.#prompted);
    encoder.copyBufferToBuffer(this.#prompted.storage.buffer, 0, this.#slots.storage.buffer, slot * bytes, bytes);
  }

  /** Appends a copy of a slot to where the first token of an answer reads it. */
  placeRow(encoder: GPUCommandEncoder, slot: number): void {
    const bytes = tensorBytes(this.#normed);
    encoder.copyBufferToBuffer(this.#slots.storage.buffer, slot * bytes, this.#normed.storage.buffer, 0, bytes);
  }

  /** Appends a copy of a slot into another one. */
  copyRow(encoder: GPUCommandEncoder, from: number, to: number): void {
    this.placeRow(encoder, from);
    const bytes = tensorBytes(this.#normed);
    encoder.copyBufferToBuffer(this.#normed.storage.buffer, 0, this.#slots.storage.buffer, to * bytes, bytes);
  }

  /** A buffer in which a token comes to the host; resolves when one is free. */
  async takeStaging(): Promise<GPUBuffer> {
    while (this.#ring.length === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.#ring.pop()!;
  }

  giveStaging(buffer: GPUBuffer): void {
    this.#ring.push(buffer);
    this.#waiting.shift()?.();
  }

  /** Frees pool, state and plans. */
  dispose(): void {
    this.#owned.free();
  }

  async #planLogProbs(): Promise<LogProbsPlan> {
    const choice = this.#owned.keep(this.device.tensor('choice', [2], 'u32'));
    const graph = new Graph(this.device);
    const top = graph.scalar('top', Math.min(MOST_LOG_PROBS, this.vocab));
    const { ids, values } = logProbs(graph, this.logits, choice, top);
    graph.output('ids', ids);
    graph.output('values', values);
    return { plan: this.#owned.keep(await Plan.create(graph)), choice };
  }

  async #planDecoding(sampled: boolean): Promise<DecodePlans> {
    const { state, decoder } = this;
    const head = new Graph(this.device);
    this.#recordHead(head, this.#normed, sampled);
    const step = new Graph(this.device);
    const keys = step.scalar('keys', this.pool.pages * PAGE);
    const x = decoder.embed(step, state.token);
    const layers = { ...state, keys, pool: this.pool, ropeTable: this.#ropeTable };
    this.#recordHead(step, decoder.finalNorm(step, decoder.layers(step, x, layers), 0), sampled);
    const owned = new Owned(this.device);
    const plans = await owned.orFree(async () => {
      return { head: owned.keep(await Plan.create(head)), step: owned.keep(await Plan.create(step)) };
    });
    this.#owned.keep({ dispose: () => owned.free() });
    return plans;
  }

  /** lm_head, the choice of a token, and the step to the next position. */
  #recordHead(g: Graph, normed: Tensor, sampled: boolean): void {
    const result = this.decoder.logits(g, normed);
    g.output('logits', result, this.logits.storage);
    g.scope('head', () => {
      const { forced, forcedCount, history, token, places, step, settings } = this.state;
      const largest = argmax(g, result);
      const choice = sampled ? sample(g, result, { largest, settings, u: uniform(g, settings, step) }) : largest;
      advance(g, { choice, forced, forcedCount, history, token, places, step });
    });
  }
}

/** u32 values as a host tensor. */
export function words(shape: readonly number[], data: Uint32Array): HostTensor {
  return { shape, dtype: 'u32', data };
}
