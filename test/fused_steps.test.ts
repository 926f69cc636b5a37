// tier: null
// A step of decoding at the published shapes in as few dispatches as its kernels allow, and what activations are unless told.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { matmul } from '../kernels/index.ts';
import { type LoadOptions, openSynthetic, Phi4Vision } from '../model/index.ts';
import { type DryRunDevice, type Feature, Graph, openDevice, ShapeError } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { bindingDevice } from './fixtures/binding_device.ts';

const none = await openDevice({ adapter: 'null' });

/** A device of a kind, on which nothing lacks bindings. */
function adapter(onCpu: boolean, features: readonly Feature[] = ['shader-f16', 'subgroups']) {
  return Object.assign(bindingDevice(none, 16), { onCpu, features: new Set(features), matrices: [] });
}

const load = (device: DryRunDevice, shape: string, options: LoadOptions = {}) => {
  const { config, source } = openSynthetic(shape, 'int4', 1);
  return Phi4Vision.fromSource(device, config, source, options);
};

/** The kernels of a layer of one row. */
async function layerOf(device: DryRunDevice, options: LoadOptions): Promise<string[]> {
  const model = await load(device, '15b', options);
  const steps = model.engine.recordChunk(1).steps.filter(({ scope }) => scope.startsWith('layers.7.'));
  return steps.flatMap((step) => (step.kind === 'dispatch' ? step.kernel.name : []));
}

const NORMED = 'gemv_dot_subgroup_normed';
const FORCED = {
  attention: 'attention_decode_subgroup',
  qkv: NORMED,
  matmul: [`${NORMED}_int8`, 'gemv_dot_subgroup'],
};

test('a layer is six dispatches where that is asked for, and on a GPU', async () => {
  for (const [device, variants] of [
    [adapter(true), FORCED],
    [adapter(false), {}],
  ] as const) {
    assert.equal(await layerOf(device, { int8Activations: true, dtype: 'f16', variants }), [
      `qkv/${NORMED}`,
      'attention/attention_decode_subgroup',
      'attention/attention_merge_int8',
      'matmul/gemv_dot_subgroup',
      `matmul/${NORMED}_int8`,
      'matmul/gemv_dot_subgroup',
    ]);
  }
});

test('on a CPU a norm and its quantising are one dispatch of their own, and so is quantising but where attention merges', async () => {
  const kernels = await layerOf(adapter(true), { int8Activations: true });
  const quantising = kernels.filter((name) => /^(rms_norm|quantize_rows)\//.test(name));
  const normed = 'quantize_rows/quantize_rows_normed';
  assert.equal(quantising, [normed, normed, 'quantize_rows/quantize_rows']);
  assert.is(kernels.filter((name) => /^(matmul|qkv)\/.*_(normed|int8)/.test(name)).length, 0);
});

test('activations are f16 and integers on a GPU, f32 on a CPU, there integers from 8 lanes on, and as they are asked for', async () => {
  const stored = async (device: DryRunDevice, options: LoadOptions = {}, shape = '15b') => {
    const { dtype, int8Activations } = await load(device, shape, options);
    return [dtype, int8Activations];
  };
  assert.equal(await stored(adapter(false)), ['f16', true]);
  assert.equal(await stored(adapter(false, ['subgroups'])), ['f32', true]);
  const cpu = (leastLanes: number) => Object.assign(adapter(true), { leastLanes });
  assert.equal(await stored(cpu(4)), ['f32', false]);
  assert.equal(await stored(cpu(8)), ['f32', true]);
  assert.equal(await stored(adapter(false), { dtype: 'f32', int8Activations: false }), ['f32', false]);
  assert.equal(await stored(adapter(true), { dtype: 'f16', int8Activations: true }), ['f16', true]);
  const { config, source } = openSynthetic(TINY, 'bf16', 1);
  const plain = await Phi4Vision.fromSource(adapter(false), config, source);
  assert.equal([plain.dtype, plain.int8Activations], ['f16', false], 'there are no quantised weights');
});

test('quantised rows of other sizes than their columns have are refused in words', () => {
  const g = new Graph(none);
  const x = { quants: g.input('quants', [2, 16], 'u32'), scales: g.input('scales', [2, 2], 'f32'), cols: 40 };
  const blocks = [{ tensor: g.input('w', [24, 8], 'u32'), scales: g.input('w scales', [24, 2], 'f16'), row: 0 }];
  const w = { name: 'w', rows: 24, cols: 40, dtype: 'q4', group: 32, blocks } as const;
  assert.equal(matmul(g, x, w).shape, [2, 24]);
  const refused = (rows: Partial<typeof x>, message: RegExp) =>
    assert.throws(
      () => matmul(g, { ...x, ...rows }, w),
      (e: Error) => e instanceof ShapeError && message.test(e.message),
    );
  refused({ cols: 72 }, /^matmul: quants of x: expected u32 \[2, 24\], got u32 \[2, 16\]/);
  refused({ quants: g.input('i32', [2, 16], 'i32') }, /^matmul: quants of x: expected u32 \[2, 16\], got i32/);
  const short = g.input('one row', [1, 2], 'f32');
  refused({ scales: short }, /^matmul: scales of x: expected f32 \[2, 2\], got f32 \[1, 2\]/);
});

test('rows that cannot be normed and results that cannot be quantised are refused in words', () => {
  const g = new Graph(none);
  const x = g.input('x', [2, 64], 'f32');
  const [halves, norm, short] = [
    g.input('halves', [2, 64], 'f16'),
    g.input('norm', [64], 'f32'),
    g.input('short', [8], 'f32'),
  ];
  const tensor = g.input('w', [24, 64], 'f32');
  const w = { name: 'w', rows: 24, cols: 64, dtype: 'f32', blocks: [{ tensor, row: 0 }] } as const;
  const normed = { x, norm, eps: 1e-5, as: 'f32', int8: false } as const;
  assert.throws(
    () => matmul(g, { ...normed, x: halves }, w),
    /^matmul: x: expected f32, as it is to be normed, got f16/,
  );
  assert.throws(() => matmul(g, { ...normed, norm: short }, w), /^matmul: norm: expected f32 \[64\], got f32 \[8\]/);
  const bf16 = g.input('bf16', [64], 'bf16');
  assert.throws(() => matmul(g, { ...normed, norm: bf16 }, w), /^matmul: norm: expected f32 \[64\], got bf16 \[64\]/);
  assert.throws(() => matmul(g, { ...normed, int8: true }, w), /^matmul: w: expected q4 or q8, as x is quantised/);
  const odd = { activation: 'silu_gate', int8: true } as const;
  assert.throws(() => matmul(g, normed, w, odd), /^matmul: columns of y: expected a multiple of 8, .*, got 12/);
});

test.run();
