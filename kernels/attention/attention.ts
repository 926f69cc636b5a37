import {
  BYTES,
  type Cost,
  ceilDiv,
  type DType,
  elements,
  expect,
  type Graph,
  type Kernel,
  sameShape,
  showShape,
  type Tensor,
} from '../../runtime/index.ts';

/** Rows of heads in a tensor, in elements: head h, row t, dim d lies at offset + h * headStride + t * rowStride + d. */
export interface HeadView {
  tensor: Tensor;
  offset: number;
  headStride: number;
  rowStride: number;
}

/** What to attend to. */
export interface AttentionOptions {
  q: HeadView;
  k: HeadView;
  v: HeadView;
  /** Query rows. */
  tokens: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  /**
   * Every query sees `len` keys; or query t sees keys 0 .. position[0] + t of a cache of `capacity` rows, where position
   * is u32 [1] on the device and may differ from run to run. `seen.keys` says on the host how many keys the last query sees
   * in the next run; the declared cost counts these, or without it all of the cache.
   */
  kv: { len: number } | { position: Tensor; capacity: number; seen?: { keys: number } };
  /** The dtype of the result; that of q by default. */
  as?: DType;
}

const file = (name: string): Kernel => ({
  name: `attention/${name}`,
  source: new URL(`./${name}.wgsl`, import.meta.url),
});
const lib = [new URL('../lib/attention_decode.wgsl', import.meta.url)];
const STRIPS = file('attention');
const TILE = file('attention_tile');
const DECODE: Kernel = { ...file('attention_decode'), lib };
const DECODE_SUBGROUP: Kernel = { ...file('attention_decode_subgroup'), lib, needs: ['subgroups'] };
const MERGE = file('attention_merge');
const WG = 64;
const TILE_WG = 128;
/** Keys that a workgroup of a decode kernel takes. */
const BLOCK_KEYS = 128;
/** Largest headDim of TILE, whose lanes hold the sums of 4 rows in registers. */
const TILE_DIM = 128;

/** The variants of this op: the decode ones take one query row over blocks of keys, the others strips of query rows. */
export const variants = [DECODE_SUBGROUP, DECODE, TILE, STRIPS];

/**
 * y[t, h] = sum_j p[j] v[j, g] with p = softmax_j(q[t, h] . k[j, g] / sqrt(headDim)) and g = floor(h kvHeads / heads), in f32
 * without a score matrix, as [tokens, heads * headDim]. q, k and v are f32 or f16 each; headDim is a multiple of 8, heads of
 * kvHeads, offsets and strides of 4. Keys past those a query sees may hold anything. Throws ShapeError.
 */
export function attention(g: Graph, o: AttentionOptions): Tensor {
  const { tokens, heads, kvHeads, headDim } = o;
  const keys = 'len' in o.kv ? o.kv.len : o.kv.capacity;
  expect(headDim > 0 && headDim % 8 === 0, 'attention', 'headDim', 'a positive multiple of 8', headDim);
  expect(
    kvHeads > 0 && heads > 0 && heads % kvHeads === 0,
    'attention',
    'heads',
    `a positive multiple of ${kvHeads} (kvHeads)`,
    heads,
  );
  expect(tokens > 0 && keys > 0, 'attention', 'tokens and keys', 'at least 1', `${tokens} and ${keys}`);
  expectView('q', o.q, heads, tokens, headDim);
  expectView('k', o.k, kvHeads, keys, headDim);
  expectView('v', o.v, kvHeads, keys, headDim);
  if ('position' in o.kv) {
    const { dtype, shape } = o.kv.position;
    const got = `${dtype} ${showShape(shape)}`;
    expect(dtype === 'u32' && sameShape(shape, [1]), 'attention', 'position', 'u32 [1]', got);
    expect(tokens <= keys, 'attention', 'tokens', `at most ${keys} (capacity)`, tokens);
  }
  const kernel = g.variant('attention', candidates(g, o));
  const y = g.temp('attention', [tokens, heads * headDim], o.as ?? o.q.tensor.dtype);
  if (kernel === STRIPS || kernel === TILE) prefill(g, kernel, o, keys, y);
  else decode(g, kernel, o, keys, y);
  return y;
}

function prefill(g: Graph, kernel: Kernel, o: AttentionOptions, keys: number, y: Tensor): void {
  const { tokens, heads } = o;
  const quads = o.headDim / 4;
  const [lanes, cols] = kernel === TILE ? [TILE_WG, 8] : [WG, quads > 24 ? 16 : 8];
  g.dispatch({
    kernel,
    constants: { ...constants(o), elem: y.dtype, COLS: cols, WG: lanes },
    ...operands(o),
    write: { y },
    params: { ...addresses(o), tokens, len: keys, quads, cols, q_row: o.q.rowStride / 4 },
    workgroups: [ceilDiv(tokens, (lanes / cols) * 4), heads],
    cost: cost(o, y),
  });
}

