import {
  BYTES,
  ceilDiv,
  elements,
  expect,
  type Graph,
  linearGrid,
  showTensor,
  type Tensor,
  tensorBytes,
  variant,
} from '../../runtime/index.ts';
import { kernelFile } from '../lib/kernel_file.ts';
import { FORMAT_CODES, type Quantization, quantizedShapes, scaleCandidates } from '../lib/quantized.ts';

const PLAIN = kernelFile('quantize_weights/quantize_weights');
const WG = 64;

/** The variants of this op. */
export const variants = [variant(PLAIN)];

/**
 * The quants (u32) and scales (f16) of w f32, f16 or bf16 [rows, inner], the same bits as quantizeWeightsHost gives; inner is a
 * multiple of 8. A group with a weight that is not finite or beyond f16 gets the scale NaN. Throws ShapeError.
 */
export function quantizeWeights(g: Graph, w: Tensor, how: Quantization): { quants: Tensor; scales: Tensor } {
  const [rows = 0, inner = 0] = w.shape;
  const fits = w.shape.length === 2 && rows > 0 && inner > 0 && inner % 8 === 0 && FORMAT_CODES[w.dtype] !== undefined;
  expect(fits, 'quantize_weights', w.name, 'f32, f16 or bf16 [rows, a multiple of 8]', showTensor(w));
  const shapes = quantizedShapes(rows, inner, how);
  const quants = g.temp('quants', shapes.quants, 'u32');
  const scales = g.temp('scales', shapes.scales, 'f16');
  const all = elements(shapes.scales);
  const candidates = scaleCandidates(how.format);
  g.dispatch({
    kernel: PLAIN,
    constants: { FORMAT: FORMAT_CODES[w.dtype]!, FOUR_BITS: how.format === 'q4', GROUP: how.group, WG },
    read: { w },
    write: { quants, scales },
    params: { inner, groups: shapes.scales[1]!, all_groups: all, candidates },
    workgroups: linearGrid(ceilDiv(all, 2 * WG)),
    cost: {
      flops: 8 * (candidates + 1) * elements(w.shape),
      bytes: BYTES[w.dtype] * elements(w.shape) + tensorBytes(quants) + tensorBytes(scales),
    },
  });
  return { quants, scales };
}
