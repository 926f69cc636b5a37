import { type Case, type OpSpec, Random } from '../../kernels/spec.ts';
import { specs } from '../../kernels/specs.ts';
import { type Device, Graph, type HostTensor, narrow, Plan, rootOf, type Tensor, widen } from '../../runtime/index.ts';
import { devices, pick, type RunCase } from './target.ts';

const COLS = [8, 16, 24, 64];
const MAX_ROWS = 12;
const MAX_STEPS = 24;
/** Of the largest value: what many steps in f16 may add up to; a wrong buffer is far outside. */
const TOLERANCE = 0.05;

/** A tensor of a graph, and its value from those before it. */
interface Node {
  tensor: Tensor;
  value(values: HostTensor[]): HostTensor;
}

/** Random graphs: planned with and without reuse of memory they give the same bits, which the host gives roughly. */
export async function graphs(): Promise<RunCase> {
  const next = devices();
  return async (random, note) => {
    const device = await next();
    const before = device.memory.current;
    const weights: Tensor[] = [];
    const tapped = random.below(2) === 0;
    const graph = new Graph(device, { taps: () => tapped });
    const nodes = inputs(graph, random);
    const steps = 1 + random.below(MAX_STEPS);
    for (let i = 0; i < steps; i++) nodes.push(addNode(graph, nodes, random, weights));
    const kept = keep(graph, nodes, random, weights);
    note(`${graph.steps.length} steps, outputs ${kept.map(([name, at]) => `${name}=${at}`).join(' ')}`);
    await comparePlans(device, graph, nodes, kept, random);
    for (const { storage } of weights) device.free(storage!);
    device.guard('after the case', () => {});
    if (device.memory.current !== before) throw new Error(`${device.memory.current - before} device bytes are lost`);
    return 'ok';
  };
}

/** Runs the graph twice with each of two plans, and compares every output and tap. */
async function comparePlans(device: Device, graph: Graph, nodes: Node[], kept: [string, number][], random: Random) {
  const tight = await Plan.create(graph);
  const spacious = await Plan.create(graph, { guardBytes: 256 });
  for (let run = 0; run < 2; run++) {
    const given = Object.fromEntries([...graph.inputs].map(([name, { shape }]) => [name, random.tensor(shape)]));
    const values = Object.values(given);
    for (const { value } of nodes.slice(values.length)) values.push(value(values));
    const [first, second] = [await results(device, tight, given), await results(device, spacious, given)];
    for (const [name, at] of kept) compare(`run ${run}, ${name}`, values[at]!, first[name]!, second[name]!);
  }
  const damaged = await spacious.damage();
  tight.dispose();
  spacious.dispose();
  if (damaged.length > 0) throw new Error(`wrote behind ${damaged.join(', ')}`);
}

async function results(
  device: Device,
  plan: Plan,
  given: Record<string, HostTensor>,
): Promise<Record<string, HostTensor>> {
  plan.run(given);
  const all: Record<string, HostTensor> = {};
  for (const [name, tensor] of Object.entries({ ...plan.outputs, ...plan.taps }))
    all[name] = await device.download(tensor);
  return all;
}

function compare(what: string, expected: HostTensor, tight: HostTensor, spacious: HostTensor): void {
  const bytes = ({ data }: HostTensor) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (!bytes(tight).equals(bytes(spacious))) throw new Error(`${what}: reuse of memory changes the result`);
  const [got, ref] = [widen(tight.dtype, tight.data), widen(expected.dtype, expected.data)];
  const bound = TOLERANCE * ref.reduce((a, b) => Math.max(a, Math.abs(b)), 1);
  const wrong = got.findIndex((value, i) => !(Math.abs(value - ref[i]!) <= bound));
  if (got.length !== ref.length || wrong >= 0)
    throw new Error(`${what}[${wrong}]: expected ${ref[wrong]}, got ${got[wrong]}`);
}

function inputs(graph: Graph, random: Random): Node[] {
  return Array.from({ length: 1 + random.below(3) }, (_, i) => {
    const tensor = graph.input(`input ${i}`, [1 + random.below(MAX_ROWS), pick(random, COLS)], 'f32');
    return { tensor, value: (values) => values[i]! };
  });
}

/** Outputs of some nodes, some in memory of their own; with the taps, as the name and the node of each. */
function keep(graph: Graph, nodes: Node[], random: Random, weights: Tensor[]): [string, number][] {
  const kept: [string, number][] = [...graph.taps.keys()].map((name) => [name, Number(name)]);
  const stored = new Set<Tensor>();
  for (let i = 1 + random.below(4); i > 0; i--) {
    const at = random.below(3) ? random.below(nodes.length) : nodes.length - 1;
    const { tensor } = nodes[at]!;
    const own = random.below(2) && !stored.has(rootOf(tensor));
    const owned = own ? graph.device.tensor('output', tensor.shape, tensor.dtype) : undefined;
    if (owned) weights.push(owned);
    if (owned) stored.add(rootOf(tensor));
    graph.output(`output ${i}`, tensor, owned?.storage);
    kept.push([`output ${i}`, at]);
  }
  return kept;
}

