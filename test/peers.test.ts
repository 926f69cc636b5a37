// tier: host
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { attention } from '../bench/peers/attention.ts';
import { type Counterpart, matMul } from '../bench/peers/counterparts.ts';
import { installOnnxRuntime } from '../bench/peers/install.ts';
import { type OnnxNode, type OnnxTensor, onnxModel } from '../bench/peers/onnx.ts';
import { matMulNBits } from '../bench/peers/quantized.ts';
import { peerRows } from '../bench/peers/rows.ts';
import { judged, ratio, verdictOf } from '../bench/peers/side.ts';
import { type Case, type OpSpec, Random } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { DaybreakError } from '../runtime/index.ts';
import { fails, runBench } from './bench.ts';

type Field = number | bigint | Buffer;

/** The fields of a protocol buffer message by number: varints as bigint, floats as number, the rest as bytes. */
function fieldsOf(message: Buffer): Map<number, Field[]> {
  const fields = new Map<number, Field[]>();
  let at = 0;
  const varint = () => {
    let [value, shift, byte] = [0n, 0n, 0x80n];
    for (; byte & 0x80n; shift += 7n) {
      byte = BigInt(message[at++]!);
      value |= (byte & 0x7fn) << shift;
    }
    return BigInt.asIntN(64, value);
  };
  const take = (length: number) => {
    at += length;
    assert.ok(at <= message.length, 'a field ends behind its message');
    return message.subarray(at - length, at);
  };
  while (at < message.length) {
    const tag = Number(varint());
    const value = [varint, undefined, () => take(Number(varint())), undefined, undefined, () => take(4).readFloatLE()][
      tag & 7
    ]!();
    fields.set(tag >> 3, [...(fields.get(tag >> 3) ?? []), value]);
  }
  return fields;
}

const inner = (message: Map<number, Field[]>, field: number) =>
  (message.get(field) ?? []).map((bytes) => fieldsOf(bytes as Buffer));
const texts = (message: Map<number, Field[]>, field: number) => (message.get(field) ?? []).map(String);

test('every row has the fields that all cases of its op have, as without one of them nothing is recorded', () => {
  for (const { op, case: c, shape } of peerRows(Number.POSITIVE_INFINITY)) {
    const [first, ...others] = specs.find(({ name }) => name === op)!.cases;
    const needed = Object.keys(first!).filter((field) => others.every((each) => field in each));
    const missing = needed.filter((field) => !(field in c));
    assert.equal(missing, [], `${op} ${shape}`);
  }
});

test('an ONNX model holds nodes, attributes, weights and the types of its inputs and outputs', () => {
  const bytes = onnxModel({
    nodes: [
      { op: 'Scale', domain: 'com.microsoft', inputs: ['x', 'w'], outputs: ['h'], attributes: { axis: -1 } },
      { op: 'Norm', inputs: ['h'], outputs: ['y'], attributes: { epsilon: { float: 0.25 }, wide: 300 } },
    ],
    constants: { w: { type: 'float32', dims: [1, 2], data: Float32Array.of(1, -2) } },
    inputs: { x: { type: 'float16', dims: [3, 200] } },
    outputs: { y: { type: 'int64', dims: [7] } },
  });
  const model = fieldsOf(Buffer.from(bytes));
  assert.equal(model.get(1), [10n]);
  const opsets = inner(model, 8).map((opset) => [String(opset.get(1)![0]), opset.get(2)![0]]);
  assert.equal(opsets, [
    ['', 21n],
    ['com.microsoft', 1n],
  ]);
  const graph = inner(model, 7)[0]!;
  const [scale, norm] = inner(graph, 1) as [Map<number, Field[]>, Map<number, Field[]>];
  assert.equal(
    [texts(scale, 1), texts(scale, 2), texts(scale, 4), texts(scale, 7)],
    [['x', 'w'], ['h'], ['Scale'], ['com.microsoft']],
  );
  assert.equal([texts(norm, 1), texts(norm, 2), texts(norm, 4), texts(norm, 7)], [['h'], ['y'], ['Norm'], []]);
  const attributes = [...inner(scale, 5), ...inner(norm, 5)].map((a) => [
    String(a.get(1)![0]),
    a.get(2),
    a.get(3),
    a.get(20),
  ]);
  assert.equal(attributes, [
    ['axis', undefined, [-1n], [2n]],
    ['epsilon', [0.25], undefined, [1n]],
    ['wide', undefined, [300n], [2n]],
  ]);
  const weight = inner(graph, 5)[0]!;
  assert.equal([weight.get(1), weight.get(2), texts(weight, 8)], [[1n, 2n], [1n], ['w']]);
  assert.equal((weight.get(9)![0] as Buffer).toString('hex'), '0000803f000000c0');
  const values = [...inner(graph, 11), ...inner(graph, 12)].map((value) => {
    const type = inner(inner(value, 2)[0]!, 1)[0]!;
    return [texts(value, 1)[0], type.get(1)![0], ...inner(inner(type, 2)[0]!, 1).map((dim) => dim.get(1)![0])];
  });
  assert.equal(values, [
    ['x', 10n, 3n, 200n],
    ['y', 7n, 7n],
  ]);
});

