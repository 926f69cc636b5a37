import {
  type Amount,
  BYTES,
  type Constants,
  ceilDiv,
  type DType,
  elements,
  expect,
  type Graph,
  type Kernel,
  matrixUnit,
  rowsOf,
  showShape,
  type Tensor,
  unitConstants,
  type ValueOf,
  type Variant,
  variant,
} from '../../runtime/index.ts';
import { checkRows, PAGE, type SequenceRows } from '../lib/pages.ts';
import { choose, rowsClass } from '../policy.ts';

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
  heads: number;
  kvHeads: number;
  headDim: number;
  /**
   * Which keys each row of q sees: of k and v as they are, keys spans[t, 0] to spans[t, 1] - 1, spans u32 [tokens, 2]; or those
   * of its sequence up to its position, found through page tables: k and v are pools [pages, ...] then, whose page n begins
   * n * pageStride elements in, and their views are within a page; no row sees more than `keys` of them, by default all that
   * tables hold. Neighbouring rows with the same span, or of one sequence, are cheapest.
   */
  kv: { spans: Tensor; len: number } | (SequenceRows & { pageStride: number; keys?: Amount });
  /** The dtype of the result; that of q by default. */
  as?: DType;
}

const file = (name: string, ...lib: string[]): Kernel => ({
  name: `attention/${name}`,
  source: new URL(`./${name}.wgsl`, import.meta.url),
  lib: lib.map((shared) => new URL(`../lib/${shared}.wgsl`, import.meta.url)),
});
const STRIPS = file('attention', 'pages');
const TILE = file('attention_tile', 'pages');
const SUBGROUP: Kernel = { ...file('attention_subgroup', 'pages', 'attention_runs'), needs: ['subgroups'] };
const MATRIX: Kernel = {
  ...file('attention_matrix', 'pages', 'attention_runs'),
  needs: ['shader-f16', 'subgroups', 'subgroup-size-control', 'chromium-experimental-subgroup-matrix'],
  matrix: { component: 'f16', result: 'f32' },
};
const DECODE = file('attention_decode', 'pages', 'attention_decode');
const DECODE_SUBGROUP: Kernel = {
  ...file('attention_decode_subgroup', 'pages', 'attention_decode'),
  needs: ['subgroups'],
};
const MERGE = file('attention_merge');
const WG = 64;
const TILE_WG = 128;
/** Keys that a workgroup of a decode kernel takes: a page. */
const BLOCK_KEYS = PAGE;
/** Rows up to which the decode kernels are better: they read the keys again for each. */
export const DECODE_ROWS = 8;
/** Largest headDim of TILE, whose lanes hold the sums of 4 rows in registers. */
const TILE_DIM = 128;

/** The variants of this op: the decode ones take each query row over blocks of keys, the others strips of query rows. */
export const variants = [DECODE_SUBGROUP, DECODE, MATRIX, TILE, SUBGROUP, STRIPS].map((kernel) => variant(kernel));

/**
 * y[t, h] = sum_j p[j] v[j, g] with p = softmax_j(q[t, h] . k[j, g] / sqrt(headDim)) and g = floor(h kvHeads / heads), in f32
 * without a score matrix, as [tokens, heads * headDim]. q, k and v are f32 or f16 each; headDim is a multiple of 8, heads of
 * kvHeads, offsets and strides of 4. Keys past those a query sees may hold anything. Throws ShapeError.
 */
export function attention(g: Graph, o: AttentionOptions): Tensor {
  const { heads, kvHeads, headDim } = o;
  const tokens = placesOf(o).shape[0] ?? 0;
  const keys = 'len' in o.kv ? o.kv.len : o.kv.tables.shape[1]! * PAGE;
  expect(headDim > 0 && headDim % 8 === 0, 'attention', 'headDim', 'a positive multiple of 8', headDim);
  expect(
    kvHeads > 0 && heads > 0 && heads % kvHeads === 0,
    'attention',
    'heads',
    `a positive multiple of ${kvHeads} (kvHeads)`,
    heads,
  );
  if ('places' in o.kv) checkRows('attention', o.kv, tokens);
  else expectSpans(o.kv.spans);
  expect(tokens > 0 && keys > 0, 'attention', 'tokens and keys', 'at least 1', `${tokens} and ${keys}`);
  expectView('q', o.q, heads, tokens, headDim);
  for (const [what, view] of [
    ['k', o.k],
    ['v', o.v],
  ] as const) {
    expectView(what, view, kvHeads, 'len' in o.kv ? keys : PAGE, headDim);
    if ('places' in o.kv) expectPages(what, view, o.kv.pageStride);
  }
  const { kernel, constants } = choose(g, 'attention', problemOf(o), variants, (each) => applies(each, o));
  const y = g.temp('attention', [tokens, heads * headDim], o.as ?? o.q.tensor.dtype, placesOf(o));
  if (kernel === SUBGROUP) subgroup(g, kernel, constants, o, keys, y);
  else if (kernel === MATRIX) matrix(g, kernel, constants, o, keys, y);
  else if (kernel === STRIPS || kernel === TILE) prefill(g, kernel, constants, o, keys, y);
  else decode(g, kernel, constants, o, keys, y);
  return y;
}

