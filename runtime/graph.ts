import type { Device } from './device.ts';
import type { DType } from './dtype.ts';
import { CapabilityError, DaybreakError, WgslError } from './errors.ts';
import { type ForcedVariants, type Grid, type Kernel, loadKernel, type Variant } from './kernel.ts';
import { type Amount, atMost, type Scalar, type ValueOf } from './scalar.ts';
import { elements, type Shape, showShape } from './shape.ts';
import { checkTensor, rootOf, type Storage, type Tensor } from './tensor.ts';
import { type Binding, type Constants, type Param, resolveScalar } from './wgsl.ts';

/** Arithmetic operations and bytes moved to and from memory at least, as the op declares them. */
export interface Cost {
  flops: number;
  bytes: number;
}

/** One kernel call. Names of tensors and parameters are those of the .wgsl file. */
export interface Dispatch {
  kernel: Kernel;
  constants?: Constants;
  /** null for an operand that the constants switch off: some other tensor is bound in its place and never read. */
  read: Record<string, Tensor | null>;
  write: Record<string, Tensor>;
  params?: Record<string, Amount>;
  /** A function of the run's scalars where it depends on them, as the cost may be. */
  workgroups: Grid | ((value: ValueOf) => Grid);
  /** Flops and bytes that it takes at least, a function where they depend on scalars. */
  cost: Cost | ((value: ValueOf) => Cost);
}

/** A dispatch as recorded, with the scope it was recorded in; grid and cost where every scalar is as large as it may be. */
export interface DispatchStep extends Dispatch {
  kind: 'dispatch';
  scope: string;
  constants: Constants;
  workgroups: Grid;
  cost: Cost;
  /** Whether the grid depends on scalars. */
  varies: boolean;
  /** The grid of one run. */
  gridOf: (value: ValueOf) => Grid;
  /** The cost of one run. */
  costOf: (value: ValueOf) => Cost;
}

/** A copy of a tensor at this point of the list, kept for inspection. */
export interface TapStep {
  kind: 'tap';
  scope: string;
  source: Tensor;
  target: Tensor;
}

export type Step = DispatchStep | TapStep;

/** A variant that an op has taken for a problem, whose class says what the choice depends on. */
export interface Decision {
  op: string;
  problem: string;
  variant: Variant;
}

/** Options of a graph. */
export interface GraphOptions {
  /** Variants to use in place of the best known. */
  variants?: ForcedVariants;
  /** Which names tap() records copies for; without it none. */
  taps?: (name: string) => boolean;
}

/** A list of kernel calls in call order. */
export class Graph {
  readonly device: Device;
  readonly steps: Step[] = [];
  readonly inputs = new Map<string, Tensor>();
  readonly outputs = new Map<string, { tensor: Tensor; storage?: Storage }>();
  readonly taps = new Map<string, Tensor>();
  readonly scalars = new Map<string, Scalar>();
  /** Which variants were chosen, in call order. */
  readonly decisions: Decision[] = [];
  #options: GraphOptions;
  #scopes: string[] = [];
  /** Tensors of this graph that hold a value by now. */
  #defined = new Set<Tensor>();

  constructor(device: Device, options: GraphOptions = {}) {
    this.device = device;
    this.#options = options;
  }

  /** The variants that were asked for. */
  get forced(): ForcedVariants {
    return this.#options.variants ?? {};
  }

  /** A number that is given anew to every run, an integer of at most `most`. */
  scalar(name: string, most: number): Scalar {
    if (this.scalars.has(name)) throw new DaybreakError(`scalar: ${name}: expected a new name, got one that is taken`);
    const scalar = { name, most };
    this.scalars.set(name, scalar);
    return scalar;
  }

  /** A tensor whose contents are given anew to every run: all of them, or `rows` of its first dimension. */
  input(name: string, shape: Shape, dtype: DType, rows?: Scalar): Tensor {
    if (this.inputs.has(name)) throw new DaybreakError(`input: ${name}: expected a new name, got one that is taken`);
    checkTensor({ shape, dtype }, `input: ${name}`);
    const tensor = { name, shape, dtype, ...(rows && { rows }) };
    this.inputs.set(name, tensor);
    this.#defined.add(tensor);
    return tensor;
  }

