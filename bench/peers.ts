import { type OpSpec, Random } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { chosenVariant, planCase, runnable } from '../kernels/verify.ts';
import { type Device, type Plan, UsageError, widen } from '../runtime/index.ts';
import { timed } from './measure.ts';
import { openAdapter } from './open.ts';
import type { Counterpart, Inputs } from './peers/counterparts.ts';
import { installOnnxRuntime } from './peers/install.ts';
import { type OnnxShape, type OnnxTensor, onnxModel } from './peers/onnx.ts';
import { Peer, type PeerOptions, type Provider, type Sample } from './peers/peer.ts';
import { PeersReport } from './peers/peers_report.ts';
import { type PeerRow, peerRows } from './peers/rows.ts';
import { judged, type Verdict, verdictOf } from './peers/side.ts';
import { JsonLines } from './report.ts';

/** The peers by name, and ONNX Runtime's execution provider that each is. */
export const PEERS = { 'ort-webgpu': 'webgpu', 'ort-cpu': 'cpu' } as const satisfies Record<string, Provider>;

type PeerName = keyof typeof PEERS;

/** Options of `bench peers`. */
export interface PeersOptions {
  op?: string;
  peer?: PeerName;
  adapter?: string;
  json?: string;
  slow?: boolean;
}

const REPEATS = { least: 3, most: 25, millis: 2000 };
const SLOW_SECONDS = 3;
/** How long a peer may take to load a model, compile its kernels and run it. */
const MAX_SECONDS = { usual: 30, slow: 600 };

/**
 * Times our ops beside ONNX Runtime's on the same adapter in one run, alternating; a result that differs from float64
 * shows WRONG and no time. Returns the exit code: 0 all of ours right, 1 one wrong.
 */
export async function peers({ op, peer, adapter, json: file, slow = false }: PeersOptions): Promise<number> {
  const ops = new Set(peerRows(Number.POSITIVE_INFINITY).map((row) => row.op));
  if (op && !ops.has(op)) throw new UsageError(`--op: expected one of ${[...ops].join(', ')}, got '${op}'`);
  const json = new JsonLines(file);
  const folder = await installOnnxRuntime();
  const device = await openAdapter(adapter);
  const names = peer ? [peer] : (Object.keys(PEERS) as PeerName[]);
  const maxSeconds = slow ? MAX_SECONDS.slow : MAX_SECONDS.usual;
  const wanted = names.map((name) => ({ name, folder, provider: PEERS[name], adapter: device.name, maxSeconds }));
  const report = new PeersReport(device, names, json);
  const rows = peerRows(device.maxBlockBytes).filter((row) => !op || row.op === op);
  let wrong = 0;
  try {
    for (const [done, row] of rows.entries()) {
      report.progress(done, rows.length);
      if (!(await compare(device, row, wanted, slow, report))) wrong++;
    }
  } finally {
    report.stop();
  }
  return wrong === 0 ? 0 : 1;
}

/** Checks and times one row with each of its counterparts; returns whether our result is right. */
async function compare(
  device: Device,
  row: PeerRow,
  wanted: readonly NamedPeer[],
  slow: boolean,
  report: PeersReport,
): Promise<boolean> {
  const spec = specs.find(({ name }) => name === row.op)!;
  if (runnable(device, spec, row.case).length === 0) {
    report.skip(row, `'${device.name}' lacks shader-f16`);
    return true;
  }
  const inputs = spec.inputs(row.case, new Random(1));
  const reference = Float32Array.from(spec.reference(inputs, row.case));
  const ours = await Ours.prepare(device, spec, row, inputs, reference);
  try {
    for (const counterpart of row.counterparts(inputs)) {
      const theirs: Theirs[] = [];
      try {
        for (const peer of wanted) theirs.push(await Theirs.prepare(peer, counterpart, reference, row.bound));
        await race(row, counterpart.name, ours, theirs, slow, report);
      } finally {
        for (const side of theirs) await side.dispose();
      }
    }
  } finally {
    ours.dispose();
  }
  return !ours.verdict.error;
}

/** Times both sides in turns and reports them. */
async function race(
  row: PeerRow,
  onnx: string,
  ours: Ours,
  theirs: readonly Theirs[],
  slow: boolean,
  report: PeersReport,
): Promise<void> {
  const samples = await alternate([ours, ...theirs], slow);
  if (typeof samples === 'string') return report.skip(row, samples);
  const [first, ...others] = [ours, ...theirs].map(({ verdict }, i) => judged(samples[i]!, verdict));
  const gpuMicros = first!.micros.length > 0 ? await ours.gpuMicros() : [];
  const sides = Object.fromEntries(theirs.map(({ name }, i) => [name, others[i]!]));
  report.row(row, onnx, { variant: ours.variant, ...first!, gpuMicros }, sides);
}

interface NamedPeer extends PeerOptions {
  name: PeerName;
}

