import { type HostTensor, narrow, type Tensor, widen } from '../../runtime/index.ts';
import { PAGE } from '../lib/pages.ts';
import { layRows, type PagedSequence, poolRow, rowTensors } from '../lib/sequences.ts';
import { quantizedRows, randomRow } from '../quantize_rows/quantize_rows.spec.ts';
import { type OpSpec, onMatrixUnits, type Random, roundoff } from '../spec.ts';
import { attention, DECODE_ROWS, type HeadView, MATRIX_DIM, variants } from './attention.ts';

type AttentionCase = {
  tokens: number;
  /** All keys; where causal, those of the first sequence, whose last query sees them all. */
  keys: number;
  /** Where causal, see RowsCase; else the keys are cut into so many spans, and the rows spread over them. */
  sequences: number;
  mixed: boolean;
  causal: boolean;
  heads: number;
  kvHeads: number;
  headDim: number;
  as: 'f32' | 'f16';
  kv: 'f32' | 'f16';
  /** Standard deviation of q. */
  scale: number;
  equalKeys?: boolean;
  /** Of the result quantised the quants or their scales; without it the result. */
  show?: 'quants' | 'scales';
  quick?: boolean;
};

/** Rows of NaN behind the keys, where bidirectional. */
const SPARE = 5;

const vision: AttentionCase = {
  ...{ tokens: 0, keys: 0, sequences: 1, mixed: false, causal: false, heads: 2, kvHeads: 2, headDim: 24 },
  ...{ as: 'f32', kv: 'f32', scale: 1 },
};
const decoder: AttentionCase = { ...vision, causal: true, heads: 4, kvHeads: 2, headDim: 32 };
const phi: AttentionCase = { ...decoder, heads: 8, headDim: 128, kv: 'f16' };

/** Rows and keys in and around tiles, several sequences and spans, extremes; each in f32 and in f16. */
const PLAIN: readonly AttentionCase[] = [
  ...[31, 32, 33, 63, 64, 65, 101].map((n) => ({ ...vision, tokens: n, keys: n, quick: n === 33 })),
  { ...vision, tokens: 1, keys: 1 },
  { ...vision, tokens: 1, keys: 300, quick: true },
  { ...vision, tokens: 7, keys: 130 },
  ...[2, 3, 7].map((sequences) => ({ ...vision, tokens: 70, keys: 131, sequences, quick: sequences === 3 })),
  { ...vision, tokens: 5, keys: 400, sequences: 3 },
  { ...vision, tokens: 66, keys: 66, sequences: 4, mixed: true, headDim: 72 },
  { ...vision, tokens: 40, keys: 90, scale: 30 },
  { ...vision, tokens: 40, keys: 90, equalKeys: true },
  { ...vision, tokens: 70, keys: 70, heads: 3, kvHeads: 3, headDim: 72 },
  ...[1, 7, 64, 65].map((n) => ({ ...decoder, tokens: n, keys: n, quick: n === 7 })),
  ...[1, 7, 64, 65].map((n) => ({ ...decoder, tokens: n, keys: n + 61, quick: n === 1 })),
  ...[127, 128, 129, 257].map((keys) => ({ ...decoder, tokens: 1, keys })),
  { ...decoder, tokens: 1, keys: 200, scale: 30 },
  { ...decoder, tokens: 1, keys: 200, equalKeys: true },
  { ...decoder, tokens: 9, keys: 40, heads: 5, kvHeads: 1, headDim: 64 },
  { ...decoder, tokens: 1, keys: 140, heads: 5, kvHeads: 1, headDim: 64 },
  { ...decoder, tokens: 3, keys: 300, sequences: 3, quick: true },
  { ...decoder, tokens: 100, keys: 300, sequences: 3, quick: true },
  { ...decoder, tokens: 8, keys: 129, sequences: 3, mixed: true },
  { ...decoder, tokens: 67, keys: 200, sequences: 5, mixed: true },
];

/** Results that are quantised: blocks within heads, where the merge of the decode kernels does it, and across them; strips of rows. */
const QUANTISED: readonly AttentionCase[] = (['quants', 'scales'] as const).flatMap((show) => [
  { ...decoder, tokens: 3, keys: 300, sequences: 3, show, quick: true },
  { ...decoder, tokens: 7, keys: 40, headDim: 24, show, quick: true },
  { ...decoder, tokens: 9, keys: 40, heads: 5, kvHeads: 1, headDim: 64, show },
  { ...phi, tokens: 1, keys: 390, show },
  { ...phi, tokens: 8, keys: 150, sequences: 2, as: 'f16', show },
]);