/** Records another op on one of the nodes, and now and then a tap. */
function addNode(graph: Graph, nodes: Node[], random: Random, weights: Tensor[]): Node {
  const at = random.below(3) ? nodes.length - 1 - random.below(Math.min(4, nodes.length)) : random.below(nodes.length);
  const kinds = nodes[at]!.tensor.dtype === 'f32' ? [rmsNorm, layerNorm, matmul, reshape] : [matmul, reshape];
  const node = graph.scope(`${nodes.length}`, () => pick(random, kinds)(graph, nodes, at, random, weights));
  if (random.below(4) === 0) graph.tap(`${nodes.length}`, node.tensor);
  return node;
}

type AddNode = (graph: Graph, nodes: Node[], at: number, random: Random, weights: Tensor[]) => Node;

const rmsNorm: AddNode = (graph, nodes, at, random, weights) => {
  const [rows = 0, cols = 0] = nodes[at]!.tensor.shape;
  const c: Case = { rows, cols, as: dtype(graph, random) };
  if (random.below(3) === 0) c.row = random.below(rows);
  return record(graph, nodes, { x: at }, 'rms_norm', c, weights);
};

const layerNorm: AddNode = (graph, nodes, at, random, weights) => {
  const [rows = 0, cols = 0] = nodes[at]!.tensor.shape;
  return record(graph, nodes, { x: at }, 'layer_norm', { rows, cols, mean: 0, as: dtype(graph, random) }, weights);
};

const matmul: AddNode = (graph, nodes, at, random, weights) => {
  const { shape, dtype: from } = nodes[at]!.tensor;
  const [rows = 0, inner = 0] = shape;
  const width = pick(random, COLS);
  const activation = pick(random, ['none', 'gelu_tanh', 'gelu_erf', 'silu_gate']);
  const fits = ({ tensor }: Node) => tensor.dtype === 'f32' && `${tensor.shape}` === `${[rows, width]}`;
  const residual = nodes.findLastIndex(fits);
  const outs = activation === 'silu_gate' ? 2 * width : width;
  const c = { rows, inner, outs, activation, from, split: 0, norm: false, show: 'y' };
  const operands = { x: at, ...(residual >= 0 && { residual }) };
  const options = {
    weights: pick(random, ['f32', 'bf16', 'half']),
    bias: random.below(2) === 0,
    as: dtype(graph, random),
  };
  return record(graph, nodes, operands, 'matmul', { ...c, ...options, residual: residual >= 0 }, weights);
};

const reshape: AddNode = (graph, nodes, at, random) => {
  const { tensor } = nodes[at]!;
  const count = tensor.shape[0]! * tensor.shape[1]!;
  const cols = pick(
    random,
    COLS.filter((size) => count % size === 0 && count / size <= 8 * MAX_ROWS),
  );
  const shape = [count / cols, cols];
  return { tensor: graph.reshape(tensor, shape), value: (values) => ({ ...values[at]!, shape }) };
};

function dtype(graph: Graph, random: Random): 'f32' | 'f16' {
  const half = random.below(3) === 0;
  return half && graph.device.features.has('shader-f16') ? 'f16' : 'f32';
}

/** Records an op by its spec: operands are nodes by number, the spec's other inputs become weights. */
function record(
  graph: Graph,
  nodes: Node[],
  operands: Record<string, number>,
  op: string,
  c: Case,
  weights: Tensor[],
): Node {
  const spec = specs.find(({ name }) => name === op) as OpSpec;
  const constants = spec.inputs(c, new Random(nodes.length));
  for (const name of Object.keys(operands)) delete constants[name];
  const tensors = Object.entries(constants).map(([name, host]) => [name, graph.device.upload(host, name)] as const);
  weights.push(...tensors.map(([, tensor]) => tensor));
  const nodesOf = Object.entries(operands).map(([name, at]) => [name, nodes[at]!.tensor] as const);
  const tensor = spec.record(graph, Object.fromEntries([...tensors, ...nodesOf]), c);
  const value = (values: HostTensor[]) => {
    const given = Object.entries(operands).map(([name, at]) => [name, values[at]!] as const);
    const exact = spec.reference({ ...constants, ...Object.fromEntries(given) }, c);
    return {
      shape: tensor.shape,
      dtype: tensor.dtype,
      data: narrow(tensor.dtype as 'f32' | 'f16', Float32Array.from(exact)),
    };
  };
  return { tensor, value };
}
