// Runs ONNX Runtime in a process of its own, for bench/peers/peer.ts: FOLDER_OF_THE_PACKAGE webgpu|cpu.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { serve } from '../../runtime/child.ts';
import { DaybreakError } from '../../runtime/errors.ts';
import { timed } from '../measure.ts';
import { type OnnxGraph, type OnnxShape, type OnnxTensor, onnxModel } from './onnx.ts';
import type { Answers, Request } from './peer.ts';

/** The part of onnxruntime-node that is used; the package is no dependency, so its types are not at hand. */
interface OnnxRuntime {
  Tensor: new (type: string, data: OnnxTensor['data'], dims: readonly number[]) => Value;
  InferenceSession: { create(model: Uint8Array, options: object): Promise<Session> };
}
interface Value {
  readonly type: OnnxShape['type'];
  readonly dims: readonly number[];
  readonly data: OnnxTensor['data'];
  dispose(): void;
}
type Values = Record<string, Value>;
interface Session {
  run(feeds: Values, fetches: Record<string, Value | null>): Promise<Values>;
}

const [folder, provider] = process.argv.slice(2) as [string, 'webgpu' | 'cpu'];
const onGpu = provider === 'webgpu';
const SILENT = { logSeverityLevel: 4 };
/** No operator may run on the CPU instead. */
const ONLY_THIS_PROVIDER = { extra: { session: { disable_cpu_ep_fallback: '1' } } };
const ort: OnnxRuntime = createRequire(join(folder, 'package.json'))('onnxruntime-node');

/** A session whose outputs stay on the GPU or come back to the host, and what else ONNX Runtime is to know. */
function createSession(model: Uint8Array, outputs: 'gpu-buffer' | 'cpu', options: object = {}): Promise<Session> {
  const location = onGpu && { preferredOutputLocation: outputs };
  return ort.InferenceSession.create(model, { executionProviders: [provider], ...SILENT, ...location, ...options });
}

/** A session that gives back what it is given. */
function createIdentity({ type, dims }: OnnxShape, outputs: 'gpu-buffer' | 'cpu'): Promise<Session> {
  const shape = { type, dims };
  const graph: OnnxGraph = {
    nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
    constants: {},
    inputs: { x: shape },
    outputs: { y: shape },
  };
  return createSession(onnxModel(graph), outputs);
}

/** Sessions are kept as long as the process, for a value on the GPU dies with the session that computed it. */
const kept: Session[] = [];

/** A value passed through a session of its own: onto the GPU, or from it. */
async function moved(value: Value, to: 'gpu-buffer' | 'cpu'): Promise<Value> {
  const identity = await createIdentity(value, to);
  kept.push(identity);
  const { y } = await identity.run({ x: value }, { y: null });
  return y!;
}

/** A tensor where the provider computes. */
function place({ type, data, dims }: OnnxTensor): Value | Promise<Value> {
  const value = new ort.Tensor(type, data, dims);
  return onGpu ? moved(value, 'gpu-buffer') : value;
}

/** A loaded model with what it reads, and on the CPU what it writes, in place. */
class Subject {
  #session: Session;
  #feeds: Values;
  #fetches: Record<string, Value | null>;
  #first: string;
  /** Reads one number back, which is there once all work before it is done. */
  #reader: Session;
  #number: Value;

  private constructor(session: Session, feeds: Values, fetches: Record<string, Value | null>, wait: [Session, Value]) {
    this.#session = session;
    this.#feeds = feeds;
    this.#fetches = fetches;
    this.#first = Object.keys(fetches)[0]!;
    [this.#reader, this.#number] = wait;
  }

  static async load({ model, feeds, inPlace, outputs }: Request & { kind: 'load' }): Promise<Subject> {
    const session = await createSession(model, 'gpu-buffer', onGpu ? ONLY_THIS_PROVIDER : {});
    const placed: Values = {};
    for (const [name, tensor] of Object.entries(feeds)) placed[name] = await place(tensor);
    const written = ([name, shape]: [string, OnnxShape]): [string, Value | null] => {
      if (inPlace[name]) return [name, placed[inPlace[name]]!];
      return [name, onGpu ? null : new ort.Tensor(shape.type, emptyData(shape), shape.dims)];
    };
    const fetches = Object.fromEntries(Object.entries(outputs).map(written));
    const one = { type: 'float32', dims: [1], data: Float32Array.of(1) } as const;
    const wait: [Session, Value] = [await createIdentity(one, 'cpu'), await place(one)];
    return new Subject(session, placed, fetches, wait);
  }

  async result(): Promise<OnnxTensor['data']> {
    const value = (await this.#run())[this.#first]!;
    const { data } = onGpu ? await moved(value, 'cpu') : value;
    if (onGpu) value.dispose();
    return data.constructor.name === 'Float16Array' ? new Uint16Array(data.buffer, data.byteOffset, data.length) : data;
  }

  async time(): Promise<Answers['time']> {
    const { result, millis } = await timed(async () => {
      const outputs = await this.#run();
      await this.#wait();
      return outputs;
    });
    if (onGpu) result[this.#first]!.dispose();
    const wait = await timed(() => this.#wait());
    return { runMicros: millis * 1e3, waitMicros: onGpu ? wait.millis * 1e3 : 0 };
  }

  #run(): Promise<Values> {
    return this.#session.run(this.#feeds, this.#fetches);
  }

  /** The GPU computes after run() has returned, the CPU before. */
  async #wait(): Promise<void> {
    if (onGpu) await this.#reader.run({ x: this.#number }, { y: null });
  }
}

function emptyData({ type, dims }: OnnxShape): OnnxTensor['data'] {
  const length = dims.reduce((product, dim) => product * dim, 1);
  if (type === 'float32') return new Float32Array(length);
  if (type === 'float16') return new Uint16Array(length);
  if (type === 'int64') return new BigInt64Array(length);
  return type === 'int32' ? new Int32Array(length) : new Uint8Array(length);
}

let subject: Subject | undefined;

async function answer(request: Request): Promise<Answers[Request['kind']]> {
  if (request.kind === 'load') {
    subject = await Subject.load(request);
    return null;
  }
  return request.kind === 'time' ? subject!.time() : subject!.result();
}

serve((request: Request) =>
  answer(request).catch((error: Error) => {
    throw new DaybreakError(error.message.replace(/\s+/g, ' ').slice(0, 300));
  }),
);