/** One side of a row: how its result compares, and how to time one run. */
interface Contender {
  readonly name: string;
  readonly verdict: Verdict;
  /** Times one run; nothing where that failed, which the verdict then says. */
  sample(): Promise<Sample | undefined>;
}

/** Our op on the device, checked. */
class Ours implements Contender {
  readonly name = 'ours';
  readonly variant: string;
  readonly verdict: Verdict;
  readonly dispose: () => void;
  #device: Device;
  #plan: Plan;

  private constructor(device: Device, plan: Plan, variant: string, verdict: Verdict, dispose: () => void) {
    this.#device = device;
    this.#plan = plan;
    this.variant = variant;
    this.verdict = verdict;
    this.dispose = dispose;
  }

  /** Plans and runs the variant that the op chooses on this device. */
  static async prepare(
    device: Device,
    spec: OpSpec,
    { case: c, bound }: PeerRow,
    inputs: Inputs,
    reference: Float32Array,
  ): Promise<Ours> {
    const variant = chosenVariant(device, spec, c, inputs)!.name;
    const { plan, tensors } = await planCase(device, spec, c, variant, inputs);
    const { result } = plan.run();
    const { dtype, data } = await device.download(result!);
    const dispose = () => {
      plan.dispose();
      for (const tensor of Object.values(tensors)) device.free(tensor.storage!);
    };
    return new Ours(device, plan, variant, verdictOf(widen(dtype, data), reference, bound), dispose);
  }

  async sample(): Promise<Sample> {
    const run = await timed(() => {
      this.#plan.run();
      return this.#device.idle();
    });
    const wait = await timed(() => this.#device.idle());
    return { runMicros: run.millis * 1e3, waitMicros: wait.millis * 1e3 };
  }

  /** GPU microseconds of some runs by timestamps; none where the adapter has no timestamps. */
  async gpuMicros(): Promise<number[]> {
    if (!this.#device.features.has('timestamp-query')) return [];
    const micros: number[] = [];
    for (let i = 0; i < REPEATS.least; i++) {
      micros.push((await this.#plan.profile()).reduce((sum, row) => sum + row.micros, 0));
    }
    return micros;
  }
}

/** A counterpart in a peer's process, checked; where the peer fails, the verdict says how. */
class Theirs implements Contender {
  readonly name: PeerName;
  verdict: Verdict;
  #peer: Peer | undefined;

  private constructor(name: PeerName, verdict: Verdict, peer?: Peer) {
    this.name = name;
    this.verdict = verdict;
    this.#peer = peer;
  }

  static async prepare(
    { name, ...options }: NamedPeer,
    { graph, feeds, inPlace, arrange }: Counterpart,
    reference: Float32Array,
    bound: number,
  ): Promise<Theirs> {
    let peer: Peer | undefined;
    try {
      const { outputs } = graph;
      peer = await Peer.load(options, { model: onnxModel(graph), feeds, inPlace, outputs });
      const data = await peer.ask({ kind: 'result' });
      return new Theirs(name, verdictOf(arrange(numbers(outputs.y!, data)), reference, bound), peer);
    } catch (error) {
      return new Theirs(name, { error: (error as Error).message }, peer);
    }
  }

  async sample(): Promise<Sample | undefined> {
    try {
      return await this.#peer!.ask({ kind: 'time' });
    } catch (error) {
      this.verdict = { error: (error as Error).message };
      return undefined;
    }
  }

  async dispose(): Promise<void> {
    await this.#peer?.stop();
  }
}

function numbers({ type }: OnnxShape, data: OnnxTensor['data']): Float32Array {
  if (data instanceof BigInt64Array) return Float32Array.from(data, Number);
  return widen(type === 'float16' ? 'f16' : 'f32', data as Float32Array | Uint16Array);
}

/**
 * Samples of each contender, in turns: none of one whose result is wrong, none at all where ours, the first, is wrong.
 * A sentence where a run takes too long, unless `slow` runs are wanted.
 */
async function alternate(contenders: readonly Contender[], slow: boolean): Promise<Sample[][] | string> {
  const samples: Sample[][] = contenders.map(() => []);
  if (contenders[0]!.verdict.error) return samples;
  const right = () => [...contenders.entries()].filter(([, { verdict }]) => !verdict.error);
  for (const [, contender] of right()) {
    const seconds = ((await contender.sample())?.runMicros ?? 0) / 1e6;
    if (seconds > SLOW_SECONDS && !slow)
      return `a run of ${contender.name} takes ${seconds.toFixed(1)} s; --slow times it`;
  }
  const start = performance.now();
  const enough = () => performance.now() - start > REPEATS.millis;
  for (let i = 0; i < REPEATS.most && (i < REPEATS.least || !enough()); i++) {
    for (const [at, contender] of right()) {
      const sample = await contender.sample();
      if (sample) samples[at]!.push(sample);
    }
  }
  return samples;
}