  /**
   * A temporary: defined by the first dispatch that writes it, its memory reused after the last that reads it. Where `like` is
   * given, as many of its first dimension hold values as of `like`'s.
   */
  temp(name: string, shape: Shape, dtype: DType, like?: Tensor): Tensor {
    const path = this.#path(name);
    checkTensor({ shape, dtype }, `temp: ${path}`);
    return { name: path, shape, dtype, ...(like?.rows && { rows: like.rows }) };
  }

  /** The same elements under another shape; both names are one tensor to the planner. */
  reshape(tensor: Tensor, shape: Shape): Tensor {
    checkTensor({ shape, dtype: tensor.dtype }, `reshape: ${tensor.name}`);
    if (elements(shape) !== elements(tensor.shape)) {
      throw new DaybreakError(
        `reshape: ${tensor.name}: expected ${elements(tensor.shape)} elements, got ${showShape(shape)}`,
      );
    }
    return { ...tensor, shape, viewOf: rootOf(tensor) };
  }

  /**
   * Keeps a tensor as a result of every run; in the given memory, where it shall outlive the plan. Throws a DaybreakError
   * where the tensor has other memory already.
   */
  output(name: string, tensor: Tensor, storage?: Storage): void {
    const same = [...this.outputs.values()].filter((output) => rootOf(output.tensor) === rootOf(tensor));
    const known = tensor.storage ?? same.find((output) => output.storage)?.storage;
    if (storage && known && known !== storage) {
      throw new DaybreakError(`output: ${name}: expected a tensor without memory, got ${tensor.name} with some`);
    }
    if (storage) this.device.assertUsable(storage, `output: ${name}`);
    this.#expectDefined(tensor, `output: ${name}`);
    if (this.outputs.has(name)) throw new DaybreakError(`output: ${name}: expected a new name, got one that is taken`);
    this.outputs.set(name, { tensor, storage });
  }

