// tier: null
// Which variant an op takes: the one asked for by name, else what the tables say of its problem.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { unmeasured } from '../bench/tune.ts';
import { DEFAULTS } from '../kernels/defaults.ts';
import { COMMITTED, digestOf, familyOf, fileOf, keepMeasured, type MeasuredOp, tablesOf } from '../kernels/measured.ts';
import { choose } from '../kernels/policy.ts';
import { type Case, type OpSpec, Random } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { checkForced, VARIANTS } from '../kernels/variants.ts';
import { chosenVariant } from '../kernels/verify.ts';
import {
  CapabilityError,
  DryRunDevice,
  type Feature,
  Graph,
  loadKernel,
  openDevice,
  UsageError,
} from '../runtime/index.ts';
import { bindingDevice, limitedDevice } from './fixtures/binding_device.ts';

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
  ['matmul', { rows: 1, weights: 'bf16', from: 'f32' }, 'gemv_register', 'gemv_subgroup', 'gemv_register'],
  ['matmul', { rows: 1, weights: 'q4', from: 'f32' }, 'gemv_shuffle', 'gemv_half', 'gemv_register'],
  ['matmul', { rows: 1, weights: 'q8', from: 'f32' }, 'gemv_shuffle', 'gemv_subgroup', 'gemv_register'],
  ['matmul', { rows: 1, weights: 'q4', from: 'i8' }, 'matmul_dot_shuffle', 'gemv_dot_subgroup', 'matmul_dot_tile'],
  ['matmul', { rows: 5, weights: 'bf16' }, 'matmul_subgroup', 'gemv_subgroup', 'matmul_tile'],
  ['matmul', { rows: 5, weights: 'q4', from: 'f32' }, 'gemv_shuffle', 'gemv_half', 'matmul_tile'],
  ['matmul', { rows: 5, weights: 'q4', from: 'i8' }, 'matmul_dot_shuffle', 'gemv_dot_subgroup', 'matmul_dot_tile'],
  ['matmul', { rows: 9, weights: 'bf16' }, 'matmul_subgroup', 'matmul_tile', 'matmul_tile'],
  ['matmul', { rows: 64, weights: 'q4', from: 'i8' }, 'matmul_dot_shuffle', 'matmul_dot_tile', 'matmul_dot_tile'],
  ['matmul', { rows: 65, weights: 'q4', from: 'f16' }, 'matmul_subgroup', 'matmul_tile', 'matmul_tile'],
  [
    ...(['matmul', { rows: 1, weights: 'q4', from: 'i8', norm: true, show: 'y' }] as const),
    ...(['matmul_dot_shuffle', 'gemv_dot_subgroup_normed', 'matmul_dot_tile'] as const),
  ],
  [
    ...(['matmul', { rows: 1, weights: 'q4', from: 'i8', norm: true, show: 'quants' }] as const),
    ...(['matmul_dot_shuffle', 'gemv_dot_subgroup_normed_int8', 'matmul_dot_tile'] as const),
  ],
  ['matmul', { rows: 5, weights: 'q4', from: 'f16', norm: true }, 'gemv_shuffle', 'gemv_half_normed', 'matmul_tile'],
  ['attention', { tokens: 1, causal: true }, 'attention_decode_shuffle', 'attention_decode_subgroup', 'attention_tile'],
  ['attention', { tokens: 8, causal: true }, 'attention_decode_shuffle', 'attention_decode_subgroup', 'attention_tile'],
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
    [5, 'gemv_subgroup'],
  ] as const) {
    const fields = { rows, weights: 'bf16', from: 'f16' };
    assert.is(taken(adapter(false, all), 'matmul', fields), on);
    const without = rows === 5 ? 'gemv_subgroup' : 'matmul_tile';
    assert.is(taken(adapter(false, all, [] as never), 'matmul', fields), without, 'a GPU that has none');
    assert.is(taken(adapter(true, all), 'matmul', fields), 'matmul_subgroup');
  }
});

test('attention in f16 goes to matrix units where a GPU has them, in f32 never', () => {
  const all: Feature[] = [...SUBGROUPS, 'subgroup-size-control', 'chromium-experimental-subgroup-matrix'];
  for (const causal of [true, false]) {
    const halves = { tokens: 64, causal, as: 'f16', kv: 'f16' };
    assert.is(taken(adapter(false, all), 'attention', { ...halves, as: 'f32', kv: 'f32' }), 'attention_tile');
    assert.is(taken(adapter(false, all), 'attention', halves), 'attention_matrix');
    assert.is(taken(adapter(false, all, [] as never), 'attention', halves), 'attention_tile', 'a GPU that has none');
    assert.is(taken(adapter(true, all), 'attention', halves), 'attention');
  }
});

