/**
 * The ops: functions that check their tensors, choose a variant and record its dispatches.
 * @module daybreak/kernels
 */
export { type AdvanceState, advance } from './advance/advance.ts';
export { argmax } from './argmax/argmax.ts';
export { type AttentionOptions, attention, type HeadView } from './attention/attention.ts';
export { type EmbedTable, embed } from './embed/embed.ts';
export { kvAppend } from './kv_append/kv_append.ts';
export { layerNorm } from './layer_norm/layer_norm.ts';
export { PAGE, poolShape, type SequenceRows } from './lib/pages.ts';
export {
  dequantizeWeightsHost,
  type Int8Rows,
  isQuantized,
  placeOf,
  type Quantization,
  type QuantizedWeights,
  quantizedShapes,
  quantizeWeightsHost,
} from './lib/quantized.ts';
export { logProbs } from './log_probs/log_probs.ts';
export { type Logits, logits } from './matmul/logits.ts';
export { type MatmulOptions, matmul } from './matmul/matmul.ts';
export type { Normed, Rows } from './matmul/product.ts';
export { type QkvOptions, qkv } from './qkv/qkv.ts';
export { type NormBefore, quantizeRows } from './quantize_rows/quantize_rows.ts';
export { quantizeWeights } from './quantize_weights/quantize_weights.ts';
export { resizePosition } from './resize_position/resize_position.ts';
export { rmsNorm } from './rms_norm/rms_norm.ts';
export { type RopeOptions, rope, ropeTable } from './rope/rope.ts';
export { philox, randomWords, uniformNumber } from './sample/philox.ts';
export { chooseToken } from './sample/reference.ts';
export { type SampleOptions, sample } from './sample/sample.ts';
export { type Sampling, SETTINGS, settingsTensor } from './sample/settings.ts';
export { checkForced } from './variants.ts';
