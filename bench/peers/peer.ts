import { fileURLToPath } from 'node:url';
import { Child } from '../../runtime/child.ts';
import type { OnnxShape, OnnxTensor } from './onnx.ts';

/** What a peer's process is asked to do. */
export type Request =
  /** Takes a model and what to feed it, all of which stay on its device. */
  | {
      kind: 'load';
      model: Uint8Array;
      feeds: Record<string, OnnxTensor>;
      /** Outputs that are written into an input's memory. */
      inPlace: Record<string, string>;
      outputs: Record<string, OnnxShape>;
    }
  /** Runs the model and reads back what it computed for the first output. */
  | { kind: 'result' }
  /** Runs the model once, and waits for the idle device once. */
  | { kind: 'time' };

/** One run of a model from submit to done, and what waiting for done takes alone; microseconds of the wall clock. */
export interface Sample {
  runMicros: number;
  waitMicros: number;
}

/** What comes back for each kind of request. */
export interface Answers {
  load: null;
  result: OnnxTensor['data'];
  time: Sample;
}

/** ONNX Runtime's execution provider. */
export type Provider = 'webgpu' | 'cpu';

/** Where a peer comes from and what it runs on. */
export interface PeerOptions {
  /** Holds the package. */
  folder: string;
  provider: Provider;
  /** The adapter of a provider for GPUs. */
  adapter: string;
  /** How long it may take to answer. */
  maxSeconds: number;
}

const PROCESS = fileURLToPath(new URL('./onnxruntime_process.ts', import.meta.url));

/** Names of software adapters, and the driver manifests that the Vulkan loader finds them by. */
const SOFTWARE = [
  { adapter: /llvmpipe|lavapipe/i, manifest: '*lvp*' },
  { adapter: /swiftshader/i, manifest: '*swiftshader*' },
];

/** A model loaded into ONNX Runtime in a process of its own. */
export class Peer {
  readonly #child: Child<Answers[Request['kind']]>;
  readonly #maxSeconds: number;

  private constructor({ folder, provider, adapter, maxSeconds }: PeerOptions) {
    const env = { ...process.env, ...vulkanDrivers(adapter) };
    this.#child = new Child(PROCESS, [folder, provider], { env, serialization: 'advanced' });
    this.#maxSeconds = maxSeconds;
  }

  /** `folder` holds the package; on a GPU the provider runs on the adapter of that name. Throws what ask() throws. */
  static async load(options: PeerOptions, model: Omit<Request & { kind: 'load' }, 'kind'>): Promise<Peer> {
    const peer = new Peer(options);
    try {
      await peer.ask({ kind: 'load', ...model });
      return peer;
    } catch (error) {
      peer.stop();
      throw error;
    }
  }

  /** The answer to a request; an Error tells what the peer said, how it died, or that it took too long. */
  async ask<R extends Request>(request: R): Promise<Answers[R['kind']]> {
    const reply = await this.#child.ask(request, this.#maxSeconds);
    if ('error' in reply) throw new Error(reply.error);
    return reply.answer as Answers[R['kind']];
  }

  /** Ends the process. */
  stop(): Promise<void> {
    return this.#child.stop();
  }
}

/** The environment in which the Vulkan loader offers the driver of a software adapter alone, or no such driver. */
function vulkanDrivers(adapter: string): Record<string, string> {
  const software = SOFTWARE.find((known) => known.adapter.test(adapter));
  if (software) return { VK_LOADER_DRIVERS_SELECT: software.manifest };
  return { VK_LOADER_DRIVERS_DISABLE: SOFTWARE.map(({ manifest }) => manifest).join(',') };
}
