import { VECTOR_ROWS } from '../../kernels/matmul/product.ts';
import { rowsClass } from '../../kernels/policy.ts';
import type { Case } from '../../kernels/spec.ts';
import { DEFAULT_FORMATS, type ModelConfig, type SyntheticFormat } from '../../model/index.ts';

/** Cases of one op that a model meets and that ask for the same choice. */
export interface Problem {
  op: string;
  cases: readonly Case[];
}

/** What the matrices of a decoder are stored as. */
type Format = SyntheticFormat | 'int8';

/** What a model's weights and activations are stored as. */
export interface Storage {
  formats: readonly Format[];
  dtypes: readonly ('f32' | 'f16')[];
  /** Whether quantised weights meet activations of 8 bits, or those of `dtypes`; both where both are listed. */
  int8: readonly boolean[];
}

/** Rows of a step and of a chunk of a prompt, then those of shorter chunks. */
const ROWS = { gpu: [1, 1024, 32, 4], cpu: [1, 64, 32, 4] };
const PATCHES = { gpu: 3600, cpu: 64 };
/** Keys of a decoder's row. */
const KEYS = { gpu: 4096, cpu: 512 };
/** The most work of a product on a CPU; larger matrices are halved until they fit. */
const CPU_FLOPS = 5e7;

/** The problems of a model, those that take most of its time first; on a CPU with the heaviest case of each, and smaller matrices. */
export function listProblems(config: ModelConfig, onCpu: boolean, { formats, dtypes, int8 }: Storage): Problem[] {
  const kind = onCpu ? 'cpu' : 'gpu';
  const [step, chunk, ...short] = ROWS[kind];
  const quantised = formats.filter((format) => format !== 'bf16');
  const met = int8.flatMap((integers): readonly string[] => (integers ? ['i8'] : dtypes)); // by quantised weights
  const each = (rows: number) => [
    ...formats.flatMap((format) =>
      (format === 'bf16' ? dtypes : met).flatMap((from) => linear(config, rows, from, format)),
    ),
    ...dtypes.map((dtype) => attention(config, rows, KEYS[kind], dtype)),
  ];
  const heads = quantised.length > 0 ? met : [];
  // Rows that become integers are normed on the way; only that behind a prompt is not.
  const normed = formats.includes('bf16') || met.some((from) => from !== 'i8') ? [chunk!, ...short] : [];
  const problems = [
    ...each(step!),
    ...heads.flatMap((dtype) => head(config, dtype)),
    ...each(chunk!),
    ...vision(config, PATCHES[kind], formats, dtypes),
    ...short.flatMap(each),
    ...[step!, ...normed].flatMap((rows) => dtypes.map((as) => norm(config, rows, as))),
  ];
  const distinct = joined(problems);
  return onCpu ? distinct.map(({ op, cases }) => ({ op, cases: [halved(heaviest(cases))] })) : distinct;
}

/**
 * A case of the same pipelines, at a size that float64 gets through in moments: one head group, few outputs, and many rows or keys as no
 * tile divides them. Only a product of a few rows keeps its inner length, which its pipelines depend on.
 */
export function checkOf({ op, cases: [first] }: Problem, c: Case = first!): Case {
  const odd = (rows: unknown) => (Number(rows) <= 8 ? Number(rows) : Math.min(Number(rows), 64) + 1);
  const { heads, kvHeads, causal } = c;
  const few = { heads: Number(heads) / Number(kvHeads), kvHeads: 1 };
  const rows = odd(c.rows ?? c.tokens);
  const inner = Math.min(Number(c.inner), rows <= 8 ? Number.POSITIVE_INFINITY : 1032);
  if (op === 'matmul') return { ...c, rows, inner, outs: c.show === 'quants' ? 128 : 66 };
  if (op === 'qkv') return { ...c, rows, inner, keys: rows };
  if (op !== 'attention') return { ...c, rows };
  const seen: Case = causal ? { keys: 300 } : { keys: 131, sequences: 3 };
  return { ...c, ...seen, ...few, tokens: rows };
}

/** The product with most work, which is the first of those that have as much. */
function heaviest(cases: readonly Case[]): Case {
  const work = ({ inner, outs }: Case) => Number(inner) * Number(outs);
  return cases.reduce((most, c) => (work(c) > work(most) ? c : most));
}

/** Products of equal rows, dtypes and formats in one problem, whichever part of the model they come from. */
function joined(problems: readonly Problem[]): Problem[] {
  const keyOf = ({ op, cases: [c] }: Problem) => {
    const { rows, from, weights, norm, show } = c!;
    const fields = op === 'matmul' ? [rowsClass(Number(rows)), from, weights, norm, show] : c;
    return JSON.stringify([op, fields]);
  };
  const keys = new Set(problems.map(keyOf));
  return [...keys].map((key) => {
    const same = problems.filter((problem) => keyOf(problem) === key);
    return { op: same[0]!.op, cases: same.flatMap(({ cases }) => cases) };
  });
}

