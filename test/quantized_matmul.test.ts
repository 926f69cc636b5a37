// tier: gpu
// nopt
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  dequantizeWeightsHost,
  matmul,
  type Quantization,
  quantizeRows,
  quantizeWeights,
  quantizeWeightsHost,
} from '../kernels/index.ts';
import { variants } from '../kernels/matmul/matmul.ts';
import { applies } from '../kernels/matmul/product.ts';
import { Random } from '../kernels/spec.ts';
import { canRun, type Device, Graph, type HostTensor, type Matrix, narrow, Plan, widen } from '../runtime/index.ts';
import { quick, testDevice } from './gpu.ts';

const device = await testDevice();

/** Weights of all magnitudes: near zero, below the smallest normal f16, near its largest, and the usual. */
function oddWeights(rows: number, inner: number, dtype: 'f32' | 'bf16' | 'f16'): HostTensor {
  const random = new Random(1);
  const sizes = [0, 1e-30, 1e-9, 3e-6, 1e-5, 1e-3, 0.02, 1, 12000];
  const values = Float32Array.from(
    { length: rows * inner },
    (_, i) => random.normal() * sizes[(i >> 5) % sizes.length]!,
  );
  return { shape: [rows, inner], dtype, data: narrow(dtype, values) };
}

async function quantized(on: Device, weights: HostTensor, how: Quantization) {
  const graph = new Graph(on);
  const { quants, scales } = quantizeWeights(graph, on.upload(weights, 'w'), how);
  graph.output('quants', quants);
  graph.output('scales', scales);
  const outputs = (await Plan.create(graph)).run();
  return { quants: (await on.download(outputs.quants!)).data, scales: (await on.download(outputs.scales!)).data };
}

/** A q4 or q8 matrix of random weights, and what it stands for. */
function randomMatrix(on: Device, rows: number, inner: number, { format, group }: Quantization, random: Random) {
  const weights = Float32Array.from({ length: rows * inner }, () => random.normal() * inner ** -0.5);
  const { quants, scales } = quantizeWeightsHost(weights, rows, inner, { format, group });
  const of = (data: Uint32Array | Uint16Array, dtype: 'u32' | 'f16') =>
    on.upload({ shape: [rows, data.length / rows], dtype, data }, dtype);
  const blocks = [{ tensor: of(quants, 'u32'), scales: of(scales, 'f16'), row: 0 }];
  const matrix: Matrix = { name: 'w', rows, cols: inner, dtype: format, group, blocks };
  return { matrix, values: dequantizeWeightsHost({ quants, scales }, rows, inner, { format, group }) };
}

/** x w^T on the device, NaN behind all of x, x as it is or as 8-bit integers, with one variant where it is named. */
async function product(on: Device, x: HostTensor, w: Matrix, asInt8: boolean, variant?: string): Promise<Float32Array> {
  const graph = new Graph(on, { variants: variant ? { matmul: variant } : {} });
  const input = graph.input('x', x.shape, x.dtype);
  graph.output('y', matmul(graph, asInt8 ? quantizeRows(graph, input) : input, w));
  const plan = await Plan.create(graph, { guardBytes: 256 });
  const { dtype, data } = await on.download(plan.run({ x }).y!);
  plan.dispose();
  return widen(dtype, data);
}

/** The largest error of the first `rows` rows over the largest value. */
function largestError(got: Float32Array, x: Float32Array, w: Float32Array, inner: number, rows: number): number {
  const outs = w.length / inner;
  let [error, largest] = [0, 0];
  for (let at = 0; at < rows * outs; at++) {
    const [r, n] = [Math.floor(at / outs), at % outs];
    let sum = 0;
    for (let k = 0; k < inner; k++) sum += x[r * inner + k]! * w[n * inner + k]!;
    error = Math.max(error, Number.isFinite(got[at]!) ? Math.abs(got[at]! - sum) : Number.POSITIVE_INFINITY);
    largest = Math.max(largest, Math.abs(sum));
  }
  return error / largest;
}

if (device) {
  for (const [dtype, format, group, inner] of [
    ['bf16', 'q4', 64, 4304],
    ['f32', 'q8', 32, 360],
    ['f16', 'q4', 128, 1160],
  ] as const) {
    test(`the device quantises ${dtype} to ${format} with the bits of the host`, async () => {
      const weights = oddWeights(33, inner, dtype);
      const got = await quantized(device, weights, { format, group });
      const expected = quantizeWeightsHost(widen(dtype, weights.data), 33, inner, { format, group });
      assert.equal(got.scales, expected.scales);
      assert.equal(got.quants, expected.quants);
    });
  }

  test('a group with a weight that is no number or beyond f16 gets the scale NaN, others their own', async () => {
    const weights = oddWeights(1, 4 * 64, 'f32');
    const expected = quantizeWeightsHost(weights.data as Float32Array, 1, 4 * 64, { format: 'q4', group: 64 });
    weights.data.set([Number.NaN], 70);
    weights.data.set([Number.POSITIVE_INFINITY], 130);
    weights.data.set([65536], 255);
    const { scales } = await quantized(device, weights, { format: 'q4', group: 64 });
    assert.equal([...scales], [expected.scales[0], 0x7e00, 0x7e00, 0x7e00]);
  });

  for (const [rows, inner, format] of [
    [1, 5120, 'q4'],
    [5, 4304, 'q4'],
    [1, 1160, 'q8'],
  ] as const) {
    test(`${format}, ${rows} x ${inner}: within 1e-3 of the largest value, and 2e-2 with activations of 8 bits`, async () => {
      const random = new Random(2);
      const { matrix, values } = randomMatrix(device, 101, inner, { format, group: 64 }, random);
      const x = random.tensor([rows, inner]);
      const error = async (asInt8: boolean) =>
        largestError(await product(device, x, matrix, asInt8), x.data as Float32Array, values, inner, rows);
      const [floats, integers] = [await error(false), await error(true)];
      assert.ok(floats < 1e-5, `f32 activations: ${floats}`);
      assert.ok(integers < 2e-2, `8-bit activations: ${integers}`);
    });
  }

  test("NaN behind a row of x, as the next row or as nobody's, changes nothing in it, with every variant", async () => {
    const [inner, random] = [40, new Random(3)];
    const { matrix, values } = randomMatrix(device, 9, inner, { format: 'q4', group: 64 }, random);
    for (const rows of [1, 2]) {
      const x = random.tensor([2, inner]);
      x.data.fill(Number.NaN, inner);
      const shown = { ...x, shape: [rows, inner], data: x.data.slice(0, rows * inner) };
      for (const asInt8 of [false, true]) {
        const able = variants.filter(
          (variant) =>
            canRun(device, variant.kernel) && applies(variant, { rows, inner, dtype: asInt8 ? 'i8' : 'f32' }, matrix),
        );
        for (const { name } of quick ? able.slice(0, 1) : able) {
          const got = await product(device, shown, matrix, asInt8, name);
          const error = largestError(got, x.data as Float32Array, values, inner, 1);
          assert.ok(error < (asInt8 ? 2e-2 : 1e-5), `${name}: ${error}`);
        }
      }
    }
  });
}

test.run();
