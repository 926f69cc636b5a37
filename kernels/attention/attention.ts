import {
  type Amount,
  BYTES,
  type Constants,
  ceilDiv,
  type DeviceInfo,
  type Dispatch,
  type DType,
  elements,
  expect,
  type Graph,
  type Kernel,
  type MatrixUnit,
  matrixUnit,
  roundUp,
  rowsOf,
  showShape,
  showTensor,
  type Tensor,
  unitConstants,
  type ValueOf,
  type Variant,
  variant,
} from '../../runtime/index.ts';
import { kernelFile } from '../lib/kernel_file.ts';
import { checkRows, PAGE, type SequenceRows } from '../lib/pages.ts';
import { BLOCK_COLS, type Int8Rows } from '../lib/quantized.ts';
import { choose, rowsClass } from '../policy.ts';
import { int8Rows, quantizeRows } from '../quantize_rows/quantize_rows.ts';

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
  /** The dtype of the result, or of what is quantised; that of q by default. */
  as?: DType;
  /** Whether the result is quantised by quantizeRows; the decode kernels do so themselves and do not round it to `as`. */
  int8?: boolean;
}

const TILE = kernelFile('attention/attention_tile', 'pages attention_runs');
const SHARED = kernelFile('attention/attention', 'pages attention_runs', { needs: ['subgroups'], mostLanes: 16 });
const MATRIX = kernelFile('attention/attention_matrix', 'pages attention_runs', {
  needs: ['shader-f16', 'subgroups', 'subgroup-size-control', 'chromium-experimental-subgroup-matrix'],
  matrix: { component: 'f16', result: 'f32' },
});
const DECODE_SUBGROUP = kernelFile('attention/attention_decode_subgroup', 'pages attention_decode', {
  needs: ['subgroups'],
});
const DECODE_SHUFFLE = kernelFile('attention/attention_decode_shuffle', 'pages attention_decode', {
  needs: ['subgroups'],
});
const MERGE = kernelFile('attention/attention_merge', 'merge_rows');
const MERGE_INT8 = kernelFile('attention/attention_merge', 'quantize merge_int8', {
  name: 'attention/attention_merge_int8',
});
const WG = 64;
/** Rows of a workgroup of SHARED, as its file has it. */
const SHARED_ROWS = 16;
/** Subgroups of MATRIX, how many of them share as many rows as a matrix has, and keys that they take at a time; the best first, and last what is smallest. */
const MATRIX_SIZES = [
  { SUBGROUPS: 8, SPLIT: 1, KEYS: 32 },
  { SUBGROUPS: 8, SPLIT: 2, KEYS: 32 },
  { SUBGROUPS: 4, SPLIT: 2, KEYS: 32 },
  { SUBGROUPS: 4, SPLIT: 2, KEYS: 16 },
];
/** Largest headDim whose sums the registers of one subgroup hold beside its rows of q. */
const WHOLE_DIM = 80;
/** Workgroup memory that it may take: with more, fewer workgroups share a processor. */
const MATRIX_BYTES = 32768;
/** Keys that a workgroup of a decode kernel takes: a page. */
const BLOCK_KEYS = PAGE;
/** Rows up to which the decode kernels are better: they read the keys again for each. */
export const DECODE_ROWS = 8;
/** Largest headDim of MATRIX, which holds the sums of its rows in registers, and of TILE, whose lanes hold shares of them. */
export const MATRIX_DIM = 128;
const TILE_DIM = 512;

/** The variants of this op: the decode ones take each query row over blocks of keys, the others strips of query rows. */
export const variants = [DECODE_SUBGROUP, DECODE_SHUFFLE, MATRIX, TILE, SHARED].map((kernel) => variant(kernel));

/**
 * y[t, h] = sum_j p[j] v[j, g] with p = softmax_j(q[t, h] . k[j, g] / sqrt(headDim)) and g = floor(h kvHeads / heads), in f32
 * without a score matrix, as [tokens, heads * headDim]. q, k and v are f32 or f16 each; headDim is a multiple of 8, heads of
 * kvHeads, offsets and strides of 4. Keys past those a query sees may hold anything. Throws ShapeError.
 */