  /** Keeps a copy of a tensor as it is at this point, where the graph's options want one of this name. */
  tap(name: string, tensor: Tensor): Tensor {
    if (!this.#options.taps?.(name)) return tensor;
    const { shape, dtype } = tensor;
    const target = { name: `tap ${name}`, shape, dtype };
    this.taps.set(name, target);
    this.steps.push({ kind: 'tap', scope: this.#path(''), source: tensor, target });
    return tensor;
  }

  /** Records the dispatches of `body` under a label: it leads their rows in profiles and their errors. */
  scope<T>(label: string, body: () => T): T {
    this.#scopes.push(label);
    try {
      return body();
    } catch (error) {
      if (error instanceof DaybreakError && !error.message.startsWith('['))
        error.message = `[${this.#scopes.join('.')}] ${error.message}`;
      throw error;
    } finally {
      this.#scopes.pop();
    }
  }

  /**
   * Appends a kernel call after checking names, dtypes and values against the .wgsl file and the device; throws
   * WgslError, CapabilityError or DaybreakError.
   */
  dispatch(call: Dispatch): void {
    const constants = call.constants ?? {};
    const { workgroups, cost } = call;
    const gridOf = typeof workgroups === 'function' ? workgroups : () => workgroups;
    const costOf = typeof cost === 'function' ? cost : () => cost;
    const resolved = { ...call, workgroups: gridOf(atMost), cost: costOf(atMost) };
    check(call, constants);
    this.#checkGrid(resolved);
    refuseAliases(call, call.kernel.name, (tensor) => tensor.storage?.buffer ?? rootOf(tensor));
    if (Object.values(constants).includes('f16') && !this.device.features.has('shader-f16')) {
      throw new CapabilityError(
        `${call.kernel.name}: f16: expected an adapter with shader-f16, got '${this.device.name}'; use f32`,
      );
    }
    for (const [name, tensor] of Object.entries(call.read)) {
      if (tensor) this.#expectDefined(tensor, `${call.kernel.name}: ${name}`);
    }
    for (const [name, tensor] of Object.entries(call.write)) {
      if (tensor.storage) this.device.assertUsable(tensor.storage, `${call.kernel.name}: ${name}`);
      this.#defined.add(rootOf(tensor));
    }
    const [scope, varies] = [this.#scopes.join('.'), asksScalars(gridOf)];
    this.steps.push({ ...resolved, kind: 'dispatch', scope, constants, varies, gridOf, costOf });
  }

  /** Throws unless the grid is made of integers that the device allows; no work is none only where a tensor is empty. */
  #checkGrid({ kernel, workgroups, read, write }: Dispatch & { workgroups: Grid }): void {
    const most = this.device.limits.maxComputeWorkgroupsPerDimension;
    const empty = [...Object.values(read), ...Object.values(write)].some((t) => t && elements(t.shape) === 0);
    const fine = (n = 1) => Number.isInteger(n) && n >= (empty ? 0 : 1) && n <= most;
    if (workgroups.every(fine)) return;
    throw new CapabilityError(
      `${kernel.name}: workgroups: expected integers from 1 to ${most}, got ${workgroups.join(' x ')}; fold large ones with linearGrid`,
    );
  }

  #expectDefined(tensor: Tensor, what: string): void {
    if (tensor.storage) this.device.assertUsable(tensor.storage, what);
    if (tensor.storage || this.#defined.has(rootOf(tensor))) return;
    throw new DaybreakError(
      `${what}: expected a tensor that this graph has written or takes as input, got ${tensor.name}`,
    );
  }

  #path(name: string): string {
    return [...this.#scopes, name].join('.');
  }
}

/** Whether a grid asks for the value of a scalar. */
function asksScalars(gridOf: (value: ValueOf) => Grid): boolean {
  let asked = false;
  gridOf((amount) => {
    asked ||= typeof amount !== 'number';
    return atMost(amount);
  });
  return asked;
}

/** Throws a DaybreakError where a dispatch reads and writes one memory, by what `memoryOf` says a tensor lies in. */
export function refuseAliases({ read, write }: Dispatch, what: string, memoryOf: (tensor: Tensor) => unknown): void {
  const written = new Map(Object.entries(write).map(([name, tensor]) => [memoryOf(tensor), name]));
  for (const [name, tensor] of Object.entries(read)) {
    const other = tensor && written.get(memoryOf(tensor));
    if (!other) continue;
    throw new DaybreakError(
      `${what}: ${name}: expected memory that this call does not write, got that of ${other} ('${tensor.name}'); write to another tensor`,
    );
  }
}

const SCALARS: Record<string, readonly DType[]> = {
  f32: ['f32'],
  f16: ['f16'],
  i32: ['i32', 'u32'],
  u32: ['u32', 'i32', 'bf16', 'f16', 'f32', 'i8'],
};

const RANGES: Record<Param['type'], { text: string; holds(value: number): boolean }> = {
  u32: { text: 'an integer from 0 to 2^32 - 1 (u32)', holds: (value) => value === value >>> 0 },
  i32: { text: 'an integer from -2^31 to 2^31 - 1 (i32)', holds: (value) => value === (value | 0) },
  f32: { text: 'a finite number (f32)', holds: (value) => Number.isFinite(Math.fround(value)) },
};

function check(call: Dispatch, constants: Constants): void {
  const { reflection } = loadKernel(call.kernel);
  const fail = (what: string, expected: string, got: string) =>
    new WgslError(`${call.kernel.name}: ${what}: expected ${expected}, got ${got}`);
  for (const name of Object.keys(constants)) {
    if (!reflection.constants.has(name) && !reflection.aliases.has(name)) {
      throw fail('constants', [...reflection.constants.keys(), ...reflection.aliases.keys()].join(', '), name);
    }
  }
  const { bindings, params } = reflection;
  const bound = (access: Binding['access']) => bindings.filter((binding) => binding.access === access);
  sameNames('read tensors', bound('read'), call.read, fail);
  sameNames('written tensors', bound('read_write'), call.write, fail);
  sameNames('parameters', params, call.params ?? {}, fail);
  for (const { name, type } of params) {
    const value = atMost(call.params![name]!);
    if (!RANGES[type].holds(value)) throw fail(`parameter ${name}`, RANGES[type].text, String(value));
  }
  for (const binding of reflection.bindings) {
    const tensor = call.read[binding.name] ?? call.write[binding.name];
    const scalar = resolveScalar(binding, reflection, constants);
    if (tensor && !SCALARS[scalar]?.includes(tensor.dtype))
      throw fail(`${binding.name} (${tensor.name})`, scalar, tensor.dtype);
  }
}

function sameNames(
  what: string,
  declared: readonly { name: string }[],
  given: object,
  fail: (what: string, expected: string, got: string) => Error,
): void {
  const names = Object.keys(given);
  if (names.length === declared.length && declared.every(({ name }) => name in given)) return;
  const list = (all: string[]) => all.sort().join(', ') || 'none';
  throw fail(what, list(declared.map(({ name }) => name)), list(names));
}