function decode(g: Graph, kernel: Kernel, o: AttentionOptions, keys: number, y: Tensor): void {
  const { heads, kvHeads, headDim } = o;
  const blocks = ceilDiv(keys, BLOCK_KEYS);
  const parts = g.temp('attention.parts', [blocks, heads, headDim], 'f32');
  const stats = g.temp('attention.stats', [blocks, heads, 2], 'f32');
  const shared = constants(o);
  const { read } = operands(o);
  g.dispatch({
    kernel,
    constants: { ...shared, BLOCK_KEYS, WG },
    read,
    write: { parts, stats },
    params: { ...addresses(o), len: keys, quads: headDim / 4 },
    workgroups: [blocks, kvHeads],
    cost: cost(o, y),
  });
  g.dispatch({
    kernel: MERGE,
    constants: { elem: y.dtype, QUADS: headDim / 4, CAUSAL: shared.CAUSAL, BLOCK_KEYS, WG },
    read: { parts, stats, position: read.position },
    write: { y },
    params: { len: keys, heads },
    workgroups: [ceilDiv((heads * headDim) / 4, WG)],
    cost: mergeCost(o),
  });
}

/** The variants that can run, best first: on a CPU, the plain ones, which are as fast there or faster and compile sooner. */
function candidates(g: Graph, o: AttentionOptions): Kernel[] {
  const decoders = o.tokens === 1 && decodeFits(o) ? [DECODE_SUBGROUP, DECODE] : [];
  const strips = o.headDim <= TILE_DIM ? [TILE, STRIPS] : [STRIPS];
  return g.device.onCpu ? [...decoders.reverse(), ...strips.reverse()] : [...decoders, ...strips];
}

/** Whether the lanes of the decode kernels and 16 KiB of workgroup memory suffice. */
function decodeFits({ heads, kvHeads, headDim }: AttentionOptions): boolean {
  return headDim <= 4 * WG && (heads / kvHeads) * (4 * headDim + 4 * BLOCK_KEYS + 20 * WG) <= 16384;
}

function constants({ q, k, v, heads, kvHeads, headDim, kv }: AttentionOptions) {
  return {
    q_elem: q.tensor.dtype,
    k_elem: k.tensor.dtype,
    v_elem: v.tensor.dtype,
    GROUP: heads / kvHeads,
    QUADS: headDim / 4,
    CAUSAL: 'position' in kv,
    SCALE: Math.LOG2E / Math.sqrt(headDim),
  };
}

function operands({ q, k, v, kv }: AttentionOptions) {
  const position = 'position' in kv ? kv.position : null;
  return { read: { q: q.tensor, k: k.tensor, v: v.tensor, position } };
}

/** The parameters that locate q, k and v, in vec4s. */
function addresses({ q, k, v }: AttentionOptions) {
  return {
    q_offset: q.offset / 4,
    q_head: q.headStride / 4,
    k_offset: k.offset / 4,
    k_head: k.headStride / 4,
    k_row: k.rowStride / 4,
    v_offset: v.offset / 4,
    v_head: v.headStride / 4,
    v_row: v.rowStride / 4,
  };
}

/** The keys that the last query sees, as far as the host knows: it may differ from run to run. */
function keysSeen({ kv }: AttentionOptions): number {
  return 'len' in kv ? kv.len : (kv.seen?.keys ?? kv.capacity);
}

/** Work and traffic, where causal of the keys that are seen when they are read. */
function cost(o: AttentionOptions, y: Tensor): Cost {
  const { q, k, v, kv, tokens, heads, kvHeads, headDim } = o;
  const hidden = 'position' in kv ? (tokens * (tokens - 1)) / 2 : 0;
  const perKey = kvHeads * headDim * (BYTES[k.tensor.dtype] + BYTES[v.tensor.dtype]);
  return {
    get flops() {
      return 4 * heads * headDim * (tokens * keysSeen(o) - hidden);
    },
    get bytes() {
      return elements(y.shape) * (BYTES[q.tensor.dtype] + BYTES[y.dtype]) + keysSeen(o) * perKey;
    },
  };
}

/** Work and traffic of merging the blocks that hold keys which are seen. */
function mergeCost(o: AttentionOptions): Cost {
  const sums = () => ceilDiv(keysSeen(o), BLOCK_KEYS) * o.heads * o.headDim;
  return {
    get flops() {
      return 2 * sums();
    },
    get bytes() {
      return 4 * sums();
    },
  };
}

function expectView(what: string, view: HeadView, heads: number, rows: number, headDim: number): void {
  const { tensor, offset, headStride, rowStride } = view;
  const end = offset + (heads - 1) * headStride + (rows - 1) * rowStride + headDim;
  const isFloat = tensor.dtype === 'f32' || tensor.dtype === 'f16';
  expect(isFloat, 'attention', what, 'f32 or f16', tensor.dtype);
  const steps = [offset, headStride, rowStride];
  const aligned = steps.every((step) => step >= 0 && step % 4 === 0);
  expect(aligned, 'attention', `${what} offset and strides`, 'multiples of 4', showShape(steps));
  const size = elements(tensor.shape);
  expect(end <= size, 'attention', what, `[${heads}, ${rows}, ${headDim}] within ${size} elements`, `end ${end}`);
}