export function attention(g: Graph, o: AttentionOptions & { int8?: false }): Tensor;
export function attention(g: Graph, o: AttentionOptions): Tensor | Int8Rows;
export function attention(g: Graph, o: AttentionOptions): Tensor | Int8Rows {
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
  const { kernel, constants } = choose(g, 'attention', problemOf(o), variants, (each) => applies(g.device, each, o));
  const decodes = kernel === DECODE_SHUFFLE || kernel === DECODE_SUBGROUP;
  if (decodes && o.int8 && headDim % BLOCK_COLS === 0) {
    const y = int8Rows(g, tokens, heads * headDim, placesOf(o));
    decode(g, kernel, constants, o, keys, { kernel: MERGE_INT8, write: { y: y.quants, y_scales: y.scales } });
    return y;
  }
  const y = g.temp('attention', [tokens, heads * headDim], o.as ?? o.q.tensor.dtype, placesOf(o));
  const rows = { kernel: MERGE, constants: { elem: y.dtype }, write: { y } };
  if (decodes) decode(g, kernel, constants, o, keys, rows);
  else prefill(g, kernel, constants, o, keys, y);
  return o.int8 ? quantizeRows(g, y) : y;
}

function prefill(g: Graph, kernel: Kernel, own: Constants, o: AttentionOptions, keys: number, y: Tensor): void {
  const tokens = rowsOf(placesOf(o));
  const { rows, constants, params } = kernel === MATRIX ? matrixStrips(g, o) : strips(g, kernel, o);
  g.dispatch({
    kernel,
    constants: { ...constants, elem: y.dtype, ...own },
    ...operands(o),
    write: { y },
    params: { ...addresses(o), tokens, len: keys, ...params },
    workgroups: (value) => [ceilDiv(value(tokens), rows), o.heads],
    cost: (value) => cost(o, y, value),
  });
}

/** How many rows a workgroup takes, its constants, and loop bounds that are parameters. */
interface Strips {
  rows: number;
  constants: Constants;
  params: Record<string, number>;
}

function strips(g: Graph, kernel: Kernel, o: AttentionOptions): Strips {
  if (kernel === SHARED) return { rows: SHARED_ROWS, constants: constantsOf(o), params: { quads: o.headDim / 4 } };
  return tileStrips(g, o);
}

/** Strips of TILE: lanes with up to four quads of each row, as few of them idle as can be, and steps of keys that fit. */
function tileStrips({ device }: Graph, o: AttentionOptions): Strips {
  const quads = o.headDim / 4;
  const idle = (own: number) => ceilDiv(quads, own) * own - quads;
  const own = [4, 3, 2].reduce((best, each) => (idle(each) < idle(best) ? each : best));
  const COLS = ceilDiv(quads, own);
  const STRIPS = Math.min(Math.floor(WG / COLS), 16);
  const bytes = (keys: number) => 16 * (keys * (COLS * STRIPS + 1 + STRIPS) + COLS * STRIPS);
  const KEYS = !device.onCpu && bytes(16) <= device.limits.maxComputeWorkgroupStorageSize ? 16 : 8;
  const UNROLL = device.onCpu ? 1 : 4; // a CPU's compiler takes twice the time for unrolled loops
  return { rows: 4 * STRIPS, constants: { ...constantsOf(o), COLS, STRIPS, KEYS, UNROLL }, params: {} };
}

/** Strips of the device's matrix unit. */
function matrixStrips({ device }: Graph, o: AttentionOptions): Strips {
  const unit = matrixUnit(device, MATRIX.matrix!)!;
  const { GROUP, QUADS, CAUSAL, SCALE } = constantsOf(o);
  const sizes = matrixSizes(device, unit, o)!;
  return {
    rows: (sizes.SUBGROUPS / sizes.SPLIT) * unit.M,
    constants: { GROUP, QUADS, CAUSAL, SCALE, ...unitConstants(unit), ...sizes },
    params: {},
  };
}

/** The best of MATRIX_SIZES for a matrix unit, which the last may stand in for: its tiles fit, and it shares keys out as the file has it. */
function matrixSizes({ limits }: DeviceInfo, unit: MatrixUnit, { headDim }: AttentionOptions) {
  const room = Math.min(MATRIX_BYTES, limits.maxComputeWorkgroupStorageSize);
  const split = headDim > WHOLE_DIM ? 2 : 1;
  return MATRIX_SIZES.filter((each, i) => each.SPLIT === split || i === MATRIX_SIZES.length - 1).find(
    ({ SUBGROUPS, SPLIT, KEYS }) => {
      const dims = roundUp(headDim, Math.max(SPLIT * unit.N, unit.K));
      const rows = (SUBGROUPS / SPLIT) * unit.M;
      const bytes = KEYS * (2 * dims + 16) + dims * (2 * KEYS + 16) + rows * (4 * KEYS + 16) + 16;
      const lanes = Math.min((SPLIT * unit.lanes) / unit.M, KEYS / 8); // of a row
      const part = KEYS / 4 / lanes;
      return bytes <= room && KEYS % (SPLIT * unit.N) === 0 && lanes >= 1 && part % 2 === 0 && 8 * part >= unit.K;
    },
  );
}

