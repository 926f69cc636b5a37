// tier: null
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { specs } from '../kernels/specs.ts';
import { runnable } from '../kernels/verify.ts';
import { matrixUnits } from '../runtime/adapter.ts';
import { CapabilityError, canRun, DryRunDevice, Graph, type MatrixUnit, openDevice } from '../runtime/index.ts';

const MATMUL = specs.find(({ name }) => name === 'matmul')!;
const KERNEL = MATMUL.variants.find(({ matrix }) => matrix)!;

/** An adapter's information with one configuration. */
function info(size: number, componentType: string, subgroupMinSize: number, subgroupMaxSize: number) {
  const config = { componentType, resultComponentType: 'f32', M: size, N: size, K: size };
  return { subgroupMatrixConfigs: [config], subgroupMinSize, subgroupMaxSize } as Partial<GPUAdapterInfo>;
}

/** A device with every feature and these matrix units. */
async function deviceWith(matrices: readonly MatrixUnit[] | undefined) {
  const device = new DryRunDevice(await openDevice({ adapter: 'null' }));
  return Object.assign(device, { matrices });
}

test('a kernel for matrix units runs where the adapter lists its sizes, types and lanes, and nowhere else', async () => {
  const c = MATMUL.cases.find((candidate) => MATMUL.applies!(KERNEL, candidate))!;
  const all = await deviceWith(undefined);
  const verdicts = [
    ['nothing listed', matrixUnits({}), false],
    ['NVIDIA', matrixUnits(info(16, 'f16', 32, 32)), true],
    ['RDNA3', matrixUnits(info(16, 'f16', 32, 64)), true],
    ['lavapipe of Mesa 26', matrixUnits(info(8, 'f16', 8, 8)), false],
    ['lanes of 16', matrixUnits(info(16, 'f16', 8, 16)), false],
    ['lanes of 64', matrixUnits(info(16, 'f16', 64, 64)), false],
    ['integers', matrixUnits(info(16, 'i8', 32, 32)), false],
  ] as const;
  assert.ok(runnable(all, MATMUL, c).includes(KERNEL), 'the null backend compiles for any');
  for (const [name, matrices, expected] of verdicts) {
    const device = await deviceWith(matrices);
    assert.is(canRun(device, KERNEL), expected, name);
    assert.is(runnable(device, MATMUL, c).includes(KERNEL), expected, name);
    const choose = () => new Graph(device, { variants: { matmul: KERNEL.name } }).variant('matmul', [KERNEL]);
    if (expected) assert.is(choose(), KERNEL, name);
    else
      assert.throws(
        choose,
        (e: Error) => e instanceof CapabilityError && /16x16x16 matrices of f16 to f32/.test(e.message),
      );
  }
  assert.not.ok(canRun({ features: new Set(), matrices: undefined }, KERNEL), 'features count as well');
});

test.run();
