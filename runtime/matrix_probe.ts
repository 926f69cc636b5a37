// Tries matrix units in a process of its own, for matrix_units.ts, which a driver's crash then leaves alone: BACKEND NAME
// of the adapter. Asked {} it answers '' once the device is open; asked a MatrixUnit, what is wrong with it, else ''.
import { serve } from './child.ts';
import { BYTES, narrow, widen } from './dtype.ts';
import { Graph } from './graph.ts';
import { type Kernel, type MatrixTypes, type MatrixUnit, unitConstants } from './kernel.ts';
import { Plan } from './plan.ts';
import { ceilDiv } from './shape.ts';
import type { HostTensor } from './tensor.ts';
import { openUnchecked } from './webgpu_device.ts';

const KERNEL: Kernel = { name: 'matrix_probe', source: new URL('./matrix_probe.wgsl', import.meta.url) };
const SUBGROUPS = 4;
const TIMES = 2;

const [backend = '', name = ''] = process.argv.slice(2);
const opened = openUnchecked({ backend, name });

serve<Partial<MatrixUnit>>(async (unit) => {
  await opened;
  return 'component' in unit ? problemOf(unit as MatrixUnit) : '';
});

/** Multiplies small integers, which every type holds exactly, and compares all that each subgroup wrote. */
async function problemOf(unit: MatrixUnit): Promise<string> {
  const { component, result, M, N, K } = unit;
  const device = await opened;
  const rowWords = ceilDiv(K * BYTES[component], 16);
  const rows = (count: number, value: Value) => rowsOf(count, K, (rowWords * 16) / BYTES[component], value, component);
  const graph = new Graph(device);
  const y = graph.temp('y', [SUBGROUPS, M, N], result);
  graph.dispatch({
    kernel: KERNEL,
    constants: { component, result, ...unitConstants(unit), ROW_WORDS: rowWords },
    read: { x: device.upload(rows(M, left), 'x'), w: device.upload(rows(N, right), 'w') },
    write: { y },
    params: { times: TIMES },
    workgroups: [1],
    cost: { flops: 0, bytes: 0 },
  });
  graph.output('y', y);
  const plan = await Plan.create(graph);
  const got = await device.download(plan.run().y!);
  const values = got.dtype === 'i32' ? got.data : widen(got.dtype, got.data);
  for (const [at, value] of values.entries()) {
    const [m, n] = [Math.floor(at / N) % M, at % N];
    let expected = 0;
    for (let k = 0; k < K; k++) expected += TIMES * left(m, k) * right(n, k);
    if (value !== expected) return `expected ${expected} at [${m}, ${n}] of a product, got ${value}`;
  }
  return '';
}

type Value = (row: number, k: number) => number;
const left: Value = (m, k) => ((5 * m + 3 * k + m * k) % 7) - 3;
const right: Value = (n, k) => ((2 * n + 4 * k + n * k + 1) % 7) - 3;

/** Rows of K values, each filled up with zeros to `cols`. */
function rowsOf(count: number, K: number, cols: number, value: Value, dtype: MatrixTypes['component']): HostTensor {
  const values = Float32Array.from({ length: count * cols }, (_, i) => {
    const k = i % cols;
    return k < K ? value(Math.floor(i / cols), k) : 0;
  });
  return { shape: [count, cols], dtype, data: dtype === 'i8' ? Int8Array.from(values) : narrow(dtype, values) };
}
