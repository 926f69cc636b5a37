import { asMatrix } from '../../runtime/index.ts';
import { type TableCase, tableInputs, tableOf, tableValues } from '../lib/table_case.ts';
import { type OpSpec, roundoff } from '../spec.ts';
import { embed, kernelOf, variants } from './embed.ts';

type EmbedCase = TableCase & {
  tokens: number;
  /** Rows of a second table, f32, whose ids follow those of the first. */
  features: number;
  as: 'f32' | 'f16';
  quick?: boolean;
};

const base = { cols: 40, vocab: 37, blocks: 1, features: 0, dtype: 'bf16', group: 32, as: 'f32' } as const;

/** Embedding look-up against the same look-up on the host. */
export const spec: OpSpec<EmbedCase> = {
  name: 'embed',
  formula: 'y[t] = table[ids[t] - firstId]',
  variants,
  applies: ({ kernel }, { dtype }) => kernel === kernelOf(dtype),
  needsF16: ({ as }) => as === 'f16',
  cases: [
    { ...base, tokens: 1, cols: 8, quick: true },
    { ...base, tokens: 31, blocks: 3, features: 11, quick: true },
    { ...base, tokens: 5, dtype: 'f32', quick: true },
    ...[1, 12, 13, 101].map((tokens) => ({ ...base, tokens })),
    ...[8, 504, 512, 520, 808].map((cols) => ({ ...base, tokens: 3, cols })),
    ...(['f32', 'bf16', 'f16'] as const).flatMap((dtype) =>
      (['f32', 'f16'] as const).map((as) => ({ ...base, tokens: 29, blocks: 4, features: 5, dtype, as })),
    ),
    { ...base, tokens: 9, cols: 5120, vocab: 101, blocks: 2, features: 20 },
    { ...base, tokens: 50, vocab: 1, features: 300 },
    { ...base, tokens: 11, blocks: 3, dtype: 'q4', features: 7, quick: true },
    { ...base, tokens: 11, cols: 72, blocks: 2, dtype: 'q8', group: 64, quick: true },
    ...(['q4', 'q8'] as const).flatMap((dtype) => [
      ...[8, 24, 40, 504].map((cols) => ({ ...base, tokens: 5, cols, dtype, group: 64 })),
      { ...base, tokens: 9, cols: 5120, vocab: 101, blocks: 2, dtype, group: 128, as: 'f16' as const },
    ]),
  ],
  bench: [
    { ...base, tokens: 1, cols: 5120, vocab: 1000 },
    { ...base, tokens: 1, cols: 5120, vocab: 1000, dtype: 'q8', group: 64 },
    { ...base, tokens: 512, cols: 5120, vocab: 1000, features: 256 },
  ],
  inputs(c, random) {
    const { tokens, cols, vocab, features } = c;
    const ids = random.integers([tokens], vocab + features);
    return { ids, ...tableInputs(c, random), ...(features > 0 && { features: random.tensor([features, cols]) }) };
  },
  record(g, tensors, c) {
    const tables = [{ matrix: tableOf(tensors, c), firstId: 0 }];
    if (c.features > 0) tables.push({ matrix: asMatrix(tensors.features!), firstId: c.vocab });
    return embed(g, tensors.ids!, tables, c.as);
  },
  reference(inputs, c) {
    const { tokens, cols } = c;
    const table = [...tableValues(inputs, c), ...((inputs.features?.data as Float32Array) ?? [])];
    const y = new Float64Array(tokens * cols);
    inputs.ids!.data.forEach((id, t) => {
      y.set(table.slice(id * cols, (id + 1) * cols), t * cols);
    });
    return y;
  },
  /** In f32 exact; the absolute part in f16 is half the distance between subnormal halves. */
  tolerance: ({ as }) => (as === 'f16' ? { atol: 2 ** -25, rtol: roundoff(as) } : { atol: 0, rtol: 0 }),
};
