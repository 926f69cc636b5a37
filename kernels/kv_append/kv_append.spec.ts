import { widen } from '../../runtime/index.ts';
import { type OpSpec, roundoff } from '../spec.ts';
import { kvAppend, variants } from './kv_append.ts';

type KvAppendCase = {
  tokens: number;
  kvHeads: number;
  headDim: number;
  capacity: number;
  position: number;
  /** Columns of k and v in front of the appended ones, and behind them. */
  before: number;
  behind: number;
  k: 'f32' | 'f16';
  v: 'f32' | 'f16';
  cache: 'f32' | 'f16';
  /** The cache that is compared. */
  show: 'k' | 'v';
  quick?: boolean;
};

const base = { kvHeads: 2, headDim: 8, capacity: 40, before: 8, behind: 4, k: 'f32', v: 'f32', cache: 'f32' } as const;
const model = { kvHeads: 10, headDim: 128, before: 1280, behind: 0, k: 'f32', v: 'f32', cache: 'f32' } as const;
const both = (c: Omit<KvAppendCase, 'show'>): KvAppendCase[] => [
  { ...c, show: 'k' },
  { ...c, show: 'v' },
];

/** Appending to the KV cache, against the same copy on the host. */
export const spec: OpSpec<KvAppendCase> = {
  name: 'kv_append',
  formula: 'k_cache[h, position + t, i] = k[t, kColumn + h headDim + i]; v_cache likewise',
  variants,
  cases: [
    ...both({ ...base, tokens: 5, position: 3, quick: true }),
    ...both({ ...base, tokens: 17, position: 30, quick: true }),
    { ...base, tokens: 1, position: 40, show: 'k', quick: true },
    {
      ...base,
      tokens: 1,
      kvHeads: 1,
      headDim: 4,
      capacity: 1,
      before: 0,
      behind: 0,
      position: 0,
      show: 'v',
      quick: true,
    },
    ...[1, 15, 16, 31, 40].flatMap((tokens) => both({ ...base, tokens, position: 0 })),
    ...[1, 7].flatMap((tokens) => both({ ...model, tokens, capacity: 101, position: 97 })),
    ...both({ ...base, tokens: 9, headDim: 72, kvHeads: 3, position: 7 }),
    ...both({ ...base, tokens: 9, position: 7, k: 'f16', cache: 'f16' }),
    ...both({ ...base, tokens: 9, position: 7, cache: 'f16' }),
    ...both({ ...model, tokens: 3, capacity: 64, position: 10, k: 'f16', v: 'f16', cache: 'f16' }),
  ],
  bench: [
    { ...model, tokens: 1, capacity: 4096, position: 1000, show: 'k' },
    { ...model, tokens: 512, capacity: 4096, position: 1000, show: 'k' },
  ],
  inputs: ({ tokens, kvHeads, headDim, capacity, position, before, behind, k, v, cache }, random) => ({
    k: random.tensor([tokens, before + kvHeads * headDim + behind], k),
    v: random.tensor([tokens, behind + kvHeads * headDim + before], v),
    position: { shape: [1], dtype: 'u32', data: Uint32Array.of(position) },
    kCache: random.tensor([kvHeads, capacity, headDim], cache),
    vCache: random.tensor([kvHeads, capacity, headDim], cache),
  }),
  record(g, { k, v, position, kCache, vCache }, { before, behind, show }) {
    kvAppend(g, k!, before, v!, behind, position!, { k: kCache!, v: vCache! });
    return show === 'k' ? kCache! : vCache!;
  },
  reference({ k, v, kCache, vCache }, { tokens, kvHeads, headDim, capacity, position, before, behind, show }) {
    const [x, cache, column] = show === 'k' ? [k!, kCache!, before] : [v!, vCache!, behind];
    const xs = widen(x.dtype, x.data);
    const y = Float64Array.from(widen(cache.dtype, cache.data));
    const cols = before + kvHeads * headDim + behind;
    for (let row = position; row < Math.min(position + tokens, capacity); row++) {
      for (let h = 0; h < kvHeads; h++) {
        const start = (row - position) * cols + column + h * headDim;
        y.set(xs.subarray(start, start + headDim), (h * capacity + row) * headDim);
      }
    }
    return y;
  },
  /** The absolute part is half the distance between subnormal halves. */
  tolerance: ({ cache }) => ({ atol: cache === 'f16' ? 2 ** -25 : 0, rtol: roundoff(cache) }),
};