/** y of a counterpart of MatMul, MatMulNBits, Add and Softmax on 2 or 3 dimensions in f32, in float64. */
function evaluate({ graph, feeds, arrange }: Counterpart): Float32Array {
  const values = new Map<string, { dims: readonly number[]; data: Float64Array }>();
  for (const [name, { dims, data }] of Object.entries({ ...graph.constants, ...feeds } as Record<string, OnnxTensor>)) {
    values.set(name, { dims, data: Float64Array.from(data as Float32Array) });
  }
  for (const node of graph.nodes) {
    const [a, b, c] = node.inputs.map((name) => values.get(name)!);
    values.set(node.outputs[0]!, OPERATORS[node.op]!(a!, b!, node, c));
  }
  const y = values.get('y')!;
  assert.equal(y.dims, graph.outputs.y!.dims);
  return arrange(Float32Array.from(y.data));
}

type Value = { dims: readonly number[]; data: Float64Array };
type Triple = [number, number, number];
const OPERATORS: Record<string, (a: Value, b: Value, node?: OnnxNode, c?: Value) => Value> = {
  MatMul(a, b) {
    const [rows, count, cols] = [a.dims.at(-2)!, a.dims.at(-1)!, b.dims.at(-1)!];
    assert.is(b.dims.at(-2), count);
    const dims = [...a.dims.slice(0, -1), cols];
    const data = Float64Array.from({ length: (a.data.length / count) * cols }, (_, i) => {
      const [row, col] = [Math.floor(i / cols), i % cols];
      const from = b.dims.length === 2 ? 0 : Math.floor(row / rows) * count * cols;
      let sum = 0;
      for (let k = 0; k < count; k++) sum += a.data[row * count + k]! * b.data[from + k * cols + col]!;
      return sum;
    });
    return { dims, data };
  },
  /** Its documentation: two values to a byte, the lower half first, zero point 8. */
  MatMulNBits(x, w, node, scales) {
    const [count, cols, group] = ['K', 'N', 'block_size'].map((name) => node!.attributes![name] as number) as Triple;
    const weights = Float64Array.from({ length: count * cols }, (_, i) => {
      const [k, n] = [Math.floor(i / cols), i % cols];
      const byte = w.data[Math.floor((n * count + k) / 2)]!;
      return ((k % 2 ? byte >> 4 : byte & 15) - 8) * scales!.data[Math.floor((n * count + k) / group)]!;
    });
    return OPERATORS.MatMul!(x, { dims: [count, cols], data: weights });
  },
  Add: (a, b) => ({ dims: a.dims, data: a.data.map((value, i) => value + b.data[i % b.data.length]!) }),
  Softmax({ dims, data }) {
    const cols = dims.at(-1)!;
    const weights = data.map(Math.exp);
    const sums = Array.from({ length: data.length / cols }, (_, r) =>
      weights.subarray(r * cols, (r + 1) * cols).reduce((sum, w) => sum + w, 0),
    );
    return { dims, data: weights.map((w, i) => w / sums[Math.floor(i / cols)]!) };
  },
};

function specOf(name: string): OpSpec {
  return specs.find((spec) => spec.name === name)!;
}

/** How far the first counterpart is from the spec's float64 reference, relative to its largest value. */
function distance(op: string, c: Case, counterparts: (inputs: ReturnType<OpSpec['inputs']>) => Counterpart[]): number {
  const inputs = specOf(op).inputs(c, new Random(1));
  const reference = Float32Array.from(specOf(op).reference(inputs, c));
  return verdictOf(evaluate(counterparts(inputs)[0]!), reference, 1).relativeError!;
}

test('what a peer is given for a matmul is what our op computes, of weights in one block and in two', () => {
  const plain = { activation: 'none', bias: false, residual: false, from: 'f32', as: 'f32', weights: 'f32' };
  for (const split of [0, 6]) {
    assert.ok(distance('matmul', { rows: 3, inner: 16, outs: 10, split, ...plain }, matMul) < 1e-6);
  }
});

test('what a peer is given for a matmul with weights of 4 bits is what our op computes', () => {
  const plain = { activation: 'none', bias: false, residual: false, as: 'f32', weights: 'q4', split: 0 };
  for (const [from, group] of [
    ['f32', 32],
    ['f32', 64],
    ['i8', 32],
  ] as const) {
    const c = { rows: 2, inner: 128, outs: 6, group, from, ...plain };
    assert.ok(distance('matmul', c, (inputs) => matMulNBits(inputs, c.inner, group)) < 1e-6);
  }
});

