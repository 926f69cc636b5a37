// node mlp.mjs: a two-layer perceptron with an activation of its own, checked against float64, run and profiled.
import { matmul } from 'daybreak/kernels';
import { asMatrix, elements, expect, Graph, kernel, linearGrid, openDevice, Plan, variant } from 'daybreak/runtime';
import { Random, timeCase, verifyCase } from 'daybreak/testing';

const snakeKernel = kernel({ name: 'snake/snake', wgsl: new URL('./snake.wgsl', import.meta.url) });

/** The op: a function that checks its tensors and records a dispatch. */
function snake(g, x, a) {
  expect(x.dtype === 'f32', 'snake', 'x', 'f32', x.dtype);
  const count = elements(x.shape);
  const y = g.temp('snake', x.shape, 'f32');
  g.dispatch({
    kernel: snakeKernel,
    constants: { A: a },
    read: { x },
    write: { y },
    params: { count },
    workgroups: linearGrid(Math.ceil(count / 64)),
    cost: { flops: 5 * count, bytes: 8 * count },
  });
  return y;
}

/** What it must compute, in float64, and how far off it may be. */
const spec = {
  name: 'snake',
  formula: 'y = x + sin(a x)^2 / a',
  variants: [variant(snakeKernel)],
  cases: [1, 63, 64, 65, 101, 70000].map((count) => ({ count, a: 0.5 })),
  bench: [{ count: 2 ** 20, a: 0.5 }],
  inputs: ({ count }, random) => ({ x: random.tensor([count]) }),
  record: (g, { x }, { a }) => snake(g, x, a),
  reference: ({ x }, { a }) => Float64Array.from(x.data, (v) => v + Math.sin(a * v) ** 2 / a),
  tolerance: () => ({ atol: 1e-3, rtol: 1e-6 }), // WGSL's sine is exact to 2^-11
};

const device = await openDevice();
for (const c of spec.cases) {
  const verdict = await verifyCase(device, spec, c, 'snake/snake');
  if (!verdict.ok) throw new Error(`snake of ${verdict.case}: ${verdict.problem}`);
}
const timing = await timeCase(device, spec, spec.bench[0], 'snake/snake');
console.log(`snake: ${spec.cases.length} cases right; ${timing.micros.toFixed(0)} us (${timing.clock}), ${timing.gbs.toFixed(1)} GB/s`);

const [rows, inner, hidden, outs] = [4, 64, 256, 10];
const random = new Random(1);
const upload = (name, shape) => device.upload(random.tensor(shape, 'f32', 0.1), name);
const layer = (name, to, from) => ({ w: asMatrix(upload(`${name}.w`, [to, from])), bias: upload(`${name}.b`, [to]) });
const [first, second] = [layer('first', hidden, inner), layer('second', outs, hidden)];

const graph = new Graph(device);
const x = graph.input('x', [rows, inner], 'f32');
const h = graph.scope('first', () => snake(graph, matmul(graph, x, first.w, { bias: first.bias }), 0.5));
graph.output('y', graph.scope('second', () => matmul(graph, h, second.w, { bias: second.bias })));
const plan = await Plan.create(graph);

const inputs = { x: random.tensor([rows, inner]) };
const { data, shape } = await device.download(plan.run(inputs).y);
console.log(`mlp: ${shape.join(' x ')} values, the first is ${data[0].toFixed(4)}`);
if (device.features.has('timestamp-query'))
  for (const { scope, kernel: name, micros } of await plan.profile(inputs)) console.log(`${scope} ${name} ${micros.toFixed(1)} us`);
plan.dispose();
device.dispose();