const WEIGHTS = { int4: 'q4', int8: 'q8', bf16: 'bf16' } as const;
const PRODUCT = {
  ...{ group: 64, activation: 'none', bias: false, residual: false, as: 'f32', split: 0 },
  ...{ norm: false, show: 'y' },
};

/** A product with inner and outs, or heads, halved until it is work for a CPU; other cases as they are. */
function halved(c: Case): Case {
  const [rows, inner, heads, kvHeads] = [Number(c.rows), Number(c.inner), Number(c.heads), Number(c.kvHeads)];
  const outs = Number(c.outs ?? (heads + 2 * kvHeads) * Number(c.headDim));
  if (!(2 * rows * inner * outs > CPU_FLOPS)) return c;
  const half = { ...c, inner: Math.round(inner / 16) * 8 };
  if (c.outs) return halved({ ...half, outs: Math.round(outs / 4) * 2 });
  return halved({ ...half, heads: Math.ceil(heads / 2), kvHeads: Math.ceil(kvHeads / 2) });
}

/** The products of a decoder layer, those by themselves that norm x or quantise y where rows are few. */
function linear({ decoder }: ModelConfig, rows: number, from: string, format: Format): Problem[] {
  const { hidden, heads, kvHeads, headDim, ffn } = decoder;
  const shared = { ...PRODUCT, rows, from, weights: WEIGHTS[format] };
  const as = from === 'i8' ? 'f32' : from;
  const { weights, group } = shared;
  const places = { keys: rows, sequences: 1, mixed: false, missing: false };
  const norm = rows <= VECTOR_ROWS;
  const sizes = { rows, inner: hidden, weights, group, from, split: 0, norm, heads, kvHeads, headDim };
  const gateUp = { ...shared, inner: hidden, outs: 2 * ffn, activation: 'silu_gate', as, norm };
  return [
    { op: 'qkv', cases: [{ ...sizes, ...places, as, cache: as, show: 'q' }] },
    { op: 'matmul', cases: [{ ...shared, inner: hidden, outs: (heads + 2 * kvHeads) * headDim, norm }] }, // of qkv apart
    { op: 'matmul', cases: [{ ...gateUp, show: norm && from === 'i8' ? 'quants' : 'y' }] },
    { op: 'matmul', cases: [{ ...shared, inner: ffn, outs: hidden, residual: true }] },
  ];
}

/** lm_head of a quantised model, behind a prompt and behind a step, whose row it norms. */
function head({ decoder: { hidden, vocab } }: ModelConfig, from: string): Problem[] {
  const shared = { ...PRODUCT, rows: 1, inner: hidden, outs: vocab, from, weights: DEFAULT_FORMATS.head };
  return [false, true].map((norm) => ({ op: 'matmul', cases: [{ ...shared, norm }] }));
}

function attention({ decoder }: ModelConfig, tokens: number, keys: number, kv: string): Problem {
  const { heads, kvHeads, headDim } = decoder;
  const rows = { tokens, keys, sequences: 1, mixed: false, causal: true };
  return { op: 'attention', cases: [{ ...rows, heads, kvHeads, headDim, as: kv, kv, scale: 1 }] };
}

function norm({ decoder: { hidden } }: ModelConfig, rows: number, as: string): Problem {
  return { op: 'rms_norm', cases: [{ rows, cols: hidden, as }] };
}

/** The encoder: its patches come in f32, its weights in f16 where the decoder's are quantised. */
function vision(
  { vision: { hidden, ffn, heads, headDim, patch, channels } }: ModelConfig,
  rows: number,
  formats: readonly Format[],
  dtypes: readonly string[],
): Problem[] {
  const weights = formats.map((format) => (format === 'bf16' ? 'bf16' : 'half'));
  const embed = (weights: string): Case => ({
    ...PRODUCT,
    rows,
    inner: patch ** 2 * channels,
    outs: hidden,
    weights,
    from: 'f32',
  });
  const layer = (weights: string, from: string): Problem => {
    const shared = { ...PRODUCT, rows, weights, from, bias: true };
    const cases = [
      { ...shared, inner: hidden, outs: 3 * hidden, as: from },
      { ...shared, inner: hidden, outs: ffn, activation: 'gelu_tanh', as: from },
      { ...shared, inner: ffn, outs: hidden, residual: true },
    ];
    return { op: 'matmul', cases: from === 'f32' ? [...cases, embed(weights)] : cases };
  };
  const seen = { tokens: rows, keys: rows, sequences: 1, mixed: false, causal: false };
  return [
    ...weights.flatMap((format) => dtypes.map((dtype) => layer(format, dtype))),
    ...weights.flatMap((format) => (dtypes.includes('f32') ? [] : [{ op: 'matmul', cases: [embed(format)] }])),
    ...dtypes.map((as) => ({
      op: 'attention',
      cases: [{ ...seen, heads, kvHeads: heads, headDim, as, kv: as, scale: 1 }],
    })),
    ...dtypes.map((as) => ({ op: 'layer_norm', cases: [{ rows, cols: hidden, mean: 0, as }] })),
  ];
}
