import { type HostTensor, widen } from '../../runtime/index.ts';
import { orderOfFour } from '../lib/order_case.ts';
import { type TableCase, tableInputs, tableOf, tableValues } from '../lib/table_case.ts';
import { randomWords } from '../sample/philox.ts';
import type { OpSpec, Random } from '../spec.ts';
import { advance, kernelOf, variants } from './advance.ts';

const shown = ['history', 'token', 'places', 'random', 'embedding'] as const;
type Shown = (typeof shown)[number];

type AdvanceCase = TableCase & {
  capacity: number;
  step: number;
  forcedCount: number;
  /** The tensor that is compared. */
  show: Shown;
  /** Logits to choose from, 0: a choice is given; whether some are not finite. */
  logits: number;
  strays: boolean;
  quick?: boolean;
};

const STRAYS = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
const POSITION = 11;
const SEED = 20260801;
const table = { vocab: 37, cols: 40, dtype: 'bf16', blocks: 1, group: 32 } as const;
const base = { capacity: 7, step: 3, forcedCount: 3, logits: 0, strays: false, ...table };
const all = (c: Omit<AdvanceCase, 'show'>): AdvanceCase[] => shown.map((show) => ({ ...c, show }));

/** The tail of the decode loop against the same steps on the host. */
export const spec: OpSpec<AdvanceCase> = {
  name: 'advance',
  formula:
    'history[s] = choice; token = s < forced[0] ? forced[1 + s] : choice; step = s + 1; places[0] += 1; y = table[token]',
  variants,
  applies: ({ kernel }, { dtype, blocks }) => kernel === kernelOf(dtype, blocks),
  needsF16: () => false,
  cases: [
    ...all({ ...base, quick: true }),
    ...all({ ...base, logits: 1027, vocab: 1027, dtype: 'q4', quick: true }),
    { ...base, logits: 1027, strays: true, show: 'history', quick: true },
    { ...base, step: 2, show: 'token', quick: true },
    { ...base, step: 7, forcedCount: 7, show: 'history', quick: true },
    ...[0, 6, 7, 9].flatMap((step) => [0, 1, 7].flatMap((forcedCount) => all({ ...base, step, forcedCount }))),
    ...all({ ...base, capacity: 1, step: 0, forcedCount: 1 }),
    { ...base, step: 7, forcedCount: 8, show: 'token' },
    { ...base, capacity: 8, step: 8, forcedCount: 0, show: 'history' },
    { ...base, capacity: 4096, step: 4095, forcedCount: 0, show: 'history' },
    ...[1, 2, 3, 4, 5, 101, 4095, 4096, 4097, 16385, 100351, 100352].flatMap((logits) =>
      [false, true].map((strays) => ({
        ...{ ...base, logits, strays, vocab: logits, cols: 8, forcedCount: 0, show: 'history' as const },
      })),
    ),
    ...(['f32', 'bf16', 'f16', 'q4', 'q8'] as const).flatMap((dtype) =>
      [8, 504, 512, 520, 5120].map((cols) => ({ ...base, dtype, cols, logits: 37, show: 'embedding' as const })),
    ),
    ...(['f32', 'q8'] as const).flatMap((dtype) => all({ ...base, dtype, blocks: 3, logits: 37 })),
  ],
  bench: [
    { ...base, capacity: 4096, logits: 100352, vocab: 1000, cols: 5120, dtype: 'q8', show: 'token' },
    { ...base, capacity: 4096, vocab: 1000, cols: 5120, dtype: 'q8', show: 'token' },
  ],
  inputs: (c, random) => ({
    ...(c.logits > 0 ? logits(c.logits, c.strays, random) : { choice: random.integers([2], c.vocab) }),
    forced: forcedTokens(c, random),
    history: random.integers([c.capacity, 2], 100352),
    token: { shape: [1], dtype: 'u32', data: Uint32Array.of(5) },
    places: { shape: [1, 2], dtype: 'u32', data: Uint32Array.of(POSITION, 3) },
    random: randomWords(SEED, c.step),
    ...tableInputs(c, random),
  }),
  record(g, { choice, logits, largest, forced, history, token, places, random, ...tensors }, c) {
    const state = { history: history!, token: token!, places: places!, random: random! };
    const from = choice ?? { logits: logits!, largest: largest! };
    const embedding = advance(g, from, { ...state, forced: forced! }, tableOf(tensors, c));
    return { ...state, embedding }[c.show];
  },
  reference(inputs, c) {
    const { capacity, step, forcedCount, show } = c;
    const { forced, history } = inputs;
    const choice = inputs.logits ? largest([...inputs.logits.data]) : [...inputs.choice!.data];
    const token = step < Math.min(forcedCount, capacity) ? forced!.data[1 + step]! : choice[0]!;
    if (show === 'places') return Float64Array.of(POSITION + 1, 3);
    if (show === 'random') return Float64Array.from(randomWords(SEED, step + 1).data);
    if (show === 'token') return Float64Array.of(token);
    if (show === 'embedding')
      return Float64Array.from(tableValues(inputs, c).slice(token * c.cols, (token + 1) * c.cols));
    const kept = Float64Array.from(widen('u32', history!.data));
    if (step < capacity) kept.set(choice, 2 * step);
    return kept;
  },
  tolerance: () => ({ atol: 0, rtol: 0 }),
};

function forcedTokens({ capacity, forcedCount, vocab }: AdvanceCase, random: Random): HostTensor {
  const { shape, dtype, data } = random.integers([1 + capacity], vocab);
  data[0] = forcedCount;
  return { shape, dtype, data };
}

/** What logits() gives of three different values, with some that are not finite in `strays`. */
function logits(n: number, strays: boolean, random: Random): Record<string, HostTensor> {
  const one = () => (strays && random.below(50) === 0 ? STRAYS[random.below(3)]! : random.below(3) - 5);
  const data = Float32Array.from({ length: n }, one);
  const largest = Uint32Array.from({ length: Math.ceil(n / 4) }, (_, q) =>
    orderOfFour(data.subarray(4 * q, 4 * q + 4)),
  );
  return {
    logits: { shape: [1, n], dtype: 'f32', data },
    largest: { shape: [largest.length], dtype: 'u32', data: largest },
  };
}

/** The lowest index of the largest finite element, 0 where there is none, and how many are not finite. */
function largest(xs: number[]): [number, number] {
  const finite = xs.filter(Number.isFinite);
  return [Math.max(0, xs.indexOf(finite.reduce((a, b) => Math.max(a, b), -6))), xs.length - finite.length];
}
