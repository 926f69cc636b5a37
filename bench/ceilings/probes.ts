import {
  type Constants,
  type Cost,
  canRun,
  type Device,
  type Dispatch,
  type Feature,
  type Graph,
  type HostArray,
  type Kernel,
  matrixUnit,
  type Tensor,
  unitConstants,
} from '../../runtime/index.ts';

/** The ceilings, and each one's unit in reports. */
export const UNITS = {
  copyGBs: 'GB/s copy',
  readGBs: 'GB/s read',
  f32Gflops: 'GFLOP/s f32',
  f16Gflops: 'GFLOP/s f16',
  int8Gops: 'GOP/s int8 dots',
  dispatchMicros: 'us/dispatch',
  passMicros: 'us/timed pass',
};
export type Quantity = keyof typeof UNITS;
export const QUANTITIES = Object.keys(UNITS) as Quantity[];

/** Whether less of it is better. */
export function isTime(quantity: Quantity): boolean {
  return quantity.endsWith('Micros');
}

/** The best of what was measured of a ceiling; NaN of nothing. */
export function bestOf(quantity: Quantity, values: readonly number[]): number {
  if (values.length === 0) return Number.NaN;
  return (isTime(quantity) ? Math.min : Math.max)(...values);
}

/** One kernel, with its constants, that may set a ceiling. */
export interface Probe {
  quantity: Quantity;
  kernel: Kernel;
  constants: Constants;
  /** Bytes or operations of one dispatch; 1 where dispatches themselves are counted. */
  work: number;
  /** Dispatches of one run; without it as many as take long enough. */
  dispatches?: number;
  /** Records so many dispatches; returns what the last one writes. */
  record(g: Graph, dispatches: number): Tensor;
  /** The checksum of what so many dispatches leave. */
  expected(dispatches: number): number;
}

/** What the loop of chains.wgsl runs: numbers in a Unit, and operations of a step. */
interface Chain {
  kernel: Kernel;
  size: number;
  operations: number;
}

/** How a kernel goes through memory. */
interface Stream {
  LOADS: number;
  BLOCKED: boolean;
}

interface Width {
  lanes: number;
  groups: number;
}

/** Steps of a chain in one dispatch: no multiple of 256, where int8 sums are back at their start, and exact in f16. */
const STEPS = 1000;
const ROUNDS = STEPS / 8;
const MATRIX_GROUPS = 2048;
const CHAINED_DISPATCHES = 256;
const TIMED_PASSES = 64;

const file = (name: string) => new URL(`./${name}.wgsl`, import.meta.url);
const kernel = (name: string, lib: URL[] = [], needs: Feature[] = []): Kernel => ({
  name: `ceilings/${name}`,
  source: file(name),
  lib,
  needs,
});
const chain = (name: string, size: number, operations: number, ...lib: string[]): Chain => ({
  kernel: kernel(name, [...lib, 'chains'].map(file)),
  size,
  operations,
});
const COPY = kernel('copy', [file('stream')]);
const READ = kernel('read', [file('stream')]);
const SCALAR = chain('scalar', 1, 2, 'madd');
const VEC2 = chain('vec2', 2, 4, 'madd');
const VEC4 = chain('vec4', 4, 8, 'madd', 'four');
const MAT4 = chain('mat4', 4, 32, 'four');
const DOT_INT8 = chain('dot_int8', 1, 8);
const MATRIX: Kernel = {
  ...kernel(
    'subgroup_matrix',
    [],
    ['shader-f16', 'subgroups', 'subgroup-size-control', 'chromium-experimental-subgroup-matrix'],
  ),
  matrix: { component: 'f16', result: 'f32' },
};
const HAND_ON = kernel('hand_on');
const INCREMENT = kernel('increment');

/** The sum modulo 2^32 of a result's elements, which are integers whatever their dtype. */
export function checksum(data: HostArray): number {
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum = (sum + data[i]!) | 0;
  return sum;
}

/** The kernels to try on a device. They read x [words] u32, which begins with 0 and has the given checksum. */
export function probes(device: Device, x: Tensor, total: number): Probe[] {
  const width = device.onCpu ? { lanes: 8, groups: 128 } : { lanes: 128, groups: 8192 };
  const streams = [false, true].flatMap((BLOCKED) => [1, 4, 8].map((LOADS) => ({ LOADS, BLOCKED })));
  const halves = device.features.has('shader-f16')
    ? [chains(VEC2, width, 4, 'f16'), chains(VEC4, width, 2, 'f16'), chains(MAT4, width, 2, 'f16')]
    : [];
  const all = [
    ...streams.filter(({ LOADS }) => LOADS < 8).map((how) => copy(x, total, width, how)),
    ...streams.map((how) => read(x, total, width, how)),
    ...[4, 8].map((count) => chains(SCALAR, width, count, 'f32')),
    ...[2, 4].flatMap((count) => [chains(VEC4, width, count, 'f32'), chains(MAT4, width, count, 'f32')]),
    ...halves,
    ...matrix(device),
    ...[2, 4, 8].map((count) => chains(DOT_INT8, width, count)),
    ...[HAND_ON, INCREMENT].flatMap((step) => [dependent(step, x, 'dispatchMicros'), dependent(step, x, 'passMicros')]),
  ];
  return all.filter(({ kernel }) => canRun(device, kernel));
}

