import { type BufferInUse, type Device, DryRunDevice, elements, tensorBytes } from '../runtime/index.ts';
import type { ModelConfig } from './checkpoint/config.ts';
import type { TensorSource } from './checkpoint/safetensors.ts';
import type { Patches } from './image/patches.ts';
import { type ImageFeatures, joinFeatures, type LoadOptions, Phi4Vision } from './phi4_vision.ts';
import type { SessionOptions } from './session.ts';

/** What is to be run on a model; every field is optional. */
export interface Workload {
  load?: LoadOptions;
  /** By default as many positions as the configuration allows, and greedy decoding. */
  session?: SessionOptions;
  /** Positions of the prompt, its pictures' included; by default all that the session holds but one. */
  promptLength?: number;
  /** The grid of patches of each picture; by default one picture of as many as the configuration allows. */
  grids?: readonly Patches['grid'][];
  /** Whether the weights that only pictures need are freed once all are encoded. */
  releaseVision?: boolean;
}

/** Bytes of a part of what lies on the device, and of tensors among it by format: q4, q8, the scales of both, a dtype. */
export interface MemoryRow {
  part: string;
  bytes: number;
  formats: Readonly<Record<string, number>>;
}

/** What a model and a workload take on an adapter, in bytes. */
export interface MemoryPlan {
  adapter: string;
  /** The adapter's largest buffer and largest binding, which everything in this plan keeps to. */
  limits: { buffer: number; binding: number };
  /** What the machine has free where the adapter is a software one; WebGPU does not say what a GPU has. */
  available: number | undefined;
  /** Positions of prompt and answer, and patches of the pictures. */
  positions: number;
  patches: number;
  weights: readonly MemoryRow[];
  /** KV cache, state, and temporaries of one step of decoding. */
  session: readonly MemoryRow[];
  /** Features of the pictures, from encoding until the prompt has run. */
  features: number;
  /** Temporaries while one picture is encoded, and while the prompt runs. */
  encoding: number;
  prefill: number;
  /** In use at most during each phase. */
  peaks: { loading: number; encoding: number; prefill: number; decoding: number };
  /** The largest of these. */
  peak: number;
}

type Labels = readonly (readonly [RegExp, string])[];

const WEIGHTS: Labels = [
  [/vision_tower/, 'vision tower'],
  [/mm_projector/, 'projector'],
  [/embed_tokens/, 'embedding'],
  [/lm_head/, 'lm_head'],
  [/^/, 'decoder layers'],
];
const SESSION: Labels = [
  [/_cache$/, 'KV cache'],
  [/^(slot \d+|params)$/, 'decode step'],
  [/^/, 'state'],
];

/**
 * What loading the tensors of a configuration and running a workload takes: the real code runs, on a device that only
 * counts. Throws CapabilityError where a weight, the cache or a temporary passes a limit of the adapter.
 */
export async function planMemory(
  device: Device,
  config: ModelConfig,
  source: TensorSource,
  workload: Workload = {},
): Promise<MemoryPlan> {
  const { session = { capacity: config.contextLimit } } = workload;
  const { grids = [{ rows: 1, cols: config.image.maxPatches }] } = workload;
  const counter = new DryRunDevice(device);
  const load = { ...workload.load, verify: false, progress: undefined };
  const loading = await watch(counter, () => Phi4Vision.fromSource(counter, config, source, load));
  const weights = rowsOf(counter.inUse(), WEIGHTS);
  const run = await dryRun(counter, loading.result, { ...workload, session, grids });
  const peaks = { loading: loading.peak, ...run.peaks };
  return {
    adapter: device.name,
    limits: { buffer: device.limits.maxBufferSize, binding: device.limits.maxStorageBufferBindingSize },
    available: device.available,
    positions: session.capacity,
    patches: grids.reduce((sum, { rows, cols }) => sum + rows * cols, 0),
    weights,
    ...run,
    peaks,
    peak: Math.max(...Object.values(peaks)),
  };
}

/** Encodes, makes a session and runs a prompt in the order of generate(). */
async function dryRun(
  counter: DryRunDevice,
  model: Phi4Vision,
  {
    session: options,
    grids,
    promptLength = options.capacity - 1,
    releaseVision,
  }: Workload & Required<Pick<Workload, 'session' | 'grids'>>,
) {
  const encoding = await watch(counter, () => encodeAll(model, grids));
  const images = encoding.result;
  if (releaseVision) model.releaseVision();
  const before = counter.inUse().length;
  const sequence = await model.session(options);
  const session = rowsOf(counter.inUse().slice(before), SESSION);
  const prefill = await watch(counter, () => sequence.prefill(new Uint32Array(promptLength), joinFeatures(images)));
  for (const image of images) image.dispose();
  return {
    session,
    features: images.reduce((sum, { features }) => sum + tensorBytes(features), 0),
    encoding: encoding.temporaries,
    prefill: prefill.temporaries,
    peaks: { encoding: encoding.peak, prefill: prefill.peak, decoding: counter.memory.current },
  };
}

/** Throws OutOfMemoryError with the parts of the plan where a software adapter's machine has less free. */
export function assertFits(device: Device, { peak, weights, session, encoding, prefill, features }: MemoryPlan): void {
  const parts = [...weights, ...session, { part: 'features', bytes: features }];
  const temporaries = Math.max(encoding, prefill);
  const listed = [...parts, { part: 'temporaries', bytes: temporaries }].map(({ part, bytes }) => `${part} ${bytes}`);
  device.assertRoom(peak, `memory (${listed.join(', ')})`);
}

async function encodeAll(model: Phi4Vision, grids: readonly Patches['grid'][]): Promise<ImageFeatures[]> {
  const images: ImageFeatures[] = [];
  for (const grid of grids) images.push(await model.encodeImage(blank(grid, model.config)));
  return images;
}

/** A picture of zeros. */
function blank(grid: Patches['grid'], { vision }: ModelConfig): Patches {
  const shape = [grid.rows * grid.cols, vision.patch ** 2 * vision.channels];
  return { grid, pixels: { shape, dtype: 'f32', data: new Float32Array(elements(shape)) } };
}

/** What is in use at most during `body`, and how much of that is free again at its end. */
async function watch<T>({ memory }: Device, body: () => Promise<T>) {
  memory.peak = memory.current;
  const result = await body();
  return { result, peak: memory.peak, temporaries: memory.peak - memory.current };
}

/** The bytes of buffers by part, and in each by format. */
function rowsOf(buffers: readonly BufferInUse[], labels: Labels): MemoryRow[] {
  const rows = new Map<string, MemoryRow & { formats: Record<string, number> }>();
  for (const { label, bytes, dtype } of buffers) {
    const part = labels.find(([pattern]) => pattern.test(label))![1];
    const format = /\.(q4|q8|scales)(?=[[+])/.exec(label)?.[1] ?? dtype;
    const row = rows.get(part) ?? { part, bytes: 0, formats: {} };
    row.bytes += bytes;
    if (format) row.formats[format] = (row.formats[format] ?? 0) + bytes;
    rows.set(part, row);
  }
  return [...rows.values()];
}