test('attention goes to matrix units whose tiles fit the device, and elsewhere to tiles', () => {
  const all: Feature[] = [...SUBGROUPS, 'subgroup-size-control', 'chromium-experimental-subgroup-matrix'];
  const fields = { tokens: 64, causal: true, as: 'f16', kv: 'f16' };
  for (const [side, bytes, expected] of [
    [16, 32768, 'attention_matrix'],
    [16, 16384, 'attention_tile'], // the smallest size has fewer keys than matrices of its subgroups
    [8, 16384, 'attention_matrix'],
  ] as const) {
    const unit = { component: 'f16', result: 'f32', M: side, N: side, K: side, lanes: 32 };
    const device = limitedDevice(adapter(false, all, [unit] as never), { maxComputeWorkgroupStorageSize: bytes });
    assert.is(taken(device, 'attention', fields), expected, `${side}, ${bytes} bytes`);
  }
});

test('attention with workgroups of one small subgroup is left out where subgroups have 32 lanes', () => {
  for (const [leastLanes, expected] of [
    [16, 'attention'],
    [32, 'attention_tile'],
  ] as const) {
    const device = Object.assign(adapter(true), { leastLanes });
    assert.is(taken(device, 'attention', { tokens: 9, causal: true }), expected);
  }
});

test('qkv runs apart where blocks cut four columns, which its kernels finish at once', () => {
  const device = bindingDevice(adapter(true), 10);
  assert.is(taken(device, 'qkv', { rows: 9, split: 30 }), 'apart');
  assert.is(taken(device, 'qkv', { rows: 66, split: 36 }), 'matmul_subgroup');
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
  checkForced({ matmul: ['matmul/matmul_matrix:DOWN=2,ACROSS=2', 'matmul_tile'], attention: 'attention' });
  const refused = (message: RegExp) => (error: Error) => error instanceof UsageError && message.test(error.message);
  assert.throws(
    () => checkForced({ matmul: 'matmul_matrix:DOWN=7' }),
    refused(/^matmul: variant: expected one of .*matmul_matrix:DOWN=2.*, got 'matmul_matrix:DOWN=7'$/),
  );
  assert.throws(
    () => checkForced({ matmull: 'gemv' }),
    refused(/^variants: expected one of attention, layer_norm, matmul, qkv, rms_norm, got 'matmull'$/),
  );
});

const folder = mkdtempSync(join(tmpdir(), 'daybreak-policy-'));
process.env.XDG_CACHE_HOME = folder;
test.after(() => rmSync(folder, { recursive: true }));

let adapters = 0;
/** A GPU that nothing is known of yet. */
const unknown = () => Object.assign(adapter(false), { name: `GPU ${adapters++}`, driver: 'driver 1' });
const step = { rows: 1, weights: 'bf16', from: 'f32' };
const kernels = digestOf(VARIANTS.matmul!);
/** What a table says of matmul for one row of f32 and weights in bf16. */
const table = (names: string[], wrong: Record<string, string> = {}) => ({
  matmul: { kernels, best: { 'matmul 1 f32 bf16': names }, wrong },
});

test('what was measured of an adapter comes before the defaults, as far as it goes', () => {
  const device = unknown();
  const file = keepMeasured(device, table(['matmul_tile', 'matmul_register']))!;
  assert.is(taken(device, 'matmul', step), 'matmul_tile');
  assert.is(taken(device, 'matmul', { rows: 1, weights: 'q4', from: 'f32' }), 'gemv_half');
  assert.is(taken(device, 'attention', { tokens: 9, causal: true }), 'attention_tile');
  assert.is(taken(unknown(), 'matmul', step), 'gemv_subgroup');
  keepMeasured(device, { matmul: { kernels, best: { 'matmul 1 f32 q4': ['gemv_shuffle'] }, wrong: {} } });
  assert.is(taken(device, 'matmul', { rows: 1, weights: 'q4', from: 'f32' }), 'gemv_shuffle');
  assert.is(taken(device, 'matmul', step), 'matmul_tile', 'what is not measured again stays');
  assert.equal(Object.keys(JSON.parse(readFileSync(file, 'utf8')).ops.matmul.best).length, 2);
});

test('a variant that the device cannot run is passed over, and one that was found wrong is, unless it is asked for', () => {
  const bare = Object.assign(unknown(), { features: new Set(['shader-f16']) });
  keepMeasured(bare, table(['gemv_subgroup', 'gemv_register']));
  assert.is(taken(bare, 'matmul', step), 'gemv_register');
  const device = unknown();
  keepMeasured(
    device,
    table(['gemv_subgroup', 'gemv_register', 'matmul_register'], { gemv_subgroup: 'NaN', gemv_register: 'NaN' }),
  );
  assert.is(taken(device, 'matmul', step), 'matmul_register');
  const graph = new Graph(device, { variants: { matmul: 'gemv_subgroup' } });
  assert.is(choose(graph, 'matmul', '1 f32 bf16', VARIANTS.matmul!).name, 'matmul/gemv_subgroup');
  const all = Object.fromEntries(VARIANTS.matmul!.map(({ name }) => [name.split('/')[1]!, 'NaN']));
  keepMeasured(device, table([], all));
  assert.throws(
    () => taken(device, 'matmul', step),
    (error: Error) =>
      error instanceof CapabilityError &&
      /^matmul: expected a variant that is right on 'GPU .*gemv_register: NaN/.test(error.message),
  );
});

