import { type HostTensor, type Tensor, widen } from '../../runtime/index.ts';
import { type OpSpec, type Random, roundoff } from '../spec.ts';
import { attention, type HeadView, variants } from './attention.ts';

type AttentionCase = {
  tokens: number;
  /** All keys; where causal, the last query sees them all. */
  keys: number;
  causal: boolean;
  heads: number;
  kvHeads: number;
  headDim: number;
  as: 'f32' | 'f16';
  kv: 'f32' | 'f16';
  /** Standard deviation of q. */
  scale: number;
  equalKeys?: boolean;
  quick?: boolean;
};

/** Rows of NaN behind the keys. */
const SPARE = 5;

const vision: AttentionCase = {
  ...{ tokens: 0, keys: 0, causal: false, heads: 2, kvHeads: 2, headDim: 24 },
  ...{ as: 'f32', kv: 'f32', scale: 1 },
};
const decoder: AttentionCase = { ...vision, causal: true, heads: 4, kvHeads: 2, headDim: 32 };
const phi: AttentionCase = { ...decoder, heads: 8, headDim: 128, kv: 'f16' };

/** Softmax attention against float64: column ranges of one tensor where bidirectional, caches where causal. */
export const spec: OpSpec<AttentionCase> = {
  name: 'attention',
  formula: 'y = softmax(q k^T / sqrt(headDim)) v, bidirectional or causal',
  variants,
  applies: (kernel, { tokens }) => tokens === 1 || !kernel.name.includes('decode'),
  cases: [
    ...[31, 32, 33, 63, 64, 65, 101].map((n) => ({ ...vision, tokens: n, keys: n, quick: n === 33 })),
    { ...vision, tokens: 1, keys: 1 },
    { ...vision, tokens: 1, keys: 300, quick: true },
    { ...vision, tokens: 7, keys: 130 },
    { ...vision, tokens: 40, keys: 90, scale: 30 },
    { ...vision, tokens: 40, keys: 90, equalKeys: true },
    { ...vision, tokens: 70, keys: 70, heads: 3, kvHeads: 3, headDim: 72 },
    { ...vision, tokens: 33, keys: 33, as: 'f16', kv: 'f16' },
    ...[1, 7, 64, 65].map((n) => ({ ...decoder, tokens: n, keys: n, quick: n === 7 })),
    ...[1, 7, 64, 65].map((n) => ({ ...decoder, tokens: n, keys: n + 61, quick: n === 1 })),
    ...[127, 128, 129, 257].map((keys) => ({ ...decoder, tokens: 1, keys })),
    { ...decoder, tokens: 1, keys: 200, scale: 30 },
    { ...decoder, tokens: 1, keys: 200, equalKeys: true },
    { ...decoder, tokens: 9, keys: 40, heads: 5, kvHeads: 1, headDim: 64 },
    { ...decoder, tokens: 1, keys: 140, heads: 5, kvHeads: 1, headDim: 64 },
    { ...phi, tokens: 17, keys: 150 },
    { ...phi, tokens: 1, keys: 150 },
    { ...phi, tokens: 1, keys: 150, as: 'f16' },
  ],
  bench: [
    { ...vision, tokens: 3600, keys: 3600, heads: 1, kvHeads: 1 },
    { ...vision, tokens: 1200, keys: 1200, heads: 4, kvHeads: 4, headDim: 72 },
    { ...phi, tokens: 512, keys: 3512, heads: 4, kvHeads: 1 },
    { ...phi, tokens: 1, keys: 4096, heads: 40, kvHeads: 10 },
    { ...phi, tokens: 1024, keys: 4096, heads: 40, kvHeads: 10, as: 'f16' },
    { ...vision, tokens: 3600, keys: 3600, heads: 16, kvHeads: 16, headDim: 72, as: 'f16' },
  ],
  flops: ({ tokens, keys, causal, heads, headDim }) =>
    4 * heads * headDim * (tokens * keys - (causal ? (tokens * (tokens - 1)) / 2 : 0)),
  weights: ['k', 'v'],
  inputs(c, random): Record<string, HostTensor> {
    const { tokens, keys, heads, kvHeads, headDim, as, kv } = c;
    if (!c.causal) return { qkv: fused(c, random) };
    const cache = () => {
      const host = random.tensor([kvHeads, keys + SPARE, headDim], kv);
      for (let head = 0; head < kvHeads; head++) {
        const start = head * (keys + SPARE) * headDim;
        if (c.equalKeys) repeatFirst(host, start, headDim, keys);
        host.data.fill(notANumber(kv), start + keys * headDim, start + (keys + SPARE) * headDim);
      }
      return host;
    };
    const position = { shape: [1], dtype: 'u32' as const, data: Uint32Array.of(keys - tokens) };
    return { q: random.tensor([tokens, heads * headDim], as, c.scale), k: cache(), v: cache(), position };
  },
  record(g, { qkv, q, k, v, position }, c) {
    const { tokens, keys, heads, kvHeads, headDim, as } = c;
    const views = layout(c);
    const view = (tensor: Tensor, name: 'q' | 'k' | 'v') => ({ tensor, ...views[name] });
    const kv = position ? { position, capacity: keys + SPARE, seen: { keys } } : { len: keys };
    return attention(g, {
      ...{ q: view(q ?? qkv!, 'q'), k: view(k ?? qkv!, 'k'), v: view(v ?? qkv!, 'v') },
      ...{ tokens, heads, kvHeads, headDim, kv, as },
    });
  },
  reference({ qkv, q, k, v }, c) {
    const { tokens, keys, heads, kvHeads, headDim } = c;
    const views = layout(c);
    const reader = (host: HostTensor, { offset, headStride, rowStride }: Omit<HeadView, 'tensor'>) => {
      const data = widen(host.dtype, host.data);
      return (head: number, row: number) => data.subarray(offset + head * headStride + row * rowStride);
    };
    const [qs, ks, vs] = [reader(q ?? qkv!, views.q), reader(k ?? qkv!, views.k), reader(v ?? qkv!, views.v)];
    const y = new Float64Array(tokens * heads * headDim);
    for (let t = 0; t < tokens; t++) {
      for (let h = 0; h < heads; h++) {
        const [query, kvHead] = [qs(h, t), Math.floor((h * kvHeads) / heads)];
        const seen = c.causal ? keys - tokens + t + 1 : keys;
        const scores = Float64Array.from({ length: seen }, (_, j) => dot(query, ks(kvHead, j), headDim));
        const top = scores.reduce((a, b) => Math.max(a, b));
        const p = scores.map((s) => Math.exp((s - top) / Math.sqrt(headDim)));
        const weight = p.reduce((a, b) => a + b);
        for (let j = 0; j < seen; j++) {
          const value = vs(kvHead, j);
          for (let d = 0; d < headDim; d++) y[(t * heads + h) * headDim + d]! += (p[j]! / weight) * value[d]!;
        }
      }
    }
    return y;
  },
  tolerance: ({ as }) => ({ atol: 2e-5, rtol: roundoff(as) + 1e-5 }),
};

