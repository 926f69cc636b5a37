// tier: null
// The tuner's problems are those that the model's own graphs ask about.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { listProblems } from '../bench/tune/problems.ts';
import { Random } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { decisionOf } from '../kernels/verify.ts';
import {
  loadConfig,
  openSynthetic,
  Phi4Vision,
  PromptPicture,
  type SyntheticFormat,
  shapeFolder,
} from '../model/index.ts';
import { DryRunDevice, type Graph, openDevice, Plan } from '../runtime/index.ts';

const FORMATS: SyntheticFormat[] = ['int4', 'bf16'];
const none = await openDevice({ adapter: 'null' });

/** What ops decide while a model of the published shapes encodes a picture, reads prompts and decodes. */
async function decided(onCpu: boolean, format: SyntheticFormat, dtype: 'f32' | 'f16', int8Activations: boolean) {
  const device = Object.assign(new DryRunDevice(none), { onCpu });
  const graphs: Graph[] = [];
  const create = Plan.create;
  Plan.create = (graph, options) => {
    graphs.push(graph);
    return create(graph, options);
  };
  try {
    const { config, source } = openSynthetic('15b', format, 1);
    const model = await Phi4Vision.fromSource(device, config, source, { dtype, int8Activations });
    const shape = [4, config.vision.patch ** 2 * config.vision.channels];
    const pixels = { shape, dtype: 'f32', data: new Float32Array(shape[0]! * shape[1]!) } as const;
    await model.encodeImages([new PromptPicture({ grid: { rows: 2, cols: 2 }, pixels, digest: '' })]);
    for (const rows of [1024, 32, 4]) graphs.push(model.engine.recordChunk(rows));
    await model.engine.decodePlans(false);
  } finally {
    Plan.create = create;
  }
  return graphs.flatMap(({ decisions }) => decisions.map(({ op, problem }) => `${op} ${problem}`));
}

test('every problem that the model meets, in all formats and dtypes, is one that the tuner times', async () => {
  const problems = listProblems(loadConfig(shapeFolder('15b')), true, { formats: FORMATS, dtypes: ['f32', 'f16'] });
  const timed = problems.map(({ op, cases: [c] }) => {
    const spec = specs.find(({ name }) => name === op)!;
    return `${op} ${decisionOf(none, spec, c!, undefined, spec.inputs(c!, new Random(1)))!.problem}`;
  });
  assert.is(new Set(timed).size, timed.length, 'none twice');
  const met = new Set<string>();
  for (const onCpu of [false, true])
    for (const format of FORMATS)
      for (const dtype of ['f32', 'f16'] as const)
        for (const int8 of format === 'int4' ? [false, true] : [false])
          for (const problem of await decided(onCpu, format, dtype, int8)) met.add(problem);
  assert.ok(met.size > 30);
  assert.equal([...met].filter((problem) => !timed.includes(problem)).sort(), []);
  assert.equal(timed.filter((problem) => !met.has(problem)).sort(), []);
});

test('on a GPU the same problems have the whole matrices', () => {
  const config = loadConfig(shapeFolder('15b'));
  const [cpu, gpu] = [true, false].map((onCpu) =>
    listProblems(config, onCpu, { formats: FORMATS, dtypes: ['f32', 'f16'] }),
  );
  assert.is(cpu!.length, gpu!.length);
  const down = gpu!.flatMap(({ cases }) => cases).filter(({ inner, outs }) => inner === 17920 && outs === 5120);
  assert.ok(down.length > 0 && gpu!.every(({ cases }, i) => cases.length >= cpu![i]!.cases.length));
  for (const {
    op,
    cases: [c],
  } of cpu!)
    if (op === 'matmul')
      assert.ok(2 * Number(c!.rows) * Number(c!.inner) * Number(c!.outs) <= 5e7 && Number(c!.inner) % 8 === 0);
});

test.run();