test('a table of other kernels counts for nothing', () => {
  const device = unknown();
  keepMeasured(device, {
    matmul: { ...table(['matmul_tile'], { gemv_subgroup: 'NaN' }).matmul, kernels: '0123456789abcdef' },
  });
  assert.is(taken(device, 'matmul', step), 'gemv_subgroup');
  const [changed] = VARIANTS.matmul!;
  const commented = join(folder, 'commented.wgsl');
  const { text } = loadKernel(changed!.kernel);
  const digest = (source: string) => {
    writeFileSync(commented, source);
    return digestOf([{ ...changed!, kernel: { name: changed!.kernel.name, source: pathToFileURL(commented) } }]);
  };
  assert.is(digest(`// another comment\n${text}`), digest(text));
  assert.is.not(digest(`${text}\nconst MORE = 1u;`), digest(text));
});

test('damaged and foreign files are told by one word, and count for nothing', () => {
  const known = unknown();
  const good = readFileSync(keepMeasured(known, table(['matmul_tile']))!, 'utf8');
  const written = (text: string) => {
    const device = unknown();
    writeFileSync(fileOf(device), text);
    const [found] = tablesOf(device);
    assert.is(taken(device, 'matmul', step), 'gemv_subgroup');
    return found!.problem;
  };
  assert.is(written(good), 'foreign');
  const holed = [
    { adapter: 1 },
    { ops: [] },
    { ops: { matmul: {} } },
    { ops: { matmul: { ...table(['gemv']).matmul, best: { 'matmul 1 f32 bf16': 'gemv' } } } },
  ];
  const texts = holed.map((part) => JSON.stringify({ ...JSON.parse(good), ...part }));
  for (const text of ['', '{', '[]', 'null', good.slice(0, -2), ' '.repeat(2 ** 21), ...texts])
    assert.is(written(text), 'damaged', text);
});

for (const { adapter: name, driver, ops } of COMMITTED) {
  test(`the table of ${name}, ${driver} is of the kernels as they are`, () => {
    const measured = Object.keys(VARIANTS).map((op) => [op, ops[op]?.kernels]);
    const current = Object.entries(VARIANTS).map(([op, variants]) => [op, digestOf(variants)]);
    assert.equal(measured, current);
  });
}

test('what a committed table has of other kernels is measured once, the rest is not', () => {
  const names = { name: 'llvmpipe (LLVM 15.0.6, 256 bits)', driver: 'llvmpipe: Mesa 25.0.7' };
  const device = Object.assign(adapter(true, SUBGROUPS, [] as never), names);
  const { ops } = tablesOf(device)[0]!.table! as { ops: Record<string, MeasuredOp> };
  const before = { ...ops };
  for (const [op, variants] of Object.entries(VARIANTS)) ops[op] = { kernels: digestOf(variants), best: {}, wrong: {} };
  const measured = () => [
    ...new Set(unmeasured(device, { model: '', synthetic: '15b' }).map(({ problem }) => problem.op)),
  ];
  assert.equal(measured(), []);
  ops.rms_norm = { ...ops.rms_norm!, kernels: '0123456789abcdef' };
  delete ops.attention;
  assert.equal(measured().sort(), ['attention', 'rms_norm']);
  Object.assign(ops, before);
});

test('a committed table is that of an adapter and driver, whatever the build', () => {
  const lavapipe = {
    name: 'llvmpipe (LLVM 15.0.6, 256 bits)',
    driver: 'llvmpipe: Mesa 25.0.7-2~bpo12+1 (LLVM 15.0.6) 0.0.1',
  };
  assert.equal(familyOf(lavapipe), { adapter: 'llvmpipe', driver: 'Mesa 25' });
  const amd = { name: 'AMD Radeon RX 7900 XTX (RADV NAVI31)', driver: 'radv: Mesa 26.1.0' };
  assert.equal(familyOf(amd), { adapter: 'AMD Radeon RX 7900 XTX', driver: 'Mesa 26' });
  const nvidia = { name: 'NVIDIA H100 80GB HBM3', driver: 'NVIDIA: 570.86.15 570.86.15' };
  assert.equal(familyOf(nvidia), { adapter: nvidia.name, driver: nvidia.driver });
});

test.run();
