import type { Device } from './device.ts';
import { DaybreakError } from './errors.ts';
import { type Cost, type DispatchStep, type Graph, refuseAliases, type TapStep } from './graph.ts';
import type { Grid } from './kernel.ts';
import { assignSlots, lifetimes, touched } from './liveness.ts';
import { Owned } from './memory.ts';
import { type PackedParams, packParams } from './params.ts';
import type { Pipeline, Recorded } from './pipeline.ts';
import type { PassTimes, ProfileRow } from './recorder.ts';
import { type Amount, atMost, type Scalar, type ValueOf } from './scalar.ts';
import { roundUp, sameShape, showShape } from './shape.ts';
import { checkHost, type HostTensor, rootOf, type Storage, showTensor, type Tensor, tensorBytes } from './tensor.ts';
import { Timeline } from './timeline.ts';
import { PARAMS_BINDING } from './wgsl.ts';

/** Bytes that a plan holds beside weights: temporaries as allocated, and what they would take without reuse. */
export interface MemoryReport {
  slots: number;
  temporaries: number;
  withoutReuse: number;
  inputsAndOutputs: number;
}

/** How to plan a graph. */
export interface PlanOptions {
  /** Bytes behind every buffer the plan owns, filled with NaN like the rest and bound with it; see Plan.damage. */
  guardBytes?: number;
}

/** A dispatch, ready to be encoded. */
interface Ready {
  readonly step: DispatchStep;
  /** Sets the pipeline, its tensors and its parameters. */
  readonly bound: Recorded;
  /** Workgroups in the run that was set up last. */
  x: number;
  y: number;
  z: number;
}

/** The parameters of all steps: on the host, and the buffer of the device that holds them. */
interface Parameters {
  packed: PackedParams;
  buffer: GPUBuffer;
}

/** A graph with memory, pipelines and bind groups: running it allocates nothing. */
export class Plan {
  readonly memory: MemoryReport;
  readonly outputs: Readonly<Record<string, Tensor>>;
  readonly taps: Readonly<Record<string, Tensor>>;
  #device: Device;
  #inputs: ReadonlyMap<string, Tensor>;
  #ready: (Ready | TapStep)[];
  /** Those of them whose grid depends on scalars. */
  #varying: Ready[];
  #scalars: ReadonlyMap<string, Scalar>;
  #values = new Map<Scalar, number>();
  #params: Parameters;
  #storages: Map<Tensor, Storage>;
  /** Memory that the steps use and others may free. */
  #borrowed: Storage[];
  #owned: Owned;
  #guarded: ReadonlySet<Storage>;
  #guardBytes: number;
  #disposed = false;

  private constructor(graph: Graph, memory: Memory, ready: (Ready | TapStep)[], params: Parameters, owned: Owned) {
    this.#device = graph.device;
    this.#inputs = graph.inputs;
    this.#scalars = graph.scalars;
    this.#params = params;
    this.#ready = ready;
    this.#varying = ready.filter((item) => 'step' in item).filter(({ step }) => step.varies);
    this.#storages = memory.storages;
    this.#borrowed = borrowed(graph);
    this.#owned = owned;
    this.#guarded = memory.guarded;
    this.#guardBytes = memory.guardBytes;
    this.memory = memory.report;
    this.outputs = bindAll(
      [...graph.outputs].map(([name, { tensor }]) => [name, tensor]),
      memory.storages,
    );
    this.taps = bindAll([...graph.taps], memory.storages);
  }

  /** Assigns memory, compiles all pipelines at once and builds every bind group once. */
  static async create(graph: Graph, options: PlanOptions = {}): Promise<Plan> {
    const owned = new Owned(graph.device);
    return owned.orFree(() => Plan.#create(graph, options, owned));
  }

  static async #create(graph: Graph, options: PlanOptions, owned: Owned): Promise<Plan> {
    const { device, steps } = graph;
    const dispatches = steps.filter((step) => step.kind === 'dispatch');
    const pipelines = await Promise.all(dispatches.map((step) => device.pipeline(step.kernel, step.constants)));
    await device.roomForBindGroups(dispatches.length + 1);
    const memory = allocate(graph, options.guardBytes ?? 0, owned);
    const packed = packParams(dispatches, device.limits.minUniformBufferOffsetAlignment);
    const buffer = owned.keep(device.params(packed.bytes));
    let next = 0;
    const ready = steps.map((step): Ready | TapStep => {
      if (step.kind === 'tap') return step;
      const [pipeline, offset] = [pipelines[next]!, packed.offsets[next++]!];
      const bound = bind(device, step, pipeline, memory, { buffer, offset, size: packed.window });
      return setGrid({ step, bound, x: 0, y: 0, z: 0 }, step.workgroups);
    });
    return new Plan(graph, memory, ready, { packed, buffer }, owned);
  }

