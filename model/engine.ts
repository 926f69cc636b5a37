import { advance, argmax, type Logits, PAGE, ropeTable, SETTINGS, sample } from '../kernels/index.ts';
import {
  asMatrix,
  type Device,
  type DeviceTensor,
  type DType,
  type ForcedVariants,
  Graph,
  type HostTensor,
  Owned,
  Pace,
  Plan,
} from '../runtime/index.ts';
import { Queue } from '../runtime/queue.ts';
import type { ModelConfig } from './checkpoint/config.ts';
import { LastRows } from './last_rows.ts';
import { lazy } from './lazy.ts';
import { LogProbs, STEP_BYTES } from './log_probs.ts';
import { type CacheOptions, PagePool, poolPages } from './pages.ts';
import type { Phi3 } from './phi3.ts';
import { Staging } from './staging.ts';
import type { Taps } from './taps.ts';

/** Rows of a prompt that one run of the chunk plan takes at most, unless told; longer prompts run in chunks, which bounds temporaries. */
const CHUNK = 1024;
/** Logits of which a workgroup finds the largest, where a token is drawn. */
const PART = 4096;

/** What one step of decoding reads and updates on the device, so that the commands of every token are the same. */
interface DecodeState {
  /** u32 [1, 2]: the position of the token to go on with, and 0. */
  places: DeviceTensor;
  /** u32 [1, pages]: the pages of the sequence that decodes. */
  tables: DeviceTensor;
  /** The token to go on with, u32 [1], and its embedding, f32 [1, hidden]. */
  token: DeviceTensor;
  embedding: DeviceTensor;
  /** What the next token is drawn by, the seed, and how many were chosen so far, u32 [4]: see randomWords. */
  random: DeviceTensor;
  /** The model's own choice at each step, and how many of its logits were not finite, u32 [capacity, 2]. */
  history: DeviceTensor;
  /** How many tokens to go on with in place of the model's choices, and these, u32 [1 + capacity]. */
  forced: DeviceTensor;
  /** How tokens are drawn, see settingsTensor; not read by greedy plans. */
  settings: DeviceTensor;
}

/** The plans of decoding: the first token after a prompt, a further one, and the embedding of a token that the host has written. */
export interface DecodePlans {
  head: Plan;
  step: Plan;
  embed: Plan;
}

