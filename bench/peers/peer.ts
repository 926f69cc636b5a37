import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
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

/** What a peer's process sends back. */
export type Reply = { answer: Answers[Request['kind']] } | { error: string };

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

/** A model loaded into ONNX Runtime in a process of its own: what it crashes, leaks or caches is gone with it. */
export class Peer {
  readonly #child: ChildProcess;
  readonly #maxSeconds: number;

  private constructor(child: ChildProcess, maxSeconds: number) {
    this.#child = child;
    this.#maxSeconds = maxSeconds;
  }

  /** `folder` holds the package; on a GPU the provider runs on the adapter of that name. Throws what ask() throws. */
  static async load(
    { folder, provider, adapter, maxSeconds }: PeerOptions,
    model: Omit<Request & { kind: 'load' }, 'kind'>,
  ): Promise<Peer> {
    const env = { ...process.env, ...vulkanDrivers(adapter) };
    const stdio = ['ignore', 'ignore', 'ignore', 'ipc'] as const;
    const child = fork(PROCESS, [folder, provider], { env, serialization: 'advanced', stdio: [...stdio] });
    const peer = new Peer(child, maxSeconds);
    try {
      await peer.ask({ kind: 'load', ...model });
      return peer;
    } catch (error) {
      peer.stop();
      throw error;
    }
  }

  /** The answer to a request; an Error tells what the peer said, how it died, or that it took too long. */
  ask<R extends Request>(request: R): Promise<Answers[R['kind']]> {
    const child = this.#child;
    return new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        child.off('message', onReply).off('exit', onExit).off('error', onError);
      };
      const fail = (reason: string) => {
        settle();
        reject(new Error(reason));
      };
      const onReply = (reply: Reply) => {
        if ('error' in reply) return fail(reply.error);
        settle();
        resolve(reply.answer as Answers[R['kind']]);
      };
      const onExit = (code: number | null, signal: string | null) => fail(`its process ended with ${signal ?? code}`);
      const onError = (error: Error) => fail(error.message);
      const timer = setTimeout(() => {
        fail(`no answer within ${this.#maxSeconds} s`);
        this.stop();
      }, this.#maxSeconds * 1000);
      child.on('message', onReply).on('exit', onExit).on('error', onError);
      child.send(request, (error) => error && onError(error));
    });
  }

  /** Ends the process. */
  stop(): void {
    this.#child.kill('SIGKILL');
  }
}

/** The environment in which the Vulkan loader offers the driver of a software adapter alone, or no such driver. */
function vulkanDrivers(adapter: string): Record<string, string> {
  const software = SOFTWARE.find((known) => known.adapter.test(adapter));
  if (software) return { VK_LOADER_DRIVERS_SELECT: software.manifest };
  return { VK_LOADER_DRIVERS_DISABLE: SOFTWARE.map(({ manifest }) => manifest).join(',') };
}
