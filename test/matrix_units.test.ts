// tier: null
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { choose } from '../kernels/policy.ts';
import { specs } from '../kernels/specs.ts';
import { runnable } from '../kernels/verify.ts';
import { matrixUnits } from '../runtime/adapter.ts';
import { CapabilityError, canRun, DryRunDevice, Graph, type MatrixUnit, openDevice } from '../runtime/index.ts';

const MATMUL = specs.find(({ name }) => name === 'matmul')!;
const VARIANT = MATMUL.variants.find(({ kernel }) => kernel.matrix)!;

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
  const c = MATMUL.cases.find((candidate) => MATMUL.applies!(VARIANT, candidate))!;
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
  assert.ok(runnable(all, MATMUL, c).includes(VARIANT), 'the null backend compiles for any');
  for (const [name, matrices, expected] of verdicts) {
    const device = await deviceWith(matrices);
    assert.is(canRun(device, VARIANT.kernel), expected, name);
    assert.is(runnable(device, MATMUL, c).includes(VARIANT), expected, name);
    const graph = new Graph(device, { variants: { matmul: VARIANT.name } });
    const chosen = () => choose(graph, 'matmul', '', [VARIANT]);
    if (expected) assert.is(chosen(), VARIANT, name);
    else
      assert.throws(
        chosen,
        (e: Error) => e instanceof CapabilityError && /16x16x16 matrices of f16 to f32/.test(e.message),
      );
  }
  assert.not.ok(canRun({ features: new Set(), matrices: undefined }, VARIANT.kernel), 'features count as well');
});

test.run();
