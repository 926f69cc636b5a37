import type { Case } from '../../kernels/spec.ts';
import { BOUNDS } from '../verify.ts';
import { type AttentionSizes, attention } from './attention.ts';
import {
  argMax,
  type Counterpart,
  type Float,
  gather,
  type Inputs,
  layerNorm,
  matMul,
  rmsNorm,
  rotaryEmbedding,
} from './counterparts.ts';
import { matMulNBits } from './quantized.ts';

/** One op of ours at one shape of the 15B model, and what computes the same in ONNX. */
export interface PeerRow {
  op: string;
  /** The case of the op's spec that makes the inputs. */
  case: Case;
  /** The sizes in short. */
  shape: string;
  /** What both sides read and write; before it the format of weights that is another. */
  dtype: string;
  /** The largest error of a right result, relative to max|ref|. */
  bound: number;
  counterparts(inputs: Inputs): Counterpart[];
}

const DTYPES: readonly Float[] = ['f32', 'f16'];
type Sizes = readonly [rows: number, inner: number, outs: number];

const MATMULS: readonly Sizes[] = [
  [512, 128, 640],
  [64, 1024, 1024],
  [256, 1152, 4304],
  [1, 5120, 5120],
];
/** Weights too large to be of use in f32: f16 and quantised. */
const LARGE_MATMULS: readonly Sizes[] = [
  [64, 5120, 7680],
  [1, 5120, 7680],
  [1, 17920, 5120],
];
const QUANTIZED_MATMULS: readonly Sizes[] = [...LARGE_MATMULS, [1, 5120, 35840]];
/** Columns that share a scale. */
const GROUP = 32;
/** Errors allowed against float64 on the dequantised weights, by what the activations are. */
const QUANTIZED_BOUNDS = { f32: 1e-3, f16: BOUNDS.f16.stage, i8: 2e-2 };
const ATTENTIONS: readonly AttentionSizes[] = [
  { tokens: 256, keys: 256, heads: 16, kvHeads: 16, headDim: 72, causal: false },
  { tokens: 256, keys: 256, heads: 40, kvHeads: 10, headDim: 128, causal: true },
  ...[512, 4096, 16384].map((keys) => ({ tokens: 1, keys, heads: 40, kvHeads: 10, headDim: 128, causal: true })),
];

/**
 * Every op of ours that ONNX has a counterpart of; kv_append, advance, sample and resize_position have none. Weights of
 * more than `maxBlockBytes` are cut in two.
 */
export function peerRows(maxBlockBytes: number): PeerRow[] {
  return [
    ...DTYPES.flatMap((dtype) => MATMULS.map((sizes) => matmulRow(dtype, sizes, maxBlockBytes))),
    ...LARGE_MATMULS.map((sizes) => matmulRow('f16', sizes, maxBlockBytes)),
    ...(['f32', 'f16', 'i8'] as const).flatMap((from) => QUANTIZED_MATMULS.map((sizes) => quantizedRow(from, sizes))),
    ...DTYPES.flatMap((dtype) => ATTENTIONS.map((sizes) => attentionRow(dtype, sizes))),
    ...[256, 1].map((rows) => normRow('rms_norm', { rows, cols: 5120, as: 'f32' }, rmsNorm)),
    normRow('layer_norm', { rows: 1024, cols: 1152, mean: 0, as: 'f32' }, layerNorm),
    ...DTYPES.map(ropeRow),
    ...DTYPES.map(embedRow),
    argmaxRow(),
  ];
}

const PLAIN = { activation: 'none', bias: false, residual: false, group: GROUP, norm: false, show: 'y' };

function matmulRow(dtype: Float, [rows, inner, outs]: Sizes, maxBlockBytes: number): PeerRow {
  const bytes = inner * outs * (dtype === 'f32' ? 4 : 2);
  const plain = { ...PLAIN, from: dtype, as: dtype };
  const weights = { weights: dtype === 'f32' ? 'f32' : 'half', split: bytes > maxBlockBytes ? outs / 2 : 0 };
  const sizes = { rows, inner, outs, ...plain, ...weights };
  return row('matmul', sizes, `${rows} x ${inner} x ${outs}`, dtype, matMul);
}

function quantizedRow(from: keyof typeof QUANTIZED_BOUNDS, [rows, inner, outs]: Sizes): PeerRow {
  const as = from === 'i8' ? 'f32' : from;
  const c = { rows, inner, outs, ...PLAIN, weights: 'q4', split: 0, from, as };
  const counterparts = (inputs: Inputs) => matMulNBits(inputs, inner, GROUP);
  const bound = QUANTIZED_BOUNDS[from];
  return { op: 'matmul', case: c, shape: `${rows} x ${inner} x ${outs}`, dtype: `q4 ${from}`, bound, counterparts };
}

function attentionRow(dtype: Float, sizes: AttentionSizes): PeerRow {
  const { tokens, keys, heads, kvHeads, headDim, causal } = sizes;
  const shape = `${tokens} of ${keys}, ${heads}:${kvHeads} x ${headDim}${causal ? ' causal' : ''}`;
  const c = { ...sizes, sequences: 1, mixed: false, as: dtype, kv: dtype, scale: 1 };
  return row('attention', c, shape, dtype, (inputs) => attention(inputs, sizes));
}

function normRow(
  op: string,
  sizes: Case & { rows: number; cols: number },
  counterparts: PeerRow['counterparts'],
): PeerRow {
  return row(op, sizes, `${sizes.rows} x ${sizes.cols}`, 'f32', counterparts);
}

function ropeRow(dtype: Float): PeerRow {
  const [tokens, heads, headDim] = [256, 40, 128];
  const c = { tokens, heads, headDim, column: 0, rest: 0, position: 0, from: dtype, as: dtype };
  return row('rope', c, `${tokens} x ${heads} x ${headDim}`, dtype, (inputs) => rotaryEmbedding(inputs, headDim));
}

function embedRow(dtype: Float): PeerRow {
  const [tokens, cols, vocab] = [512, 5120, 1000];
  const c = { tokens, cols, vocab, blocks: 1, features: 0, group: GROUP, dtype, as: dtype };
  return row('embed', c, `${tokens} of ${vocab} x ${cols}`, dtype, gather);
}

function argmaxRow(): PeerRow {
  const n = 100352;
  return { ...row('argmax', { n, values: 'negative' }, `${n}`, 'f32', argMax), bound: 0 };
}

function row(op: string, c: Case, shape: string, dtype: Float, counterparts: PeerRow['counterparts']): PeerRow {
  return { op, case: c, shape, dtype, bound: BOUNDS[dtype].stage, counterparts };
}