/** How large an engine is, and whether full pages are found again by later prompts. */
export interface EngineOptions extends CacheOptions {
  reuse: boolean;
  /** Rows of a prompt that one run takes at most. */
  chunkRows?: number;
  /** Variants of ops to use wherever they apply. */
  variants?: ForcedVariants;
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
  /** Entries of a page table. */
  readonly tablePages: number;
  /** Rows of a chunk at most. */
  readonly chunkRows: number;
  readonly pool: PagePool;
  readonly state: DecodeState;
  /** Logits of the latest step, f32 [1, vocab]. */
  readonly logits: DeviceTensor;
  /** Rows of the pictures' features that a chunk reads, f32 [chunkRows, hidden]. */
  readonly features: DeviceTensor;
  /** The final norm of the last row of every sequence's prompt. */
  readonly lastRows: LastRows;
  readonly staging: Staging;
  readonly pace: Pace;
  /** Who uses the chunk plan. */
  readonly chunks = new Queue();
  /** Whether full pages are found again by later prompts. */
  readonly reuse: boolean;
  #variants: ForcedVariants | undefined;
  #ropeTable: DeviceTensor;
  #owned: Owned;
  /** The plan of a chunk of a prompt: scalars rows, last (rows - 1) and keys, inputs ids, places, tables; leaves its last row. */
  readonly chunk = lazy(async () => this.#owned.keep(await Plan.create(this.recordChunk(this.chunkRows))));
  readonly logProbs = lazy(() => LogProbs.create(this.device, this.logits, this.#owned));
  #greedy = lazy(() => this.#planDecoding(false));
  #sampled = lazy(() => this.#planDecoding(true));
  #owner: object | undefined;

  /** Throws CapabilityError or OutOfMemoryError where the pages that options name cannot be kept, UsageError where they name none. */
  constructor(device: Device, config: ModelConfig, decoder: Phi3, dtype: DType, options: EngineOptions) {
    const { headDim, ropeTheta, hidden, vocab } = config.decoder;
    const pages = poolPages(device, config.decoder, dtype, config.contextLimit, options);
    const owned = new Owned(device);
    this.reuse = options.reuse;
    this.#variants = options.variants;
    this.#owned = owned;
    this.pace = new Pace(device);
    try {
      const words = (name: string, ...shape: number[]) => owned.keep(device.tensor(name, shape, 'u32'));
      this.device = device;
      this.decoder = decoder;
      this.dtype = dtype;
      this.vocab = vocab;
      this.capacity = Math.min(options.context ?? config.contextLimit, pages * PAGE);
      this.chunkRows = Math.min(options.chunkRows ?? CHUNK, this.capacity);
      this.tablePages = Math.ceil(this.capacity / PAGE);
      this.pool = new PagePool(device, config.decoder, pages, dtype, owned);
      this.state = {
        places: words('places', 1, 2),
        tables: words('tables', 1, this.tablePages),
        token: words('token', 1),
        embedding: owned.keep(device.tensor('embedding', [1, hidden], 'f32')),
        random: words('random', 4),
        history: words('history', this.capacity, 2),
        forced: words('forced', 1 + this.capacity),
        settings: words('settings', SETTINGS),
      };
      const table = ropeTable(this.tablePages * PAGE, headDim, ropeTheta);
      this.#ropeTable = owned.keep(device.upload(table, 'rope_table'));
      this.lastRows = new LastRows(device, hidden, dtype, owned);
      this.logits = owned.keep(device.tensor('logits', [1, vocab], 'f32'));
      this.features = owned.keep(device.tensor('features', [this.chunkRows, hidden], 'f32'));
      this.staging = new Staging(device, STEP_BYTES, owned);
    } catch (error) {
      owned.free();
      throw error;
    }
  }

  /** The plan of a chunk of so many rows, with copies of the stages that somebody wants; the caller disposes of it. */
  planTapped(taps: Taps, rows: number): Promise<Plan> {
    return Plan.create(this.recordChunk(rows, taps));
  }

  /** The graph of a chunk of at most so many rows. */
  recordChunk(most: number, taps?: Taps): Graph {
    const graph = new Graph(this.device, { variants: this.#variants, taps: (name) => taps?.wants(name) ?? false });
    const rows = graph.scalar('rows', most);
    const last = graph.scalar('last', most - 1);
    const keys = graph.scalar('keys', this.tablePages * PAGE);
    const ids = graph.input('ids', [most], 'u32', rows);
    const places = graph.input('places', [most, 2], 'u32', rows);
    const tables = graph.input('tables', [1, this.tablePages], 'u32');
    const x = graph.tap('embed', this.decoder.embed(graph, ids, asMatrix(this.features)));
    const state = { pool: this.pool, ropeTable: this.#ropeTable, places, tables, keys };
    const normed = this.decoder.finalNorm(graph, this.decoder.layers(graph, x, state), last);
    graph.output('normed', normed, this.lastRows.written.storage);
    return graph;
  }

  /** The plans of decoding, greedily or by chance. */
  decodePlans(sampled: boolean): Promise<DecodePlans> {
    return sampled ? this.#sampled() : this.#greedy();
  }

  /** Whether the state on the device is an answer's. */
  owns(answer: object): boolean {
    return this.#owner === answer;
  }

  /** Gives the state on the device to an answer, which writes it; steps of others are ahead in the queue. */
  claim(answer: object): void {
    this.#owner = answer;
  }

  /** Frees pool, state and plans. */
  dispose(): void {
    this.#owned.free();
  }

  async #planDecoding(sampled: boolean): Promise<DecodePlans> {
    const { state, decoder } = this;
    const options = { variants: this.#variants };
    const head = new Graph(this.device, options);
    this.#recordChoice(head, decoder.logits(head, this.lastRows.read), sampled);
    const step = new Graph(this.device, options);
    const keys = step.scalar('keys', this.tablePages * PAGE);
    const layers = { ...state, keys, pool: this.pool, ropeTable: this.#ropeTable };
    this.#recordChoice(step, decoder.lastLogits(step, decoder.layers(step, state.embedding, layers)), sampled);
    const embed = new Graph(this.device, options);
    embed.output('embedding', decoder.embed(embed, state.token), state.embedding.storage);
    const owned = new Owned(this.device);
    const plans = await owned.orFree(async () => {
      const plan = async (graph: Graph) => owned.keep(await Plan.create(graph));
      return { head: await plan(head), step: await plan(step), embed: await plan(embed) };
    });
    this.#owned.keep({ dispose: () => owned.free() });
    return plans;
  }

  /** What follows the logits: the choice of a token, and the step to the next position, with the token's embedding. */
  #recordChoice(g: Graph, result: Logits, sampled: boolean): void {
    const { logits } = result;
    g.output('logits', logits, this.logits.storage);
    g.scope('head', () => {
      const { forced, history, token, places, random, settings, embedding } = this.state;
      const draw = () => sample(g, logits, { largest: argmax(g, logits, PART), settings, random });
      const state = { forced, history, token, places, random };
      const next = advance(g, sampled ? draw() : result, state, this.decoder.embedding);
      g.output('embedding', next, embedding.storage);
    });
  }
}

/** u32 values as a host tensor. */
export function words(shape: readonly number[], data: Uint32Array): HostTensor {
  return { shape, dtype: 'u32', data };
}