function prefill(g: Graph, kernel: Kernel, own: Constants, o: AttentionOptions, keys: number, y: Tensor): void {
  const { heads } = o;
  const tokens = rowsOf(placesOf(o));
  const quads = o.headDim / 4;
  const [lanes, cols] = kernel === TILE ? [TILE_WG, 8] : [WG, quads > 24 ? 16 : 8];
  g.dispatch({
    kernel,
    constants: { ...constantsOf(o), elem: y.dtype, COLS: cols, WG: lanes, ...own },
    ...operands(o),
    write: { y },
    params: { ...addresses(o), tokens, len: keys, quads, cols },
    workgroups: (value) => [ceilDiv(value(tokens), (lanes / cols) * 4), heads],
    cost: (value) => cost(o, y, value),
  });
}

function subgroup(g: Graph, kernel: Kernel, own: Constants, o: AttentionOptions, keys: number, y: Tensor): void {
  const tokens = rowsOf(placesOf(o));
  const rows = 16;
  g.dispatch({
    kernel,
    constants: { ...constantsOf(o), elem: y.dtype, ROWS: rows, ...own },
    ...operands(o),
    write: { y },
    params: { ...addresses(o), tokens, len: keys, quads: o.headDim / 4 },
    workgroups: (value) => [ceilDiv(value(tokens), rows), o.heads],
    cost: (value) => cost(o, y, value),
  });
}

function matrix(g: Graph, kernel: Kernel, own: Constants, o: AttentionOptions, keys: number, y: Tensor): void {
  const tokens = rowsOf(placesOf(o));
  const unit = matrixUnit(g.device, kernel.matrix!)!;
  const { GROUP, QUADS, CAUSAL, SCALE } = constantsOf(o);
  const all = { GROUP, QUADS, CAUSAL, SCALE, elem: y.dtype, ...unitConstants(unit), SUBGROUPS: 8, KEYS: 32, ...own };
  g.dispatch({
    kernel,
    constants: { ...all, KEYS: Number(process.env.KEYS ?? (matrixBytes(all, o.headDim) > 32768 ? 16 : 32)) },
    ...operands(o),
    write: { y },
    params: { ...addresses(o), tokens, len: keys },
    workgroups: (value) => [ceilDiv(value(tokens), all.SUBGROUPS * unit.M), o.heads],
    cost: (value) => cost(o, y, value),
  });
}

/** Workgroup memory of MATRIX. */
function matrixBytes(c: { M?: unknown; SUBGROUPS: number; KEYS: number }, headDim: number): number {
  const dims = ceilDiv(headDim, 16) * 16;
  return c.KEYS * (2 * dims + 16) + dims * (2 * c.KEYS + 16) + c.SUBGROUPS * Number(c.M) * (4 * c.KEYS + 16);
}

function decode(g: Graph, kernel: Kernel, own: Constants, o: AttentionOptions, keys: number, y: Tensor): void {
  const { heads, kvHeads, headDim } = o;
  const [tokens = 0] = y.shape;
  const rows = rowsOf(y);
  const seen = keysOf(o);
  const blocks = ceilDiv(keys, BLOCK_KEYS);
  const parts = g.temp('attention.parts', [tokens, blocks, heads, headDim], 'f32');
  const stats = g.temp('attention.stats', [tokens, blocks, heads, 2], 'f32');
  const shared = constantsOf(o);
  const { read } = operands(o);
  g.dispatch({
    kernel,
    constants: { ...shared, BLOCK_KEYS, WG, ...own },
    read,
    write: { parts, stats },
    params: { ...addresses(o), len: keys, quads: headDim / 4, blocks },
    workgroups: (value) => [ceilDiv(value(seen), BLOCK_KEYS), kvHeads, value(rows)],
    cost: (value) => cost(o, y, value),
  });
  g.dispatch({
    kernel: MERGE,
    constants: { elem: y.dtype, QUADS: headDim / 4, CAUSAL: shared.CAUSAL, BLOCK_KEYS, WG },
    read: { parts, stats, places: read.places },
    write: { y },
    params: { len: keys, heads, blocks },
    workgroups: (value) => [ceilDiv((heads * headDim) / 4, WG), value(rows)],
    cost: (value) => {
      const sums = value(rows) * ceilDiv(value(seen), BLOCK_KEYS) * heads * headDim;
      return { flops: 2 * sums, bytes: 4 * sums };
    },
  });
}