test('what a peer is given for attention is what our op computes: all keys, causal and grouped, one query', () => {
  const plain = { sequences: 1, mixed: false, as: 'f32', kv: 'f32', scale: 1 };
  for (const sizes of [
    { tokens: 5, keys: 7, heads: 2, kvHeads: 2, headDim: 8, causal: false },
    { tokens: 5, keys: 5, heads: 6, kvHeads: 2, headDim: 8, causal: true },
    { tokens: 3, keys: 9, heads: 4, kvHeads: 1, headDim: 8, causal: true },
    { tokens: 1, keys: 9, heads: 4, kvHeads: 2, headDim: 8, causal: true },
    { tokens: 2, keys: 300, heads: 2, kvHeads: 1, headDim: 8, causal: true },
  ]) {
    const error = distance('attention', { ...sizes, ...plain }, (inputs) => attention(inputs, sizes));
    assert.ok(error < 1e-5, `${JSON.stringify(sizes)}: ${error}`);
  }
});

test('every row is a case of its spec, and weights are cut to the size of a block', () => {
  const limit = 2 ** 27;
  for (const { op, case: c } of peerRows(limit)) {
    const fields = Object.keys(specOf(op).bench[0]!);
    assert.ok(
      Object.keys(c).every((key) => fields.includes(key)),
      `${op}: ${Object.keys(c)}`,
    );
    if (op !== 'matmul' || c.weights === 'q4') continue;
    const bytes = (c.inner as number) * (c.outs as number) * (c.weights === 'f32' ? 4 : 2);
    assert.ok(c.split ? bytes / 2 <= limit : bytes <= limit);
  }
  const cut = (limit: number) => peerRows(limit).filter(({ case: c }) => c.split !== undefined && c.split !== 0).length;
  assert.is(cut(Number.POSITIVE_INFINITY), 0);
  assert.ok(cut(limit) > 0);
});

const sample = (runMicros: number, waitMicros: number) => ({ runMicros, waitMicros });

test('times are those of runs less the median wait, and ratios are taken pair by pair', () => {
  const ours = judged([sample(110, 10), sample(210, 30), sample(120, 20)], {});
  assert.equal(ours.micros, [90, 190, 100]);
  assert.equal(ours.waitMicros, [10, 30, 20]);
  const theirs = judged([sample(270, 0), sample(380, 0), sample(300, 0)], {});
  assert.is(ratio(ours, theirs), 3);
});

test('a run that cannot be told from a wait shows no time', () => {
  const side = judged([sample(100, 100), sample(103, 104), sample(101, 98)], {});
  assert.match(side.error!, /^too short: waiting alone takes 100 us, a run 101$/);
  assert.equal(side.micros, []);
  assert.is(ratio(side, judged([sample(9, 0)], {})), undefined);
});

test('a wrong result is WRONG and carries no time, whatever was measured', () => {
  const reference = Float32Array.of(1, -2, 3);
  for (const got of [Float32Array.of(1, -2, 4), Float32Array.of(1, Number.NaN, 3), Float32Array.of(1, -2)]) {
    const side = judged([sample(50, 1), sample(60, 1)], verdictOf(got, reference, 1e-4));
    assert.match(side.error!, /^WRONG: /);
    assert.equal([side.micros, side.waitMicros], [[], []]);
  }
  const right = verdictOf(Float32Array.of(1, -2, 3.0001), reference, 1e-4);
  assert.ok(right.relativeError! > 0 && !right.error);
  assert.is(judged([sample(50, 1)], right).micros.length, 1);
});

test('without a network, and without npm, one line says what to do, and nothing is left behind', async () => {
  const cache = mkdtempSync(join(tmpdir(), 'daybreak-peers-'));
  const left = () => readdirSync(join(cache, 'daybreak')).filter((name) => name.startsWith('onnxruntime'));
  const before = { ...process.env };
  Object.assign(process.env, { XDG_CACHE_HOME: cache, npm_config_cache: cache, npm_config_offline: 'true' });
  fails(runBench('peers'), /^error: peers: expected npm to install onnxruntime-node into .*, got .*; run it once with/);
  assert.equal(left(), []);
  process.env.PATH = cache;
  const error = await installOnnxRuntime().catch((reason) => reason);
  process.env = before;
  assert.instance(error, DaybreakError);
  assert.match(error.message, /got no npm to run \(.*ENOENT.*\); run it once with a network/);
  assert.equal(left(), []);
  rmSync(cache, { recursive: true });
});

test('an op that has no counterpart ends in one clear line', () => {
  fails(runBench('peers', '--op', 'softmax'), /--op: expected one of matmul, .*, got 'softmax'/);
});

test.run();
