// tier: null
// Which variant an op takes: the one asked for by name, else what the tables say of its problem.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DEFAULTS } from '../kernels/defaults.ts';
import { type Case, type OpSpec, Random } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { checkForced, VARIANTS } from '../kernels/variants.ts';
import { chosenVariant } from '../kernels/verify.ts';
import { DryRunDevice, type Feature, Graph, openDevice, UsageError } from '../runtime/index.ts';

const none = await openDevice({ adapter: 'null' });
const SUBGROUPS: Feature[] = ['shader-f16', 'subgroups'];

/** A device that nobody has measured, with these features. */
function adapter(onCpu: boolean, features: readonly Feature[] = SUBGROUPS, matrices = undefined as never) {
  return Object.assign(new DryRunDevice(none), { onCpu, features: new Set(features), matrices });
}

const spec = (name: string): OpSpec => specs.find((each) => each.name === name)!;

/** What an op takes for its first case or bench shape with these fields. */
function taken(device: DryRunDevice, op: string, fields: Case): string {
  const { cases, bench } = spec(op);
  const found = [...cases, ...bench].find((c) => Object.entries(fields).every(([key, value]) => c[key] === value))!;
  return chosenVariant(device, spec(op), found, spec(op).inputs(found, new Random(1)))!.name.split('/')[1]!;
}

const TAKEN: [op: string, fields: Case, cpu: string, gpu: string, bare: string][] = [
  ['matmul', { rows: 1, weights: 'bf16', from: 'f32' }, 'gemv_register', 'gemv_subgroup', 'gemv'],
  ['matmul', { rows: 1, weights: 'q4', from: 'f32' }, 'gemv_shuffle', 'gemv_subgroup', 'gemv'],
  ['matmul', { rows: 1, weights: 'q8', from: 'f32' }, 'gemv_shuffle', 'gemv_subgroup', 'gemv'],
  ['matmul', { rows: 1, weights: 'q4', from: 'i8' }, 'gemv_dot:LANES=8', 'gemv_dot_subgroup', 'gemv_dot'],
  ['matmul', { rows: 5, weights: 'bf16' }, 'matmul_subgroup', 'matmul_tile', 'matmul_tile'],
  ['matmul', { rows: 64, weights: 'q4', from: 'i8' }, 'matmul_dot_register', 'matmul_dot_tile', 'matmul_dot_tile'],
  ['matmul', { rows: 65, weights: 'q4', from: 'f16' }, 'matmul_subgroup', 'matmul_tile', 'matmul_tile'],
  ['attention', { tokens: 1, causal: true }, 'attention_decode', 'attention_decode_subgroup', 'attention_decode'],
  ['attention', { tokens: 8, causal: true }, 'attention_decode', 'attention_decode_subgroup', 'attention_decode'],
  ['attention', { tokens: 9, causal: true }, 'attention', 'attention_tile', 'attention_tile'],
  ['attention', { tokens: 101, causal: false }, 'attention', 'attention_tile', 'attention_tile'],
  ['rms_norm', { rows: 1, cols: 5120 }, 'rms_norm_subgroup:WG=256', 'rms_norm_subgroup:WG=256', 'rms_norm'],
  ['rms_norm', { rows: 63, cols: 1028 }, 'rms_norm_subgroup:WG=256', 'rms_norm_subgroup:WG=256', 'rms_norm'],
  ['rms_norm', { rows: 64, cols: 1028 }, 'rms_norm_subgroup', 'rms_norm_subgroup', 'rms_norm'],
  ['rms_norm', { rows: 3, cols: 64 }, 'rms_norm_subgroup', 'rms_norm_subgroup', 'rms_norm'],
  ['rms_norm', { rows: 3, cols: 65 }, 'rms_norm', 'rms_norm', 'rms_norm'],
  ['layer_norm', { as: 'f32' }, 'layer_norm_subgroup', 'layer_norm_subgroup', 'layer_norm'],
];

for (const [op, fields, cpu, gpu, bare] of TAKEN) {
  test(`${op} ${JSON.stringify(fields)}: on a CPU ${cpu}, on a GPU ${gpu}, without subgroups ${bare}`, () => {
    assert.is(taken(adapter(true), op, fields), cpu);
    assert.is(taken(adapter(false), op, fields), gpu);
    assert.is(taken(adapter(false, ['shader-f16']), op, fields), bare);
  });
}

test('rows of f16 go to matrix units where a GPU has them, never to those of a CPU', () => {
  const all: Feature[] = [...SUBGROUPS, 'subgroup-size-control', 'chromium-experimental-subgroup-matrix'];
  for (const [rows, on] of [
    [300, 'matmul_matrix'],
    [33, 'matmul_matrix:DOWN=2,ACROSS=2'],
    [5, 'matmul_tile'],
  ] as const) {
    const fields = { rows, weights: 'bf16', from: 'f16' };
    assert.is(taken(adapter(false, all), 'matmul', fields), on);
    assert.is(taken(adapter(false, all, [] as never), 'matmul', fields), 'matmul_tile', 'a GPU that has none');
    assert.is(taken(adapter(true, all), 'matmul', fields), 'matmul_subgroup');
  }
});

test('the defaults name every variant of every op that has a choice, and nothing else', () => {
  for (const ranking of Object.values(DEFAULTS)) {
    for (const [op, variants] of Object.entries(VARIANTS)) {
      const keys = Object.keys(ranking).filter((key) => key.split(' ')[0] === op);
      const named = new Set(keys.flatMap((key) => ranking[key]!.map((name) => `${op}/${name}`)));
      assert.equal([...named].sort(), variants.map(({ name }) => name).sort());
    }
    for (const key of Object.keys(ranking)) assert.ok(VARIANTS[key.split(' ')[0]!], key);
  }
});

test('the ops that choose are those that are listed as having a choice', () => {
  const choosing = specs.filter((each) => {
    const graph = new Graph(none);
    const c = each.cases[0]!;
    const inputs = Object.entries(each.inputs(c, new Random(1)));
    const tensors = inputs.map(([name, { shape, dtype }]) => [name, graph.input(name, shape, dtype)]);
    each.record(graph, Object.fromEntries(tensors), c);
    return graph.decisions.length > 0;
  });
  assert.equal(choosing.map(({ name }) => name).sort(), Object.keys(VARIANTS).sort());
});

test('a name asked for must be a variant of an op that has a choice', () => {
  checkForced({ matmul: ['matmul/gemv_dot:LANES=8', 'matmul_tile'], attention: 'attention' });
  const refused = (message: RegExp) => (error: Error) => error instanceof UsageError && message.test(error.message);
  assert.throws(
    () => checkForced({ matmul: 'gemv_dot:LANES=7' }),
    refused(/^matmul: variant: expected one of .*gemv_dot:LANES=8.*, got 'gemv_dot:LANES=7'$/),
  );
  assert.throws(
    () => checkForced({ matmull: 'gemv' }),
    refused(/^variants: expected one of attention, layer_norm, matmul, rms_norm, got 'matmull'$/),
  );
});

test.run();
