// tier: null
import { mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { matmul } from '../kernels/index.ts';
import { choose } from '../kernels/policy.ts';
import { specs } from '../kernels/specs.ts';
import { runnable } from '../kernels/verify.ts';
import { type ListedUnit, matrixUnits } from '../runtime/adapter.ts';
import {
  CapabilityError,
  canRun,
  DryRunDevice,
  Graph,
  type MatrixUnit,
  matrixUnit,
  openDevice,
} from '../runtime/index.ts';
import { checkUnits } from '../runtime/matrix_units.ts';
import { unitLines } from '../tools/command/info.ts';
import { testDevice } from './gpu.ts';

const MATMUL = specs.find(({ name }) => name === 'matmul')!;
const VARIANT = MATMUL.variants.find(({ kernel }) => kernel.matrix)!;
const STUB = new URL('./fixtures/matrix_probe_stub.ts', import.meta.url);

/** A unit of an adapter whose subgroups have 8 to 32 lanes. */
const listed = (size: number, component = 'f16', result = 'f32') =>
  ({ component, result, M: size, N: size, K: size, lanes: [8, 32] }) as ListedUnit;

/** An adapter's information with these configurations. */
function info(configs: { component: string; result: string; M: number; N: number; K: number }[]) {
  const subgroupMatrixConfigs = configs.map(({ component, result, ...sizes }) => ({
    componentType: component,
    resultComponentType: result,
    ...sizes,
  }));
  return { subgroupMatrixConfigs, subgroupMinSize: 8, subgroupMaxSize: 32 } as Partial<GPUAdapterInfo>;
}

/** A device with every feature and these matrix units. */
async function deviceWith(matrices: readonly MatrixUnit[] | undefined) {
  const device = new DryRunDevice(await openDevice({ adapter: 'null' }));
  return Object.assign(device, { matrices });
}

/** An empty cache folder, and a folder in which stubs of the probe leave a file for each start. */
function freshFolders() {
  process.env.XDG_CACHE_HOME = mkdtempSync(join(tmpdir(), 'daybreak-cache-'));
  process.env.STUB_STARTS = mkdtempSync(join(tmpdir(), 'daybreak-starts-'));
  const cache = join(process.env.XDG_CACHE_HOME, 'daybreak');
  return { cache, starts: () => readdirSync(process.env.STUB_STARTS!).length };
}

const tried = (units: ListedUnit[], name = 'stub', driver = '1') =>
  checkUnits({ backend: 'vulkan', name }, driver, units, STUB);

test('an adapter without a list has no units; types and sizes that no kernel is written for are left out', () => {
  assert.equal(matrixUnits({}), []);
  const used = [listed(8), listed(16), listed(16, 'f16', 'f16'), listed(16, 'i8', 'i32')];
  const others = [listed(16, 'u8', 'u32'), listed(16, 'f32', 'f32'), listed(16, 'i8', 'f32'), listed(64)];
  assert.equal(matrixUnits(info([...used, ...others])), used);
});

test('a kernel for matrix units runs where the device has one of its types, and nowhere else', async () => {
  const c = MATMUL.cases.find((candidate) => MATMUL.applies!(VARIANT, candidate))!;
  assert.ok(runnable(await deviceWith(undefined), MATMUL, c).includes(VARIANT), 'the null backend compiles for any');
  const unit = (...given: Parameters<typeof listed>) => ({ ...listed(...given), lanes: 32 });
  const verdicts = [
    [[], false],
    [[unit(16)], true],
    [[unit(8)], true],
    [[unit(16, 'f16', 'f16'), unit(16, 'i8', 'i32')], false],
  ] as const;
  for (const [matrices, expected] of verdicts) {
    const device = await deviceWith(matrices);
    assert.is(canRun(device, VARIANT.kernel), expected);
    assert.is(runnable(device, MATMUL, c).includes(VARIANT), expected);
    const graph = new Graph(device, { variants: { matmul: VARIANT.name } });
    const chosen = () => choose(graph, 'matmul', '', [VARIANT]);
    if (expected) assert.is(chosen(), VARIANT);
    else assert.throws(chosen, (e: Error) => e instanceof CapabilityError && /matrices of f16 to f32/.test(e.message));
  }
  const bare = Object.assign(await deviceWith(undefined), { features: new Set() });
  assert.not.ok(canRun(bare, VARIANT.kernel), 'features count as well');
});

test('of several units of its types a kernel takes the largest', async () => {
  const units = [8, 16, 8].map((size) => ({ ...listed(size), lanes: 32 }));
  assert.is(matrixUnit(await deviceWith(units), VARIANT.kernel.matrix!), units[1]);
  assert.is(
    matrixUnit(await deviceWith([{ ...listed(16, 'i8', 'i32'), lanes: 32 }]), VARIANT.kernel.matrix!),
    undefined,
  );
});

test('weights of bf16 that f16 may not hold are multiplied by another variant, also where this one is asked for', async () => {
  const device = await deviceWith(undefined);
  const chosen = (dtype: 'bf16' | 'f16', fitsF16?: boolean) => {
    const graph = new Graph(device, { variants: { matmul: VARIANT.name } });
    const blocks = [{ tensor: graph.input('w', [32, 64], dtype), row: 0 }];
    matmul(graph, graph.input('x', [70, 64], 'f16'), { name: 'w', rows: 32, cols: 64, dtype, fitsF16, blocks });
    return graph.decisions[0]!.variant;
  };
  assert.is(chosen('bf16', true), VARIANT);
  assert.is(chosen('f16'), VARIANT);
  for (const fitsF16 of [false, undefined]) assert.not.ok(chosen('bf16', fitsF16).kernel.matrix);
});

test('info names the units, and those that were left out with the reason', () => {
  const wrong = { ...listed(8), reason: 'its process ended with SIGSEGV' };
  assert.equal(unitLines({ matrices: [{ ...listed(16), lanes: 32 }], unusable: [wrong] }), [
    'Matrix units: 16x16x16 of f16 to f32 in 32 lanes',
    '  listed but not used: 8x8x8 of f16 to f32: its process ended with SIGSEGV',
  ]);
  assert.equal(unitLines({ matrices: [], unusable: [] }), ['Matrix units: none']);
});

test('a unit that crashes, or is wrong in every subgroup size, is left out and named; the others are tried all the same', async () => {
  freshFolders();
  const narrow = { ...listed(16), lanes: [32, 32] } as ListedUnit;
  const wide = { ...listed(16), lanes: [64, 128] } as ListedUnit;
  const { matrices, unusable } = await tried([listed(8), listed(16), narrow, wide]);
  assert.equal(matrices, [{ ...listed(16), lanes: 16 }]);
  assert.equal(unusable, [
    { ...listed(8), reason: 'its process ended with SIGSEGV' },
    { ...narrow, reason: 'in 32 lanes: a product of 32 lanes is wrong' },
    { ...wide, reason: 'subgroups have 64 to 128 lanes' },
  ]);
});

test('what came out is kept by adapter, driver and list, unless it is damaged', async () => {
  const { cache, starts } = freshFolders();
  const units = [listed(16), { ...listed(16), lanes: [32, 32] } as ListedUnit];
  const first = await tried(units);
  assert.is(first.matrices.length, 1);
  assert.equal(await tried(units), first);
  assert.is(starts(), 1, 'nothing is tried again');
  const kept = readdirSync(cache).find((name) => name.startsWith('matrices-'))!;
  for (const [i, damaged] of ['[', '[]', '[{"lanes":16},{"lanes":16}]', '[null,null]'].entries()) {
    writeFileSync(join(cache, kept), damaged);
    assert.equal(await tried(units), first, damaged);
    assert.is(starts(), 2 + i, damaged);
  }
  await tried([listed(16)]);
  await tried(units, 'another');
  await tried(units, 'stub', '2');
  assert.is(starts(), 8);
});

test('an adapter that does not open for the probe has no units, and that is not kept', async () => {
  const { starts } = freshFolders();
  for (const start of [1, 2]) {
    const { matrices, unusable } = await tried([listed(16)], 'does not open');
    assert.equal(matrices, []);
    assert.is(unusable[0]!.reason, 'not tried: its process ended with 1');
    assert.is(starts(), start);
  }
});

test('an adapter without a list costs no process; a backend that computes nothing is found out', async () => {
  const { cache } = freshFolders();
  assert.equal(await tried([]), { matrices: [], unusable: [] });
  assert.throws(() => readdirSync(cache), /ENOENT/);
  const units = [{ ...listed(16), lanes: [32, 32] } as ListedUnit];
  const { matrices, unusable } = await checkUnits({ backend: 'null', name: 'null' }, '', units);
  assert.equal(matrices, []);
  assert.match(unusable[0]!.reason, /^in 32 lanes: expected -?\d+ at \[\d+, \d+\] of a product, got /);
});

const device = await testDevice();
const LAVAPIPE_WITH_UNITS = /\(LLVM [\d.]+, 256 bits\).*Mesa 2[6-9]/; // with 512 bits Mesa 26.1 dies of a matrix
if (device && LAVAPIPE_WITH_UNITS.test(`${device.name} ${device.driver}`)) {
  test('lavapipe of Mesa 26 has units of 8 x 8 x 8', () => {
    assert.equal(device.unusable, []);
    const types = device.matrices!.map(({ component, result, M, lanes }) => `${component} ${result} ${M} ${lanes}`);
    assert.equal(types.sort(), ['f16 f16 8 8', 'f16 f32 8 8', 'i8 i32 8 8']);
  });
}

test.run();