/** The kernel that merges what the decode kernels have of blocks of keys, and where to. */
type Merge = Pick<Dispatch, 'kernel' | 'constants' | 'write'>;

function decode(g: Graph, kernel: Kernel, own: Constants, o: AttentionOptions, keys: number, merge: Merge): void {
  const { heads, kvHeads, headDim } = o;
  const { y } = merge.write;
  const [tokens = 0] = y!.shape;
  const rows = rowsOf(y!);
  const seen = keysOf(o);
  const blocks = ceilDiv(keys, BLOCK_KEYS);
  const parts = g.temp('attention.parts', [tokens, blocks, heads, headDim], 'f32');
  const stats = g.temp('attention.stats', [tokens, blocks, heads, 2], 'f32');
  const { k_elem, v_elem, ...shared } = constantsOf(o);
  const lanes = kernel === DECODE_SUBGROUP ? subgroupLanes(o) : { LANES: Math.min(g.device.leastLanes, 8) };
  const words = { K_HALVES: k_elem === 'f16', V_HALVES: v_elem === 'f16', ...lanes };
  const { read } = operands(o);
  g.dispatch({
    kernel,
    constants: { ...shared, ...words, BLOCK_KEYS, ...own },
    read,
    write: { parts, stats },
    params: { ...addresses(o), len: keys, quads: headDim / 4, blocks },
    workgroups: (value) => [ceilDiv(value(seen), BLOCK_KEYS), kvHeads, value(rows)],
    cost: (value) => cost(o, y!, value),
  });
  g.dispatch({
    ...merge,
    constants: {
      ...merge.constants,
      QUADS: headDim / 4,
      CAUSAL: shared.CAUSAL,
      BLOCK_KEYS,
      SLICES: slices(1024 / headDim),
    },
    read: { parts, stats, places: read.places },
    params: { len: keys, heads, blocks },
    workgroups: (value) => [heads, value(rows)],
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
function applies(device: DeviceInfo, { kernel }: Variant, o: AttentionOptions): boolean {
  if (kernel === DECODE_SUBGROUP || kernel === DECODE_SHUFFLE)
    return placesOf(o).shape[0]! <= DECODE_ROWS && decodeFits(o);
  if (kernel === MATRIX) {
    const unit = matrixUnit(device, MATRIX.matrix!);
    const halves = [o.q, o.k, o.v].every(({ tensor }) => tensor.dtype === 'f16');
    return halves && o.headDim <= MATRIX_DIM && (!unit || matrixSizes(device, unit, o) !== undefined);
  }
  return kernel !== TILE || o.headDim <= TILE_DIM;
}

/** Lanes of DECODE_SUBGROUP, and how many of them share a column of the values. */
function subgroupLanes({ v, headDim }: AttentionOptions) {
  return { WG: 128, SLICES: slices((128 * 16) / BYTES[v.tensor.dtype] / headDim) };
}

/** The largest power of two of at most so many and 8. */
function slices(most: number): number {
  return Math.min(2 ** Math.floor(Math.log2(most)), 8);
}

/** Whether keys and values can be read in 16-byte words, and 16 KiB of workgroup memory suffice for either decode kernel. */
function decodeFits(o: AttentionOptions): boolean {
  const { heads, kvHeads, headDim, kv } = o;
  const page = 'places' in kv ? kv.pageStride : 0;
  const whole = [o.k, o.v].every(({ tensor, offset, headStride, rowStride }) =>
    [offset, headStride, rowStride, page].every((step) => (step * BYTES[tensor.dtype]) % 16 === 0),
  );
  const { WG: lanes, SLICES } = subgroupLanes(o);
  const group = heads / kvHeads;
  const scratch = Math.max(group * 4 * roundUp(headDim, 32), SLICES * headDim * 4);
  return whole && headDim <= 4 * WG && scratch + group * (4 * BLOCK_KEYS + 2 * lanes) <= 16384;
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
    bytes: tokens * (o.heads * o.headDim * BYTES[o.q.tensor.dtype] + y.shape[1]! * BYTES[y.dtype]) + keys * perKey,
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

function expectSpans(spans: Tensor): void {
  const fits = spans.dtype === 'u32' && spans.shape.length === 2 && spans.shape[1] === 2;
  expect(fits, 'attention', 'spans', 'u32 [tokens, 2]', showTensor(spans));
}