  /** Sets the scalars, writes the inputs, runs every step and returns the outputs, which stay on the device until the next run. */
  run(inputs: Record<string, HostTensor> = {}, scalars: Record<string, number> = {}): Readonly<Record<string, Tensor>> {
    this.setScalars(scalars);
    this.setInputs(inputs);
    this.#device.run('run', (encoder) => this.encode(encoder));
    return this.outputs;
  }

  /** Sets all scalars of the runs that follow; each must be given, as an integer within its bounds. */
  setScalars(scalars: Record<string, number>): void {
    this.#assertInUse('run');
    if (this.#scalars.size === 0) return;
    for (const [name, scalar] of this.#scalars) {
      const value = scalars[name];
      if (value === undefined || !Number.isInteger(value) || value < 0 || value > scalar.most) {
        throw new DaybreakError(`run: scalar ${name}: expected an integer from 0 to ${scalar.most}, got ${value}`);
      }
      this.#values.set(scalar, value);
    }
    for (const item of this.#varying) setGrid(item, item.step.gridOf(this.#valueOf));
    const { packed, buffer } = this.#params;
    if (!packed.fill(this.#valueOf)) return;
    this.#device.write({ buffer, offset: 0, bytes: buffer.size }, packed.bytes);
  }

  /** Writes the contents of all inputs; each must be given with its dtype and its shape, of which the scalars may cut rows off. */
  setInputs(inputs: Record<string, HostTensor>): void {
    this.#assertInUse('run');
    for (const [name, tensor] of this.#inputs) {
      const host = inputs[name];
      const shape = tensor.rows ? [this.#valueOf(tensor.rows), ...tensor.shape.slice(1)] : tensor.shape;
      if (!host || !sameShape(host.shape, shape) || host.dtype !== tensor.dtype) {
        const got = host ? showTensor(host) : 'nothing';
        throw new DaybreakError(
          `run: input ${name}: expected ${showTensor({ dtype: tensor.dtype, shape })}, got ${got}`,
        );
      }
      checkHost(host, `run: input ${name}`);
      this.#device.write(this.#storages.get(tensor)!, host.data);
    }
  }

  /** Appends its steps to a command encoder, or those from number `from` to `to` - 1. */
  encode(encoder: GPUCommandEncoder, from = 0, to = this.#ready.length): void {
    this.#assertInUse('encode');
    const { timeline } = this.#device;
    const part = from === 0 && to === this.#ready.length ? this.#ready : this.#ready.slice(from, to);
    if (timeline) timeline.encode(encoder, this.#named(part), (times) => this.#encode(encoder, part, times));
    else this.#encode(encoder, part);
  }

  /** The declared work of each step in the run that was set up last. */
  costs(): Cost[] {
    return this.#ready.map((item) => ('step' in item ? item.step.costOf(this.#valueOf) : { flops: 0, bytes: 0 }));
  }

  /** GPU microseconds, flops and bytes of each dispatch of one run. */
  async profile(inputs: Record<string, HostTensor> = {}, scalars: Record<string, number> = {}): Promise<ProfileRow[]> {
    return (await Timeline.record(this.#device, () => this.run(inputs, scalars))).rows;
  }

  /** One line per step: scope, kernel, workgroups and the tensors with their shapes. */
  describe(): string {
    const show = ([name, tensor]: [string, Tensor | null]) =>
      tensor ? `${name}=${tensor.dtype}${showShape(tensor.shape)}` : `${name}=off`;
    return this.#ready
      .map((item) => {
        if (!('step' in item)) return `${item.scope} ${item.target.name}`;
        const { scope, kernel, read, write } = item.step;
        const tensors = [...Object.entries(read), ...Object.entries(write)].map(show).join(' ');
        return `${scope} ${kernel.name} ${item.step.gridOf(this.#valueOf).join('x')} ${tensors}`;
      })
      .join('\n');
  }

  /** Names of the plan's tensors behind which a kernel has written; needs PlanOptions.guardBytes. */
  async damage(): Promise<string[]> {
    this.#assertInUse('damage');
    const damaged: string[] = [];
    for (const [tensor, storage] of this.#storages) {
      if (!this.#guarded.has(storage)) continue;
      const start = storage.offset + roundUp(tensorBytes(tensor), 4);
      const guard = await this.#device.read(storage.buffer, start, this.#guardBytes);
      if (new Uint32Array(guard.buffer).some((word) => word !== NAN_WORD)) damaged.push(tensor.name);
    }
    return damaged;
  }

  /** Gives the plan's buffers back; outputs are gone with it. */
  dispose(): void {
    this.#disposed = true;
    this.#ready = [];
    this.#varying = [];
    this.#owned.free();
  }

  /** Throws a DaybreakError once the plan is disposed, or memory that it was given is freed. */
  #assertInUse(op: string): void {
    if (this.#disposed)
      throw new DaybreakError(`${op}: plan: expected one that is in use, got one that was disposed; create it again`);
    for (const storage of this.#borrowed) this.#device.assertUsable(storage, op);
  }

  #named(part: readonly (Ready | TapStep)[]) {
    const steps = part.flatMap((item) => ('step' in item ? [item.step] : []));
    return steps.map(({ scope, kernel, costOf }) => ({ scope, kernel: kernel.name, ...costOf(this.#valueOf) }));
  }

  /** An amount in the run that was set up last; scalars that were never set are at their largest. */
  #valueOf: ValueOf = (amount: Amount) => {
    return typeof amount === 'number' ? amount : (this.#values.get(amount) ?? atMost(amount));
  };

  /** All dispatches in one compute pass unless taps interrupt it, or each in a pass of its own where they are timed. */
  #encode(encoder: GPUCommandEncoder, part: readonly (Ready | TapStep)[], times?: PassTimes): void {
    let pass: GPUComputePassEncoder | undefined;
    let index = 0;
    for (const item of part) {
      if ('step' in item) {
        pass ??= encoder.beginComputePass(times && { timestampWrites: times.writes(index++) });
        record(pass, item);
        if (!times) continue;
      }
      pass?.end();
      pass = undefined;
      if (!('step' in item)) this.#copyTap(encoder, item);
    }
    pass?.end();
  }

  #copyTap(encoder: GPUCommandEncoder, { source, target }: TapStep): void {
    const from = storageOf(source, this.#storages)!;
    const to = this.#storages.get(target)!;
    const bytes = roundUp(tensorBytes(source), 4);
    encoder.copyBufferToBuffer(from.buffer, from.offset, to.buffer, to.offset, bytes);
  }
}

interface Memory {
  storages: Map<Tensor, Storage>;
  /** Those with guard bytes behind them: all but what outputs brought along. */
  guarded: Set<Storage>;
  report: MemoryReport;
  guardBytes: number;
}

const NAN_WORD = 0x7fc0dead;

function allocate(graph: Graph, guardBytes: number, owned: Owned): Memory {
  const { device } = graph;
  const storages = new Map<Tensor, Storage>();
  const guarded = new Set<Storage>();
  const allocate = (bytes: number, label: string, tensors: Tensor[]) => {
    const size = roundUp(Math.max(bytes, 16), 16) + guardBytes;
    const storage = owned.keep(device.alloc(size, label));
    guarded.add(storage);
    if (guardBytes > 0) device.write(storage, new Uint32Array(size / 4).fill(NAN_WORD));
    for (const tensor of tensors) storages.set(tensor, storage);
    return bytes;
  };
  for (const { tensor, storage } of graph.outputs.values()) if (storage) storages.set(rootOf(tensor), storage);
  const outputs = [...graph.outputs.values()].map(({ tensor }) => tensor);
  const kept = [...graph.inputs.values(), ...outputs, ...graph.taps.values()];
  const persistent = [...new Set(kept.map(rootOf))].filter((tensor) => !tensor.storage && !storages.has(tensor));
  const temporaries = lifetimes(graph);
  const slots = guardBytes > 0 ? temporaries.map(alone) : assignSlots(temporaries);
  const sum = (sizes: number[]) => sizes.reduce((a, b) => a + b, 0);
  const report = {
    slots: slots.length,
    temporaries: sum(slots.map((slot, i) => allocate(slot.bytes, `slot ${i}`, slot.tensors))),
    withoutReuse: sum(temporaries.map(({ tensor }) => tensorBytes(tensor))),
    inputsAndOutputs: sum(persistent.map((tensor) => allocate(tensorBytes(tensor), tensor.name, [tensor]))),
  };
  return { storages, guarded, report, guardBytes };
}

function borrowed({ steps, outputs }: Graph): Storage[] {
  const tensors = [...steps.flatMap(touched), ...[...outputs.values()].map(({ tensor }) => tensor)];
  const given = [...tensors, ...outputs.values()].flatMap(({ storage }) => storage ?? []);
  return [...new Map(given.map((storage) => [storage.buffer, storage])).values()];
}

/** A slot of its own: with guards, nothing may write where another tensor's guard is checked. */
function alone({ tensor }: { tensor: Tensor }) {
  return { bytes: tensorBytes(tensor), tensors: [tensor] };
}

function bindAll(tensors: [string, Tensor][], storages: Map<Tensor, Storage>): Record<string, Tensor> {
  return Object.fromEntries(
    tensors.map(([name, tensor]) => [name, { ...tensor, viewOf: undefined, storage: storageOf(tensor, storages)! }]),
  );
}

/** Where a tensor's elements lie, once the plan has placed it. */
function storageOf(tensor: Tensor, storages: Map<Tensor, Storage>): Storage | undefined {
  return tensor.storage ?? storages.get(rootOf(tensor));
}

function bind(
  device: Device,
  step: DispatchStep,
  pipeline: Pipeline,
  memory: Memory,
  params: GPUBufferBinding,
): Recorded {
  const label = `${step.scope} ${step.kernel.name}`;
  refuseAliases(step, label, (tensor) => storageOf(tensor, memory.storages)?.buffer);
  const standIn = Object.values(step.read).find((tensor) => tensor !== null);
  const entries = pipeline.reflection.bindings.map(({ name, index }) => {
    const tensor = step.read[name] ?? step.write[name] ?? standIn!;
    return { binding: index, resource: resource(device, label, tensor, memory) };
  });
  return pipeline.bind(label, [...entries, { binding: PARAMS_BINDING, resource: params }]);
}

function resource(device: Device, label: string, tensor: Tensor, memory: Memory): GPUBufferBinding {
  const storage = storageOf(tensor, memory.storages);
  if (!storage)
    throw new DaybreakError(`${label}: ${tensor.name}: expected a tensor that an earlier step wrote, got none`);
  device.assertUsable(storage, `${label}: ${tensor.name}`);
  const guard = memory.guarded.has(storage) ? memory.guardBytes : 0;
  const size = roundUp(Math.max(tensorBytes(tensor), 16), 16) + guard;
  if (size > device.limits.maxStorageBufferBindingSize) {
    throw new DaybreakError(
      `${label}: ${tensor.name}: expected at most ${device.limits.maxStorageBufferBindingSize} bytes in one binding, got ${size}`,
    );
  }
  return { buffer: storage.buffer, offset: storage.offset, size };
}

function setGrid(item: Ready, [x, y = 1, z = 1]: Grid): Ready {
  return Object.assign(item, { x, y, z });
}

/** Three calls: each costs the host about 0.8 microseconds, and a call without y and z less. */
function record(pass: GPUComputePassEncoder, { bound, x, y, z }: Ready): void {
  if (x * y * z === 0) return;
  bound(pass);
  if (y * z === 1) pass.dispatchWorkgroups(x);
  else pass.dispatchWorkgroups(x, y, z);
}
