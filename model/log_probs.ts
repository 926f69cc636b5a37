import { logProbs } from '../kernels/index.ts';
import {
  type Device,
  type DeviceTensor,
  Graph,
  type Owned,
  Plan,
  PromptError,
  type Storage,
} from '../runtime/index.ts';

/** Likeliest tokens that can be asked for with each token. */
export const MOST_LOG_PROBS = 20;
/** Bytes of a choice, see argmax; where log probabilities come with it, their ids lie behind it, then their values. */
export const CHOICE_BYTES = 8;
const LIST_BYTES = 4 * (1 + MOST_LOG_PROBS);
/** Bytes of all that a step may send to the host. */
export const STEP_BYTES = CHOICE_BYTES + 2 * LIST_BYTES;

/** A token and its log probability, in nats. */
export interface LogProb {
  token: number;
  logProb: number;
}

/** The plan of the log probabilities of a step's choice and of the likeliest tokens, from its logits. */
export class LogProbs {
  #plan: Plan;
  #choice: DeviceTensor;

  private constructor(plan: Plan, choice: DeviceTensor) {
    this.#plan = plan;
    this.#choice = choice;
  }

  /** Plans for logits f32 [1, vocab]. */
  static async create(device: Device, logits: DeviceTensor, owned: Owned): Promise<LogProbs> {
    const choice = owned.keep(device.tensor('choice', [2], 'u32'));
    const graph = new Graph(device);
    const top = graph.scalar('top', mostOf(logits.shape[1]!));
    const { ids, values } = logProbs(graph, logits, choice, top);
    graph.output('ids', ids);
    graph.output('values', values);
    return new LogProbs(owned.keep(await Plan.create(graph)), choice);
  }

  /** Appends those of the step whose choice lies at `at` of the history, and their copy behind the choice in `staging`. */
  encode(encoder: GPUCommandEncoder, { buffer }: Storage, at: number, top: number, staging: GPUBuffer): void {
    encoder.copyBufferToBuffer(buffer, at, this.#choice.storage.buffer, 0, CHOICE_BYTES);
    this.#plan.setScalars({ top });
    this.#plan.encode(encoder);
    const { ids, values } = this.#plan.outputs;
    [ids!, values!].forEach(({ storage }, i) => {
      const target = CHOICE_BYTES + i * LIST_BYTES;
      encoder.copyBufferToBuffer(storage!.buffer, storage!.offset, staging, target, 4 * (1 + top));
    });
  }
}

/** What encode() has sent to the host: the choice's first, then the likeliest, best first. */
export function readLogProbs(bytes: ArrayBuffer, top: number): LogProb[] {
  const ids = new Uint32Array(bytes, CHOICE_BYTES, 1 + top);
  const values = new Float32Array(bytes, CHOICE_BYTES + LIST_BYTES, 1 + top);
  return Array.from(ids, (token, i) => ({ token, logProb: values[i]! }));
}

/** Throws PromptError unless so many of the likeliest can be asked for, or none are. */
export function checkLogProbs(count: number | undefined, vocab: number): void {
  const most = mostOf(vocab);
  if (count === undefined || (Number.isInteger(count) && count >= 0 && count <= most)) return;
  throw new PromptError(`decode: logProbs: expected an integer from 0 to ${most}, got ${count}; ask for fewer`);
}

function mostOf(vocab: number): number {
  return Math.min(MOST_LOG_PROBS, vocab);
}