/** What the choice of a variant depends on. */
function problemOf({ q, k, kv, headDim, heads, kvHeads }: AttentionOptions): string {
  const rows = rowsClass(placesOf({ kv }).shape[0]!);
  return `${rows} ${'len' in kv ? 'spans' : 'causal'} ${headDim} ${heads / kvHeads} ${q.tensor.dtype} ${k.tensor.dtype}`;
}

/** Whether a variant can compute a problem. */
function applies({ kernel }: Variant, o: AttentionOptions): boolean {
  if (kernel === DECODE || kernel === DECODE_SUBGROUP) return placesOf(o).shape[0]! <= DECODE_ROWS && decodeFits(o);
  if (kernel === MATRIX)
    return o.headDim <= TILE_DIM && [o.q, o.k, o.v].every(({ tensor }) => tensor.dtype === 'f16');
  return kernel !== TILE || o.headDim <= TILE_DIM;
}

/** Whether the lanes of the decode kernels and 16 KiB of workgroup memory suffice. */
function decodeFits({ heads, kvHeads, headDim }: AttentionOptions): boolean {
  return headDim <= 4 * WG && (heads / kvHeads) * (4 * headDim + 4 * BLOCK_KEYS + 20 * WG) <= 16384;
}

function constantsOf({ q, k, v, heads, kvHeads, headDim, kv }: AttentionOptions) {
  return {
    q_elem: q.tensor.dtype,
    k_elem: k.tensor.dtype,
    v_elem: v.tensor.dtype,
    GROUP: heads / kvHeads,
    QUADS: headDim / 4,
    CAUSAL: 'places' in kv,
    SCALE: Math.LOG2E / Math.sqrt(headDim),
  };
}

function operands({ q, k, v, kv }: AttentionOptions) {
  const [places, tables] = 'places' in kv ? [kv.places, kv.tables] : [kv.spans, null];
  return { read: { q: q.tensor, k: k.tensor, v: v.tensor, places, tables } };
}

/** What says which keys each row sees. */
function placesOf({ kv }: Pick<AttentionOptions, 'kv'>): Tensor {
  return 'places' in kv ? kv.places : kv.spans;
}

/** The parameters that locate q, k and v, in vec4s. */
function addresses({ q, k, v, kv }: AttentionOptions) {
  const pages = 'places' in kv ? { page: kv.pageStride / 4, pages: kv.tables.shape[1]! } : { page: 0, pages: 0 };
  return {
    q_offset: q.offset / 4,
    q_head: q.headStride / 4,
    q_row: q.rowStride / 4,
    k_offset: k.offset / 4,
    k_head: k.headStride / 4,
    k_row: k.rowStride / 4,
    v_offset: v.offset / 4,
    v_head: v.headStride / 4,
    v_row: v.rowStride / 4,
    ...pages,
  };
}

/** How many keys a row sees at most. */
function keysOf({ kv }: AttentionOptions): Amount {
  return 'len' in kv ? kv.len : (kv.keys ?? kv.tables.shape[1]! * PAGE);
}

/** Work and traffic, where causal as if the last row saw all keys that any may see. */
function cost(o: AttentionOptions, y: Tensor, value: ValueOf) {
  const [tokens, keys] = [value(rowsOf(y)), value(keysOf(o))];
  const hidden = 'places' in o.kv ? (tokens * (tokens - 1)) / 2 : 0;
  const perKey = o.kvHeads * o.headDim * (BYTES[o.k.tensor.dtype] + BYTES[o.v.tensor.dtype]);
  return {
    flops: 4 * o.heads * o.headDim * (tokens * keys - hidden),
    bytes: tokens * y.shape[1]! * (BYTES[o.q.tensor.dtype] + BYTES[y.dtype]) + keys * perKey,
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

function expectPages(what: string, { tensor }: HeadView, pageStride: number): void {
  const [pages = 0] = tensor.shape;
  const whole = pages > 0 && pageStride === elements(tensor.shape) / pages && pageStride % 4 === 0;
  expect(whole, 'attention', `${what} and pageStride`, 'a pool [pages, ...] and the elements of a page', pageStride);
}

function expectSpans({ dtype, shape }: Tensor): void {
  const fits = dtype === 'u32' && shape.length === 2 && shape[1] === 2;
  expect(fits, 'attention', 'spans', 'u32 [tokens, 2]', `${dtype} ${showShape(shape)}`);
}
