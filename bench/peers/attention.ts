import { PAGE } from '../../kernels/index.ts';
import { widen } from '../../runtime/index.ts';
import { type Counterpart, counterpart, type Float, floats, type Inputs } from './counterparts.ts';
import type { OnnxNode } from './onnx.ts';

/** Sizes of attention; where causal, the last query sees all keys. */
export interface AttentionSizes {
  tokens: number;
  keys: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  causal: boolean;
}

/** Far below every score, and within the range of f16. */
const MASKED = -1e4;

/**
 * Attention as three operators, and fused. The three are given q scaled, k transposed and the queries of all heads that
 * share a key head as rows of one matrix, which spares them work.
 */
export function attention(inputs: Inputs, sizes: AttentionSizes): Counterpart[] {
  const dtype = (inputs.qkv ?? inputs.q!).dtype as Float;
  const heads = sizes.causal ? fromPages(inputs, sizes) : fromColumns(inputs, sizes);
  const fused = sizes.causal ? groupQuery : multiHead;
  return [threeOperators(dtype, heads, sizes), fused(dtype, heads, sizes)];
}

/** q [heads, tokens, headDim], k and v [kvHeads, keys, headDim]. */
interface Heads {
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
}

/** q, k and v side by side in `qkv` [rows, (heads + 2 kvHeads) headDim]. */
function fromColumns({ qkv }: Inputs, { tokens, keys, heads, kvHeads, headDim }: AttentionSizes): Heads {
  const data = widen(qkv!.dtype, qkv!.data);
  const width = (heads + 2 * kvHeads) * headDim;
  const columns = (first: number, count: number, rows: number) =>
    pick(data, [count, rows, headDim], [headDim, width, 1], first * headDim);
  return { q: columns(0, heads, tokens), k: columns(heads, kvHeads, keys), v: columns(heads + kvHeads, kvHeads, keys) };
}

/** q [tokens, heads * headDim], k and v in pages [pages, kvHeads, PAGE, headDim] that the only row of `tables` lists. */
function fromPages({ q, k, v, tables }: Inputs, { tokens, keys, heads, kvHeads, headDim }: AttentionSizes): Heads {
  const paged = (pool: NonNullable<Inputs[string]>) => {
    const data = widen(pool.dtype, pool.data);
    const result = new Float32Array(kvHeads * keys * headDim);
    for (let row = 0; row < kvHeads * keys; row++) {
      const [head, key] = [Math.floor(row / keys), row % keys];
      const page = tables!.data[Math.floor(key / PAGE)]!;
      const from = ((page * kvHeads + head) * PAGE + (key % PAGE)) * headDim;
      result.set(data.subarray(from, from + headDim), row * headDim);
    }
    return result;
  };
  const queries = pick(widen(q!.dtype, q!.data), [heads, tokens, headDim], [headDim, heads * headDim, 1]);
  return { q: queries, k: paged(k!), v: paged(v!) };
}

function threeOperators(dtype: Float, { q, k, v }: Heads, sizes: AttentionSizes): Counterpart {
  const { tokens, keys, heads, kvHeads, headDim, causal } = sizes;
  const rows = (heads / kvHeads) * tokens;
  const masked = causal && tokens > 1;
  const seen = (i: number) => i % keys <= keys - tokens + (Math.floor(i / keys) % tokens);
  const mask = Float32Array.from({ length: masked ? rows * keys : 0 }, (_, i) => (seen(i) ? 0 : MASKED));
  const nodes: OnnxNode[] = [
    { op: 'MatMul', inputs: ['q', 'k'], outputs: ['scores'] },
    ...(masked ? [{ op: 'Add', inputs: ['scores', 'mask'], outputs: ['seen'] }] : []),
    { op: 'Softmax', inputs: [masked ? 'seen' : 'scores'], outputs: ['p'], attributes: { axis: -1 } },
    { op: 'MatMul', inputs: ['p', 'v'], outputs: ['y'] },
  ];
  const feeds = {
    q: floats(
      dtype,
      [kvHeads, rows, headDim],
      q.map((value) => value / Math.sqrt(headDim)),
    ),
    k: floats(dtype, [kvHeads, headDim, keys], pick(k, [kvHeads, headDim, keys], [keys * headDim, 1, headDim])),
    v: floats(dtype, [kvHeads, keys, headDim], v),
  };
  const constants: Counterpart['graph']['constants'] = masked ? { mask: floats(dtype, [rows, keys], mask) } : {};
  return { ...counterpart({ nodes, feeds, constants }), arrange: (y) => byToken(y, heads, tokens, headDim) };
}