/** Softmax attention against float64: column ranges of one tensor where bidirectional, pages where causal. */
export const spec: OpSpec<AttentionCase> = {
  name: 'attention',
  formula: 'y = softmax(q k^T / sqrt(headDim)) v, bidirectional or causal',
  variants,
  applies: ({ name, kernel }, { tokens, as, kv, causal, headDim }) =>
    (tokens <= DECODE_ROWS || !name.includes('decode')) &&
    (!kernel.matrix || (as === 'f16' && (kv === 'f16' || !causal) && headDim <= MATRIX_DIM)) &&
    (headDim <= 128 || name !== 'attention/attention'), // compiles for a minute
  cases: [
    ...PLAIN,
    ...PLAIN.map((c): AttentionCase => ({ ...c, as: 'f16', kv: 'f16' })),
    { ...decoder, tokens: 70, keys: 131, sequences: 2, kv: 'f16' },
    { ...phi, tokens: 17, keys: 150 },
    { ...phi, tokens: 4, keys: 390, sequences: 3, as: 'f16' },
    { ...phi, tokens: 1, keys: 150 },
    { ...phi, tokens: 1, keys: 150, as: 'f16' },
    ...[1, 10].map((scale) => ({ ...phi, tokens: 129, keys: 300, sequences: 2, scale, as: 'f16' as const })),
    { ...vision, tokens: 140, keys: 150, headDim: 72, scale: 30, as: 'f16' },
    { ...vision, tokens: 67, keys: 40, headDim: 8 },
    { ...vision, tokens: 9, keys: 37, headDim: 104, as: 'f16' },
    { ...decoder, tokens: 13, keys: 140, headDim: 264 },
    { ...decoder, tokens: 11, keys: 25, headDim: 512, kv: 'f16' },
    ...QUANTISED,
  ],
  bench: [
    { ...vision, tokens: 3600, keys: 3600, heads: 1, kvHeads: 1 },
    { ...vision, tokens: 1200, keys: 1200, heads: 4, kvHeads: 4, headDim: 72 },
    { ...vision, tokens: 256, keys: 256, heads: 16, kvHeads: 16, headDim: 72 },
    { ...phi, tokens: 256, keys: 256, heads: 40, kvHeads: 10, kv: 'f32' },
    { ...phi, tokens: 512, keys: 3512, heads: 4, kvHeads: 1 },
    { ...phi, tokens: 1, keys: 4096, heads: 40, kvHeads: 10 },
    { ...phi, tokens: 1024, keys: 4096, heads: 40, kvHeads: 10, as: 'f16' },
    { ...vision, tokens: 3600, keys: 3600, heads: 16, kvHeads: 16, headDim: 72, as: 'f16' },
    { ...phi, tokens: 4096, keys: 4096, heads: 40, kvHeads: 10, as: 'f16' },
  ],
  flops: ({ tokens, keys, causal, heads, headDim }) =>
    4 * heads * headDim * (tokens * keys - (causal ? (tokens * (tokens - 1)) / 2 : 0)),
  weights: ['k', 'v'],
  inputs(c, random): Record<string, HostTensor> {
    const { tokens, heads, headDim, as } = c;
    if (!c.causal) return { qkv: fused(c, random), spans: spansOf(c) };
    const q = random.tensor([tokens, heads * headDim], as, c.scale);
    const [k, v] = [pool(c, random), pool(c, random)];
    if (c.show) layEqualRows(v, c, random);
    return { q, k, v, ...rowTensors(c) };
  },
  record(g, { qkv, q, k, v, places, tables, spans }, c) {
    const { keys, heads, kvHeads, headDim, as } = c;
    const views = layout(c);
    const view = (tensor: Tensor, name: 'q' | 'k' | 'v') => ({ tensor, ...views[name] });
    const kv =
      places && tables ? { places, tables, pageStride: kvHeads * PAGE * headDim, keys } : { spans: spans!, len: keys };
    const y = attention(g, {
      ...{ q: view(q ?? qkv!, 'q'), k: view(k ?? qkv!, 'k'), v: view(v ?? qkv!, 'v') },
      ...{ heads, kvHeads, headDim, kv, as, int8: c.show !== undefined },
    });
    return 'quants' in y ? y[c.show!] : y;
  },
  reference({ qkv, q, k, v, spans }, c) {
    const { tokens, heads, kvHeads, headDim } = c;
    const views = layout(c);
    const { places, sequences } = layRows(c);
    const rowOf = ({ offset, headStride, rowStride }: Omit<HeadView, 'tensor'>, head: number, row: number) =>
      offset + head * headStride + row * rowStride;
    const [qs, ks, vs] = [q ?? qkv!, k ?? qkv!, v ?? qkv!].map(({ dtype, data }) => widen(dtype, data)) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const y = new Float64Array(tokens * heads * headDim);
    for (let t = 0; t < tokens; t++) {
      for (let h = 0; h < heads; h++) {
        const kvHead = Math.floor((h * kvHeads) / heads);
        const [position, owner] = places[t]!;
        const [first, seen] = spans
          ? [spans.data[2 * t]!, spans.data[2 * t + 1]! - spans.data[2 * t]!]
          : [0, position + 1];
        const at = (view: 'k' | 'v', j: number) =>
          c.causal ? poolRow(sequences[owner]!, j, kvHeads, kvHead) * headDim : rowOf(views[view], kvHead, first + j);
        const query = qs.subarray(rowOf(views.q, h, t));
        const scores = Float64Array.from({ length: seen }, (_, j) => dot(query, ks.subarray(at('k', j)), headDim));
        const top = scores.reduce((a, b) => Math.max(a, b));
        const p = scores.map((s) => Math.exp((s - top) / Math.sqrt(headDim)));
        const weight = p.reduce((a, b) => a + b);
        for (let j = 0; j < seen; j++) {
          const value = vs.subarray(at('v', j));
          for (let d = 0; d < headDim; d++) y[(t * heads + h) * headDim + d]! += (p[j]! / weight) * value[d]!;
        }
      }
    }
    return c.show ? quantizedRows(y, heads * headDim, c.show) : y;
  },
  /**
   * Matrix units take the softmax's weights p rounded to f16: y is then off by up to 2^-11 sum p |v - y|, where v is normal and few
   * keys weigh most less than twice 2^-11.
   */
  tolerance({ as, show }, variant) {
    const weights = onMatrixUnits(variants, variant) ? 2 * roundoff('f16') : 0;
    if (show) return { atol: 0, rtol: show === 'scales' ? weights + roundoff(as) + 1e-5 : 0 };
    return { atol: 2e-5 + weights, rtol: roundoff(as) + 1e-5 };
  },
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
    const scaled = narrow(
      as,
      values.map((value, at) => (at % cols < q ? value * c.scale : value)),
    );
    host.data.set(scaled);
  }
  if (c.equalKeys) for (let row = 1; row < keys; row++) host.data.copyWithin(row * cols + q, q, q + kvHeads * headDim);
  for (let row = 0; row < rows; row++) {
    const at = row * cols;
    if (row >= tokens) host.data.fill(notANumber(as), at, at + q);
    if (row >= keys) host.data.fill(notANumber(as), at + q, at + cols);
  }
  return host;
}

