import { type Quantization, quantizeWeights } from '../../kernels/index.ts';
import {
  type Device,
  Graph,
  type HostTensor,
  hostArray,
  Owned,
  Plan,
  roundUp,
  type Storage,
  type Tensor,
} from '../../runtime/index.ts';
import { COLUMN_MULTIPLE } from '../checkpoint/matrix_layout.ts';
import type { QuantizeWeights } from './rows.ts';

/** Quantises on a device: the same bits as on the host. */
export function quantizeOnDevice(device: Device): QuantizeWeights {
  return (weights, how) =>
    withQuantized(device, padColumns(weights), how, undefined, async ({ quants, scales }) => ({
      quants: (await device.download(quants!)).data as Uint32Array,
      scales: (await device.download(scales!)).data as Uint16Array,
    }));
}

/**
 * Quantises weights [rows, cols], cols a multiple of COLUMN_MULTIPLE, into memory for their quants and scales; returns the
 * first row with a weight that is not finite or beyond f16, where there is one.
 */
export function quantizeInto(
  device: Device,
  weights: HostTensor,
  how: Quantization,
  target: Target,
): Promise<number | undefined> {
  return withQuantized(device, weights, how, target, async ({ scales }) => {
    const { data, shape } = await device.download(scales!);
    const at = data.indexOf(F16_NAN);
    return at < 0 ? undefined : Math.floor(at / shape[1]!);
  });
}

/** The scale of a group that cannot be quantised. */
const F16_NAN = 0x7e00;

interface Target {
  quants: Storage;
  scales: Storage;
}

/** What `use` makes of quants and scales; memory that is not the target's is freed afterwards. */
async function withQuantized<T>(
  device: Device,
  weights: HostTensor,
  how: Quantization,
  target: Target | undefined,
  use: (result: Readonly<Record<string, Tensor>>) => Promise<T>,
): Promise<T> {
  const owned = new Owned(device);
  try {
    const graph = new Graph(device);
    const { quants, scales } = quantizeWeights(graph, owned.keep(device.upload(weights, 'weights')), how);
    graph.output('quants', quants, target?.quants);
    graph.output('scales', scales, target?.scales);
    const plan = owned.keep(await Plan.create(graph));
    return await use(plan.run());
  } finally {
    owned.free();
  }
}

/** Rows with zeros behind them, so that columns come to a multiple of COLUMN_MULTIPLE. */
function padColumns({ dtype, shape, data }: HostTensor): HostTensor {
  const [rows = 0, cols = 0] = shape;
  const padded = roundUp(cols, COLUMN_MULTIPLE);
  if (padded === cols) return { dtype, shape, data };
  const target = hostArray(dtype, rows * padded);
  for (let row = 0; row < rows; row++) target.set(data.subarray(row * cols, (row + 1) * cols), row * padded);
  return { dtype, shape: [rows, padded], data: target };
}
