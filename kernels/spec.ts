import {
  type DType,
  elements,
  type Graph,
  type HostTensor,
  hostArray,
  narrow,
  type Shape,
  type Tensor,
  type Variant,
} from '../runtime/index.ts';

/** One set of sizes and options of an op; `quick` marks those that also run where pipelines compile slowly. */
export type Case = Record<string, number | boolean | string> & { quick?: boolean };

/** The error allowed against the float64 reference: |got - ref| <= atol + rtol |ref| everywhere. */
export interface Tolerance {
  atol: number;
  rtol: number;
}

/** The one declaration of an op that drives its tests, its fuzz, its compile check, its bench and its catalogue row. */
export interface OpSpec<C extends Case = Case> {
  /** The op's folder name. */
  name: string;
  /** The formula, in one line. */
  formula: string;
  variants: readonly Variant[];
  /** Whether a variant takes part in a case; without it every variant does. */
  applies?(variant: Variant, c: C): boolean;
  /** Whether a case needs shader-f16; without it, where a value of the case is 'f16'. */
  needsF16?(c: C): boolean;
  /** Sweep: 1, tile - 1, tile, tile + 1, a prime and the model's own size in each tiled dimension, each dtype. */
  cases: readonly C[];
  /** The model's own shapes, for timing. */
  bench: readonly C[];
  /** The work of a case, in which bench shapes can be too large for a CPU; without it none is. */
  flops?(c: C): number;
  /** Inputs that a model reads once per run, as weights: runs that are timed take turns with copies of them. */
  weights?: readonly string[];
  /** Values for a case, by the names that `record` and `reference` know them by. */
  inputs(c: C, random: Random): Record<string, HostTensor>;
  /** Records the op on device tensors of the inputs' names; returns its result. */
  record(g: Graph, tensors: Record<string, Tensor>, c: C): Tensor;
  /** The result in float64, from the same inputs as the variant of this name takes them, which depends on its matrix unit alone; without one exactly as they are. */
  reference(inputs: Record<string, HostTensor>, c: C, variant?: string): Float64Array;
  /** The error allowed, to the variant of this name where it rounds more than others do. */
  tolerance(c: C, variant?: string): Tolerance;
}

/** A case as the text `k=v,...` that names it in reports. */
export function showCase(c: Case): string {
  return Object.entries(c)
    .filter(([key]) => key !== 'quick')
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}

/** A seeded generator: the same seed gives the same numbers everywhere (xorshift128, Marsaglia 2003). */
export class Random {
  #state: Uint32Array;

  constructor(seed: number) {
    this.#state = Uint32Array.of(seed ^ 0x9e3779b9, 0x243f6a88, 0xb7e15162, 0xdeadbeef);
    for (let i = 0; i < 16; i++) this.word();
  }

  /** 32 random bits. */
  word(): number {
    const s = this.#state;
    const t = s[0]! ^ (s[0]! << 11);
    s[0] = s[1]!;
    s[1] = s[2]!;
    s[2] = s[3]!;
    s[3] = s[3]! ^ (s[3]! >>> 19) ^ t ^ (t >>> 8);
    return s[3]!;
  }

  /** Uniform in [0, 1). */
  uniform(): number {
    return this.word() / 2 ** 32;
  }

  /** Uniform integer in [0, below). */
  below(limit: number): number {
    return Math.floor(this.uniform() * limit);
  }

  /** Standard normal (Box and Muller 1958). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Normal values of the given scale, rounded to a floating point dtype; large tensors repeat a block of 65537. */
  tensor(shape: Shape, dtype: 'f32' | 'f16' | 'bf16' = 'f32', scale = 1): HostTensor {
    const count = elements(shape);
    const block = Float32Array.from({ length: Math.min(count, 65537) }, () => this.normal() * scale);
    const narrowed = narrow(dtype, block);
    const data = hostArray(dtype, count);
    for (let at = 0; at < count; at += block.length) data.set(narrowed.subarray(0, count - at), at);
    return { shape, dtype, data };
  }

  /** Uniform integers in [0, below). */
  integers(shape: Shape, limit: number, dtype: 'u32' | 'i32' = 'u32'): HostTensor {
    const data = hostArray(dtype, elements(shape));
    for (let i = 0; i < data.length; i++) data[i] = this.below(limit);
    return { shape, dtype, data };
  }
}

/** Whether the variant of this name multiplies on matrix units. */
export function onMatrixUnits(variants: readonly Variant[], variant: string | undefined): boolean {
  return variants.some(({ name, kernel }) => kernel.matrix && name === variant);
}

/** The unit roundoff of an activation dtype, to which a result stored in it is exact. */
export function roundoff(dtype: DType): number {
  return dtype === 'f16' ? 2 ** -11 : 2 ** -24;
}

/** Makes tensors of zeros, for where only their shapes count. */
export class Zeros extends Random {
  constructor() {
    super(1);
  }

  override tensor(shape: Shape, dtype: DType = 'f32'): HostTensor {
    return { shape, dtype, data: hostArray(dtype, elements(shape)) };
  }

  override integers(shape: Shape, _limit: number, dtype: DType = 'u32'): HostTensor {
    return this.tensor(shape, dtype);
  }
}
