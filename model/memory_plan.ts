import { type BufferInUse, type Device, DryRunDevice, elements } from '../runtime/index.ts';
import type { ModelConfig } from './checkpoint/config.ts';
import type { TensorSource } from './checkpoint/safetensors.ts';
import type { Patches } from './image/patches.ts';
import { type LoadOptions, Phi4Vision, PromptPicture } from './phi4_vision.ts';

/** What is to be run on a model; every field is optional. */
export interface Workload {
  load?: LoadOptions;
  /** Whether tokens are drawn; greedy unless told. */
  sampled?: boolean;
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
  /** Positions of all sequences together, and patches of the pictures. */
  positions: number;
  patches: number;
  weights: readonly MemoryRow[];
  /** The plan that encodes pictures, and the pictures kept and in use. */
  encoder: readonly MemoryRow[];
  /** KV cache, state, and the plans of a chunk of a prompt and of a step of decoding. */
  decoder: readonly MemoryRow[];
  /** In use at most during each phase. */
  peaks: { loading: number; encoding: number; answering: number };
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
const ENCODER: Labels = [
  [/features$/, 'pictures'],
  [/^/, 'encoding'],
];
const PROMPT: Labels = [
  [/_pool$|^page$/, 'KV cache'],
  [/^(slot \d+|params|ids|places|tables)$/, 'prompt chunk'],
  [/^/, 'state'],
];
const STEP: Labels = [[/^/, 'decode step']];

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
  const { grids = [{ rows: 1, cols: config.image.maxPatches }], sampled = false, releaseVision = false } = workload;
  const counter = new DryRunDevice(device);
  const load = { ...workload.load, verify: false, progress: undefined };
  const loading = await watch(counter, () => Phi4Vision.fromSource(counter, config, source, load), WEIGHTS);
  const model = loading.result;
  const pictures = grids.map((grid) => new PromptPicture(blank(grid, config)));
  const encoding = await watch(counter, () => (grids.length > 0 ? model.encodeImages(pictures) : undefined), ENCODER);
  if (releaseVision) model.releaseVision();
  const prompt = await watch(counter, async () => (await model.session()).prefill(new Uint32Array(1)), PROMPT);
  const step = await watch(counter, () => model.engine.decodePlans(sampled), STEP);
  const peaks = { loading: loading.peak, encoding: encoding.peak, answering: Math.max(prompt.peak, step.peak) };
  return {
    adapter: device.name,
    limits: { buffer: device.limits.maxBufferSize, binding: device.limits.maxStorageBufferBindingSize },
    available: device.available,
    positions: model.engine.capacity,
    patches: grids.reduce((sum, { rows, cols }) => sum + rows * cols, 0),
    weights: loading.rows,
    encoder: encoding.rows,
    decoder: [...prompt.rows, ...step.rows],
    peaks,
    peak: Math.max(...Object.values(peaks)),
  };
}

/** Throws OutOfMemoryError with the parts of the plan where a software adapter's machine has less free. */
export function assertFits(device: Device, { peak, weights, encoder, decoder }: MemoryPlan): void {
  const listed = [...weights, ...encoder, ...decoder].map(({ part, bytes }) => `${part} ${bytes}`);
  device.assertRoom(peak, `memory (${listed.join(', ')})`);
}

/** A picture of zeros. */
function blank(grid: Patches['grid'], { vision }: ModelConfig): Patches {
  const shape = [grid.rows * grid.cols, vision.patch ** 2 * vision.channels];
  const pixels = { shape, dtype: 'f32', data: new Float32Array(elements(shape)) } as const;
  return { grid, pixels, digest: `${grid.rows} ${grid.cols} zeros` };
}

/** What is in use at most during `body`, and what came into use by its end, by part. */
async function watch<T>(counter: DryRunDevice, body: () => T, labels: Labels) {
  const { memory } = counter;
  const before = counter.inUse().length;
  memory.peak = memory.current;
  const result = await body();
  const fresh = counter.inUse().slice(before);
  return { result, peak: memory.peak, rows: rowsOf(fresh, labels) };
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
