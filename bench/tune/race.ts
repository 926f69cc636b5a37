import { ranked } from '../../kernels/policy.ts';
import { type Case, type OpSpec, Random } from '../../kernels/spec.ts';
import { decisionOf, findUnwritten, planCase } from '../../kernels/verify.ts';
import {
  CapabilityError,
  type Device,
  type DeviceTensor,
  type HostTensor,
  OutOfMemoryError,
  Owned,
  type Plan,
  type Storage,
  type Variant,
  WgslError,
} from '../../runtime/index.ts';
import { estimate } from '../compare/statistics.ts';
import { median, sum } from '../measure.ts';
import { copyInputs } from '../shapes.ts';
import { wallMicros } from '../time_case.ts';

/** How a race came out. */
export interface Outcome {
  /** The op's name for what the cases have in common. */
  problem: string;
  /** What runs where nothing was measured. */
  usual: Variant;
  /** The fastest first, and the microseconds of each round, summed over the cases. */
  order: readonly Variant[];
  micros: ReadonlyMap<Variant, readonly number[]>;
  /** What is wrong with variants; those that the device has no room for are missing in `order` alone. */
  wrong: ReadonlyMap<Variant, string>;
}

/** How often variants take turns: at least and at most. */
const ROUNDS = { least: 3, most: 40 };
/** A variant whose best time in two rounds is so many times that of the fastest is not tried again. */
const HOPELESS = 5;
/** What a variant must save before it takes the place of the first one: less is noise, or will be on another day. */
const WORTH = 0.03;

/**
 * Times variants on cases in turns for so many milliseconds, with weights that come out of memory. What runs where nothing was measured stays first
 * unless another is faster by WORTH, by the ratio of their times within rounds.
 */
export async function race(
  device: Device,
  spec: OpSpec,
  cases: readonly Case[],
  variants: readonly Variant[],
  millis: number,
): Promise<Outcome> {
  const owned = new Owned(device);
  const micros = new Map<Variant, number[]>();
  const wrong = new Map<Variant, string>();
  try {
    const tracks = cases.map((c) => new Track(device, spec, c, owned));
    const problem = tracks[0]!.problem(variants[0]!);
    const entrants = ranked(device, [], spec.name, problem, variants);
    for (const variant of entrants) {
      const fault = await check(tracks, variant);
      if (fault === '') micros.set(variant, []);
      else if (fault) wrong.set(variant, fault);
    }
    const start = performance.now();
    const running = new Set(micros.keys());
    const goesOn = (round: number) => round < ROUNDS.least || performance.now() - start < millis;
    for (let round = 0; round < ROUNDS.most && goesOn(round); round++) {
      for (const variant of turned([...running], round)) micros.get(variant)!.push(await timeAll(tracks, variant));
      const best = (variant: Variant) => Math.min(...micros.get(variant)!);
      const fastest = Math.min(...[...running].map(best));
      for (const variant of running) if (round > 0 && best(variant) > HOPELESS * fastest) running.delete(variant);
    }
    return { problem, usual: entrants[0]!, order: inOrder(micros), micros, wrong };
  } finally {
    owned.free();
  }
}

/** One case with copies of its inputs, which runs take turns with, whatever variant they are of. */
class Track {
  readonly #device: Device;
  readonly #spec: OpSpec;
  readonly #c: Case;
  readonly #inputs: Record<string, HostTensor>;
  readonly #owned: Owned;
  readonly #copies: Record<string, DeviceTensor>[];
  readonly #plans = new Map<string, Plan>();
  #result: Storage | undefined;
  #runs = 0;

  constructor(device: Device, spec: OpSpec, c: Case, owned: Owned) {
    this.#device = device;
    this.#spec = spec;
    this.#c = c;
    this.#owned = owned;
    this.#inputs = spec.inputs(c, new Random(1));
    this.#copies = copyInputs(device, spec, this.#inputs, owned);
  }

  /** What the op calls this case. */
  problem({ name }: Variant): string {
    return decisionOf(this.#device, this.#spec, this.#c, name, this.#inputs)!.problem;
  }

  /** Runs a variant once; what is wrong with the result, or an empty text. */
  async check(variant: Variant): Promise<string> {
    return findUnwritten(this.#device, await this.#plan(variant), this.#copies[0]!);
  }

  /** Microseconds of one run, by GPU timestamps where the device has them. */
  async time(variant: Variant): Promise<number> {
    const plan = await this.#plan(variant);
    if (!this.#device.features.has('timestamp-query')) return wallMicros(this.#device, plan);
    return sum((await plan.profile()).map(({ micros }) => micros));
  }

  /** A variant's plan over the copy that has not been read for the longest. */
  async #plan({ name }: Variant): Promise<Plan> {
    const at = this.#runs++ % this.#copies.length;
    const key = `${at} ${name}`;
    const known = this.#plans.get(key);
    if (known) return known;
    const given = this.#copies[at]!;
    const options = { given, result: this.#result };
    const { plan } = await planCase(this.#device, this.#spec, this.#c, name, this.#inputs, options);
    this.#plans.set(key, this.#owned.keep(plan));
    this.#result ??= plan.outputs.result!.storage;
    return plan;
  }
}

/** Compiles and runs a variant; what is wrong with it, an empty text, or undefined where the device has no room for it. */
async function check(tracks: readonly Track[], variant: Variant): Promise<string | undefined> {
  try {
    for (const track of tracks) {
      const problem = await track.check(variant);
      if (problem) return problem;
    }
    return '';
  } catch (error) {
    if (error instanceof WgslError) return error.message;
    if (error instanceof CapabilityError || error instanceof OutOfMemoryError) return undefined;
    throw error;
  }
}

async function timeAll(tracks: readonly Track[], variant: Variant): Promise<number> {
  let micros = 0;
  for (const track of tracks) micros += await track.time(variant);
  return micros;
}

/** The same in another order every round, so that none always runs behind the same one. */
function turned<T>(all: readonly T[], round: number): T[] {
  return all.map((_, i) => all[(i + round) % all.length]!);
}

/** The fastest first, by their times over those of one variant: in the same rounds and by the medians, whichever is worse for them. */
function inOrder(micros: ReadonlyMap<Variant, readonly number[]>): Variant[] {
  const [first] = micros.keys();
  if (!first) return [];
  const rounds = Math.max(...[...micros.values()].map(({ length }) => length));
  const finished = [...micros.keys()].filter((variant) => micros.get(variant)!.length === rounds);
  const base = finished.includes(first)
    ? first
    : finished.sort((a, b) => median(micros.get(a)!) - median(micros.get(b)!))[0]!;
  const ratio = (variant: Variant): number => {
    if (variant === base) return variant === first ? 1 - WORTH : 1;
    const pairs = micros.get(variant)!.map((time, round) => [micros.get(base)![round]!, time] as const);
    const paired = estimate(
      pairs.map((pair) => [pair]),
      0.05,
    ).ratio;
    return Math.max(paired, median(micros.get(variant)!) / median(micros.get(base)!));
  };
  const ratios = new Map([...micros.keys()].map((variant) => [variant, ratio(variant)]));
  return [...micros.keys()].sort((a, b) => ratios.get(a)! - ratios.get(b)!);
}