/** [rows, (heads + 2 kvHeads) headDim]: q, k and v side by side, NaN below the tokens and below the keys. */
function fused(c: AttentionCase, random: Random): HostTensor {
  const { tokens, keys, heads, kvHeads, headDim, as } = c;
  const cols = (heads + 2 * kvHeads) * headDim;
  const rows = Math.max(tokens, keys) + SPARE;
  const host = random.tensor([rows, cols], as);
  const values = widen(as, host.data);
  const q = heads * headDim;
  if (c.scale !== 1) {
    for (let at = 0; at < values.length; at++) if (at % cols < q) host.data[at] = values[at]! * c.scale;
  }
  if (c.equalKeys) for (let row = 1; row < keys; row++) host.data.copyWithin(row * cols + q, q, q + kvHeads * headDim);
  for (let row = 0; row < rows; row++) {
    const at = row * cols;
    if (row >= tokens) host.data.fill(notANumber(as), at, at + q);
    if (row >= keys) host.data.fill(notANumber(as), at + q, at + cols);
  }
  return host;
}

/** Where q, k and v lie: in `fused`, or in [tokens, heads * headDim] and caches [kvHeads, capacity, headDim]. */
function layout({ causal, keys, heads, kvHeads, headDim }: AttentionCase) {
  const cols = causal ? heads * headDim : (heads + 2 * kvHeads) * headDim;
  const column = (offset: number) => ({ offset, headStride: headDim, rowStride: cols });
  const cache = { offset: 0, headStride: (keys + SPARE) * headDim, rowStride: headDim };
  const [k, v] = [column(heads * headDim), column((heads + kvHeads) * headDim)];
  return { q: column(0), k: causal ? cache : k, v: causal ? cache : v };
}

function repeatFirst({ data }: HostTensor, start: number, length: number, rows: number): void {
  for (let row = 1; row < rows; row++) data.copyWithin(start + row * length, start, start + length);
}

function notANumber(dtype: 'f32' | 'f16'): number {
  return dtype === 'f16' ? 0x7e00 : Number.NaN;
}

function dot(a: Float32Array, b: Float32Array, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[i]! * b[i]!;
  return sum;
}
