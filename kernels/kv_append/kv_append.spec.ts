import { widen } from '../../runtime/index.ts';
import { PAGE } from '../lib/pages.ts';
import { layRows, poolRow, rowTensors, type WrittenCase } from '../lib/sequences.ts';
import { type OpSpec, roundoff } from '../spec.ts';
import { kvAppend, variants } from './kv_append.ts';

type KvAppendCase = WrittenCase & {
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

const one = { sequences: 1, mixed: false, missing: false, k: 'f32', v: 'f32', cache: 'f32' } as const;
const base = { ...one, kvHeads: 2, headDim: 8, before: 8, behind: 4 } as const;
const model = { ...one, kvHeads: 10, headDim: 128, before: 1280, behind: 0 } as const;
const both = (c: Omit<KvAppendCase, 'show'>): KvAppendCase[] => [
  { ...c, show: 'k' },
  { ...c, show: 'v' },
];

/** Appending to pages of the KV cache, against the same copy on the host. */
export const spec: OpSpec<KvAppendCase> = {
  name: 'kv_append',
  formula:
    'pool[tables[s, p / PAGE], h, p % PAGE, i] = k[t, kColumn + h headDim + i] with (p, s) = places[t]; v likewise',
  variants,
  cases: [
    ...both({ ...base, tokens: 5, keys: 8, quick: true }),
    ...both({ ...base, tokens: 17, keys: 137, quick: true }),
    ...both({ ...base, tokens: 20, keys: 300, sequences: 3, mixed: true, quick: true }),
    { ...base, tokens: 9, keys: 130, sequences: 2, missing: true, show: 'k', quick: true },
    { ...base, tokens: 1, keys: 1, kvHeads: 1, headDim: 4, before: 0, behind: 0, show: 'v', quick: true },
    ...[1, 15, 16, 31, 40, 127, 128, 129].flatMap((tokens) => both({ ...base, tokens, keys: tokens })),
    ...[1, 7].flatMap((tokens) => both({ ...model, tokens, keys: 97 + tokens })),
    ...both({ ...model, tokens: 3, keys: 200, sequences: 3 }),
    ...both({ ...base, tokens: 9, headDim: 72, kvHeads: 3, keys: 16 }),
    ...both({ ...base, tokens: 9, keys: 16, k: 'f16', cache: 'f16' }),
    ...both({ ...base, tokens: 9, keys: 16, cache: 'f16' }),
    ...both({ ...model, tokens: 3, keys: 13, k: 'f16', v: 'f16', cache: 'f16' }),
  ],
  bench: [
    { ...model, tokens: 1, keys: 1001, show: 'k' },
    { ...model, tokens: 512, keys: 1512, show: 'k' },
  ],
  inputs(c, random) {
    const { tokens, kvHeads, headDim, before, behind, k, v, cache } = c;
    const pool = () => random.tensor([layRows(c).poolPages, kvHeads, PAGE, headDim], cache);
    return {
      k: random.tensor([tokens, before + kvHeads * headDim + behind], k),
      v: random.tensor([tokens, behind + kvHeads * headDim + before], v),
      ...rowTensors(c, c.missing ? -1 : 1),
      kPool: pool(),
      vPool: pool(),
    };
  },
  record(g, { k, v, places, tables, kPool, vPool }, { before, behind, show }) {
    kvAppend(g, k!, before, v!, behind, { places: places!, tables: tables! }, { k: kPool!, v: vPool! });
    return show === 'k' ? kPool! : vPool!;
  },
  reference({ k, v, tables, kPool, vPool }, c) {
    const { kvHeads, headDim, before, behind, show } = c;
    const [x, pool, column] = show === 'k' ? [k!, kPool!, before] : [v!, vPool!, behind];
    const xs = widen(x.dtype, x.data);
    const y = Float64Array.from(widen(pool.dtype, pool.data));
    const cols = before + kvHeads * headDim + behind;
    const { places, sequences } = layRows(c);
    places.forEach(([position, owner], t) => {
      if (position >= tables!.shape[1]! * PAGE) return;
      for (let h = 0; h < kvHeads; h++) {
        const start = t * cols + column + h * headDim;
        y.set(xs.subarray(start, start + headDim), poolRow(sequences[owner]!, position, kvHeads, h) * headDim);
      }
    });
    return y;
  },
  /** The absolute part is half the distance between subnormal halves. */
  tolerance: ({ cache }) => ({ atol: cache === 'f16' ? 2 ** -25 : 0, rtol: roundoff(cache) }),
};