/** Where the keys that each row sees begin and end. */
function spansOf({ tokens, keys, sequences, mixed }: AttentionCase): HostTensor {
  const edge = (span: number) => Math.floor((span * keys) / sequences);
  const spans = Array.from({ length: tokens }, (_, t) => {
    const span = mixed ? t % sequences : Math.floor((t * sequences) / tokens);
    return [edge(span), edge(span + 1)];
  });
  return { shape: [tokens, 2], dtype: 'u32', data: Uint32Array.from(spans.flat()) };
}

/** A pool of pages [pages, kvHeads, PAGE, headDim] with the keys or values of all sequences, NaN elsewhere. */
function pool(c: AttentionCase, random: Random): HostTensor {
  const { kvHeads, headDim, kv } = c;
  const { sequences, poolPages } = layRows(c);
  const host = random.tensor([poolPages, kvHeads, PAGE, headDim], kv);
  const filled = new Set(
    sequences.flatMap((sequence) => Array.from({ length: kvHeads * sequence.keys }, (_, i) => at(sequence, i))),
  );
  function at(sequence: PagedSequence, i: number) {
    return poolRow(sequence, i % sequence.keys, kvHeads, Math.floor(i / sequence.keys));
  }
  for (const sequence of sequences) {
    for (let i = 0; c.equalKeys && i < kvHeads * sequence.keys; i++) {
      const first = at(sequence, i - (i % sequence.keys)) * headDim;
      host.data.copyWithin(at(sequence, i) * headDim, first, first + headDim);
    }
  }
  for (let row = 0; row < poolPages * kvHeads * PAGE; row++) {
    if (!filled.has(row)) host.data.fill(notANumber(kv), row * headDim, (row + 1) * headDim);
  }
  return host;
}

/** Gives all keys of a head the same values, which quantise the same way however they are rounded; NaN stays. */
function layEqualRows({ data }: HostTensor, { kvHeads, headDim, kv }: AttentionCase, random: Random): void {
  const rows = Array.from({ length: kvHeads }, () => narrow(kv, Float32Array.from(randomRow(headDim, random))));
  const values = widen(kv, data);
  for (let row = 0; row * headDim < data.length; row++) {
    if (!Number.isNaN(values[row * headDim])) data.set(rows[Math.floor(row / PAGE) % kvHeads]!, row * headDim);
  }
}

/** Where q, k and v lie: in `fused`, or in [tokens, heads * headDim] and within a page [kvHeads, PAGE, headDim]. */
function layout({ causal, heads, kvHeads, headDim }: AttentionCase) {
  const cols = causal ? heads * headDim : (heads + 2 * kvHeads) * headDim;
  const column = (offset: number) => ({ offset, headStride: headDim, rowStride: cols });
  const page = { offset: 0, headStride: PAGE * headDim, rowStride: headDim };
  const [k, v] = [column(heads * headDim), column((heads + kvHeads) * headDim)];
  return { q: column(0), k: causal ? page : k, v: causal ? page : v };
}

function notANumber(dtype: 'f32' | 'f16'): number {
  return dtype === 'f16' ? 0x7e00 : Number.NaN;
}

function dot(a: Float32Array, b: Float32Array, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[i]! * b[i]!;
  return sum;
}
