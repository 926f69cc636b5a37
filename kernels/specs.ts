import { spec as advance } from './advance/advance.spec.ts';
import { spec as argmax } from './argmax/argmax.spec.ts';
import { spec as attention } from './attention/attention.spec.ts';
import { spec as embed } from './embed/embed.spec.ts';
import { spec as kvAppend } from './kv_append/kv_append.spec.ts';
import { spec as layerNorm } from './layer_norm/layer_norm.spec.ts';
import { spec as logProbs } from './log_probs/log_probs.spec.ts';
import { spec as matmul } from './matmul/matmul.spec.ts';
import { spec as qkv } from './qkv/qkv.spec.ts';
import { spec as quantizeRows } from './quantize_rows/quantize_rows.spec.ts';
import { spec as quantizeWeights } from './quantize_weights/quantize_weights.spec.ts';
import { spec as resizePosition } from './resize_position/resize_position.spec.ts';
import { spec as rmsNorm } from './rms_norm/rms_norm.spec.ts';
import { spec as rope } from './rope/rope.spec.ts';
import { spec as sample } from './sample/sample.spec.ts';
import type { OpSpec } from './spec.ts';

/** Every op's spec. */
export const specs = [
  advance,
  argmax,
  attention,
  embed,
  kvAppend,
  layerNorm,
  logProbs,
  matmul,
  qkv,
  quantizeRows,
  quantizeWeights,
  resizePosition,
  rmsNorm,
  rope,
  sample,
] as unknown as readonly OpSpec[];
