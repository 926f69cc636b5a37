// tier: null
// The tuner's problems are those that the model's own graphs ask about.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { madeOnce } from '../bench/tune/fault.ts';
import { checkOf, listProblems } from '../bench/tune/problems.ts';
import { decisionsOf, storageOf } from '../bench/tune.ts';
import { digestOf, keepMeasured } from '../kernels/measured.ts';
import { Random } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { VARIANTS } from '../kernels/variants.ts';
import { decisionOf, recordCase, runnable } from '../kernels/verify.ts';
import {
  loadConfig,
  openSynthetic,
  Phi4Vision,
  PromptPicture,
  type SyntheticFormat,
  shapeFolder,
} from '../model/index.ts';
import { DryRunDevice, openDevice } from '../runtime/index.ts';
import { examineVariants } from '../tools/command/variants.ts';
import { TINY } from './bench.ts';
import { graphsPlanned } from './fixtures/recorded_graphs.ts';

const FORMATS: SyntheticFormat[] = ['int4', 'bf16'];
const none = await openDevice({ adapter: 'null' });
const CONFIG = loadConfig(shapeFolder('15b'));

/** What ops decide while a model of the published shapes encodes a picture, reads prompts and decodes. */
async function decided(onCpu: boolean, format: SyntheticFormat, dtype: 'f32' | 'f16', int8Activations: boolean) {
  const device = Object.assign(new DryRunDevice(none), { onCpu });
  const { config, source } = openSynthetic('15b', format, 1);
  const model = await Phi4Vision.fromSource(device, config, source, { dtype, int8Activations });
  const shape = [4, config.vision.patch ** 2 * config.vision.channels];
  const pixels = { shape, dtype: 'f32', data: new Float32Array(shape[0]! * shape[1]!) } as const;
  const planned = await graphsPlanned(async () => {
    await model.encodeImages([new PromptPicture({ grid: { rows: 2, cols: 2 }, pixels, digest: '' })]);
    await model.engine.decodePlans(false);
  });
  const graphs = [...planned, ...[1024, 32, 4].map((rows) => model.engine.recordChunk(rows))];
  return graphs.flatMap(({ decisions }) => decisions.map(({ op, problem }) => `${op} ${problem}`));
}

/** What ops call the problems that the tuner times, by the case that is timed and by the one that is checked. */
function named(formats: SyntheticFormat[], dtypes: ('f32' | 'f16')[], int8: boolean): string[] {
  const problems = listProblems(CONFIG, true, { formats, dtypes, int8: [int8] });
  return problems.map((problem) => {
    const spec = specs.find(({ name }) => name === problem.op)!;
    const [timed, checked] = [problem.cases[0]!, checkOf(problem)].map((c) => ({
      problem: decisionOf(none, spec, c, undefined, spec.inputs(c, new Random(1)))!.problem,
      pipelines: spec.variants
        .filter((each) => runnable(none, spec, c).includes(each))
        .map(({ name }) =>
          recordCase(none, spec, c, name, spec.inputs(c, new Random(1))).map((step) => step.constants),
        ),
    }));
    assert.equal(checked, timed, 'what is checked has the pipelines of what is timed');
    assert.is(decisionsOf(none, [problem])[0]!.name, `${problem.op} ${timed!.problem}`);
    return `${problem.op} ${timed!.problem}`;
  });
}

test('every problem that the model meets is one that the tuner times, and no other is', async () => {
  for (const format of FORMATS)
    for (const dtype of ['f32', 'f16'] as const)
      for (const int8 of [false, true]) {
        const onBoth = [await decided(false, format, dtype, int8), await decided(true, format, dtype, int8)];
        const timed = named([format], [dtype], int8);
        assert.is(new Set(timed).size, timed.length, 'none twice');
        assert.equal([...timed].sort(), [...new Set(onBoth.flat())].sort(), `${format} ${dtype} ${int8}`);
      }
});

test('on a GPU the same problems have the whole matrices', () => {
  const [cpu, gpu] = [true, false].map((onCpu) =>
    listProblems(CONFIG, onCpu, { formats: FORMATS, dtypes: ['f32', 'f16'], int8: [true, false] }),
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

test('a model whose decoder is of 8 bits meets problems of 8 bits', () => {
  const stored = (quantize?: object) => storageOf({ model: TINY, dtype: 'f32', ...(quantize && { quantize }) }).formats;
  assert.equal([stored(), stored({}), stored({ decoder: 'q8' })], [['bf16'], ['int4'], ['int8']]);
  const problems = listProblems(CONFIG, false, { formats: ['int8'], dtypes: ['f32'], int8: [true, false] });
  const products = problems.filter(({ op }) => op === 'matmul' || op === 'qkv').flatMap(({ cases }) => cases);
  assert.equal([...new Set(products.map(({ weights }) => weights))].sort(), ['half', 'q8']);
});

test('what checks make once is what each variant is to be compared with', () => {
  for (const op of ['matmul', 'qkv', 'layer_norm']) {
    const spec = specs.find(({ name }) => name === op)!;
    let made = 0;
    const inputs: typeof spec.inputs = (...args) => {
      made++;
      return spec.inputs(...args);
    };
    const once = madeOnce({ ...spec, inputs });
    for (const c of spec.cases.filter(({ quick, show }) => quick && (!show || show === 'y' || show === 'k'))) {
      const before = made;
      for (const { name } of runnable(none, spec, c)) {
        const inputs = once.inputs({ ...c }, new Random(1));
        assert.equal(once.reference(inputs, { ...c }, name), spec.reference(inputs, c, name), name);
      }
      assert.is(made, before + 1);
    }
  }
});

test('a problem whose variants were all found wrong is shown as one without a right one', () => {
  const folder = mkdtempSync(join(tmpdir(), 'daybreak-tune-'));
  const before = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = folder;
  try {
    const variants = VARIANTS.layer_norm!;
    const faults = variants.map(({ name }) => [name.slice('layer_norm/'.length), '[0]: expected 1, got 2']);
    const found = { kernels: digestOf(variants), best: {}, wrong: Object.fromEntries(faults) };
    keepMeasured(none, { layer_norm: found });
    const { chosen, wrong } = examineVariants(none);
    assert.is(wrong.length, variants.length);
    const norms = chosen.filter(({ problem }) => problem.startsWith('layer_norm '));
    assert.ok(norms.length > 0 && norms.every(({ by, variant }) => by === 'none right' && variant === '-'));
    assert.ok(chosen.some(({ by }) => by === 'default'));
  } finally {
    if (before === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = before;
    rmSync(folder, { recursive: true });
  }
});

test.run();