function multiHead(dtype: Float, { q, k, v }: Heads, { tokens, keys, heads, headDim }: AttentionSizes): Counterpart {
  const side = (data: Float32Array, rows: number) =>
    floats(dtype, [1, rows, heads * headDim], byToken(data, heads, rows, headDim));
  const attributes = { num_heads: heads };
  const inputs = ['q', 'k', 'v'];
  const nodes = [{ op: 'MultiHeadAttention', domain: 'com.microsoft', inputs, outputs: ['y'], attributes } as const];
  return counterpart({ nodes, feeds: { q: side(q, tokens), k: side(k, keys), v: side(v, keys) } });
}

/** It also appends the tokens' keys and values to its caches, in place; our op finds them appended. */
function groupQuery(dtype: Float, { q, k, v }: Heads, sizes: AttentionSizes): Counterpart {
  const { tokens, keys, heads, kvHeads, headDim } = sizes;
  const cache = [1, kvHeads, keys, headDim];
  const latest = (data: Float32Array) => {
    const strides = [headDim, keys * headDim, 1] as const;
    const rows = pick(data, [tokens, kvHeads, headDim], strides, (keys - tokens) * headDim);
    return floats(dtype, [1, tokens, kvHeads * headDim], rows);
  };
  const number = (value: number) => ({ type: 'int32', dims: [1], data: Int32Array.of(value) }) as const;
  const inputs = ['q', 'k', 'v', 'past_k', 'past_v', 'last', 'total'];
  const outputs = ['y', 'present_k', 'present_v'];
  const attributes = { num_heads: heads, kv_num_heads: kvHeads };
  const nodes = [{ op: 'GroupQueryAttention', domain: 'com.microsoft', inputs, outputs, attributes } as const];
  const feeds = {
    q: floats(dtype, [1, tokens, heads * headDim], byToken(q, heads, tokens, headDim)),
    ...{ k: latest(k), v: latest(v), past_k: floats(dtype, cache, k), past_v: floats(dtype, cache, v) },
  };
  const constants = { last: number(keys - 1), total: number(keys) };
  const whole = counterpart({ nodes, feeds, constants });
  const present = { type: feeds.past_k.type, dims: cache };
  const graph = { ...whole.graph, outputs: { ...whole.graph.outputs, present_k: present, present_v: present } };
  return { ...whole, graph, inPlace: { present_k: 'past_k', present_v: 'past_v' } };
}

/** [heads, tokens, headDim] to [tokens, heads * headDim]. */
function byToken(data: Float32Array, heads: number, tokens: number, headDim: number): Float32Array {
  return pick(data, [tokens, heads, headDim], [headDim, tokens * headDim, 1]);
}

type Triple = readonly [number, number, number];

/** The contiguous array of a shape whose elements lie `strides` apart from `first` on. */
function pick(data: Float32Array, [a, b, c]: Triple, [sa, sb, sc]: Triple, first = 0): Float32Array {
  const result = new Float32Array(a * b * c);
  let at = 0;
  for (let i = 0; i < a; i++) {
    for (let j = 0; j < b; j++) {
      for (let k = 0; k < c; k++) result[at++] = data[first + i * sa + j * sb + k * sc]!;
    }
  }
  return result;
}