/** A probe whose dispatches all write the same. */
function same(
  quantity: Quantity,
  call: Omit<Dispatch, 'write' | 'cost'> & { cost: Cost },
  result: Omit<Tensor, 'name'>,
  expected: number,
): Probe {
  return {
    quantity,
    kernel: call.kernel,
    constants: call.constants ?? {},
    work: call.cost.flops + call.cost.bytes,
    record(g, dispatches) {
      const y = g.temp('y', result.shape, result.dtype);
      for (let i = 0; i < dispatches; i++) g.dispatch({ ...call, write: { y } });
      return y;
    },
    expected: () => expected,
  };
}

function copy(x: Tensor, total: number, width: Width, how: Stream): Probe {
  return same('copyGBs', stream(COPY, x, width, how, 8 * x.shape[0]!), { shape: x.shape, dtype: 'u32' }, total);
}

function read(x: Tensor, total: number, width: Width, how: Stream): Probe {
  const result = { shape: [width.lanes * width.groups], dtype: 'u32' } as const;
  return same('readGBs', stream(READ, x, width, how, 4 * x.shape[0]!), result, total);
}

function stream(kernel: Kernel, x: Tensor, { lanes, groups }: Width, how: Stream, bytes: number) {
  const all = lanes * groups;
  return {
    kernel,
    constants: { WG: lanes, ...how },
    read: { x },
    params: { lanes: all, steps: x.shape[0]! / 4 / all / how.LOADS },
    workgroups: [groups] as const,
    cost: { flops: 0, bytes },
  };
}

/** So many chains in every lane, of floats of a type or, without one, of int8 dot products. */
function chains(
  { kernel, size, operations }: Chain,
  { lanes, groups }: Width,
  count: number,
  elem?: 'f32' | 'f16',
): Probe {
  const all = lanes * groups;
  const call = {
    kernel,
    constants: { WG: lanes, CHAINS: count, ...(elem && { elem }) },
    read: {},
    params: { rounds: ROUNDS, one: 1 },
    workgroups: [groups] as const,
    cost: { flops: all * count * STEPS * operations, bytes: 0 },
  };
  const end = (value: number) => (elem ? value : ((value + 127) % 256) - 127);
  const expected = Math.imul(all / 4, sumOfFourLanes(size, count, end));
  return same(elem ? `${elem}Gflops` : 'int8Gops', call, { shape: [all], dtype: 'u32' }, expected);
}

/** What four lanes of chains.wgsl write, where `count` of the eight chains run and `end` says what a value ends as. */
function sumOfFourLanes(size: number, count: number, end: (value: number) => number): number {
  let sum = 0;
  for (let lane = 0; lane < 4; lane++) {
    for (let chain = 0; chain < 8; chain++) {
      const steps = chain < count ? STEPS : 0;
      for (let place = 0; place < size; place++) sum += end(lane + 4 * chain + place + steps);
    }
  }
  return sum;
}

/** The kernel for matrix units, where the device has one. */
function matrix(device: Device): Probe[] {
  const unit = canRun(device, MATRIX) && matrixUnit(device, MATRIX.matrix!);
  if (!unit) return [];
  const { M, N, K } = unit;
  const sums = MATRIX_GROUPS * 4 * 4;
  const call = {
    kernel: MATRIX,
    constants: unitConstants(unit),
    read: {},
    params: { rounds: ROUNDS, one: 1 },
    workgroups: [MATRIX_GROUPS] as const,
    cost: { flops: sums * STEPS * 2 * M * N * K, bytes: 0 },
  };
  const expected = Math.imul((sums / 4) * M * N, 4 * STEPS + 0 + 1 + 2 + 3);
  return [same('f16Gflops', call, { shape: [sums, M, N], dtype: 'f32' }, expected)];
}

/** Tiny dispatches, each of which needs the one before: hand_on from buffer to buffer, increment in place. */
function dependent(kernel: Kernel, x: Tensor, quantity: 'dispatchMicros' | 'passMicros'): Probe {
  return {
    quantity,
    kernel,
    constants: {},
    work: 1,
    dispatches: quantity === 'dispatchMicros' ? CHAINED_DISPATCHES : TIMED_PASSES,
    record(g, dispatches) {
      const tiny = { workgroups: [1] as const, cost: { flops: 0, bytes: 8 } };
      let last = x;
      for (let i = 0; i < dispatches; i++) {
        if (i === 0 || kernel === HAND_ON) {
          const y = g.temp('y', [1], 'u32');
          g.dispatch({ ...tiny, kernel: HAND_ON, read: { x: last }, write: { y } });
          last = y;
        } else g.dispatch({ ...tiny, kernel, read: {}, write: { y: last } });
      }
      return last;
    },
    expected: (dispatches) => dispatches,
  };
}
