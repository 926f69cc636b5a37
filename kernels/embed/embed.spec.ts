import { asMatrix, type HostTensor, type Matrix, widen } from '../../runtime/index.ts';
import { dequantizeWeightsHost, quantizedShapes } from '../lib/quantized.ts';
import { type OpSpec, type Random, roundoff } from '../spec.ts';
import { embed, kernelOf, variants } from './embed.ts';

type EmbedCase = {
  tokens: number;
  cols: number;
  /** Rows of the first table, and into how many blocks they are cut. */
  vocab: number;
  blocks: number;
  /** Rows of a second table, f32, whose ids follow those of the first. */
  features: number;
  dtype: 'f32' | 'bf16' | 'f16' | 'q4' | 'q8';
  /** Columns that share a scale, of q4 and q8. */
  group: number;
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
    const { tokens, cols, vocab, blocks, features } = c;
    const inputs: Record<string, HostTensor> = { ids: random.integers([tokens], vocab + features) };
    for (const [i, [start, end]] of ranges(vocab, blocks).entries()) {
      const { table, scales } = block(end - start, c, random);
      inputs[`block${i}`] = table;
      if (scales) inputs[`scales${i}`] = scales;
    }
    if (features) inputs.features = random.tensor([features, cols]);
    return inputs;
  },
  record(g, tensors, { cols, vocab, blocks, features, dtype, group, as }) {
    const text = ranges(vocab, blocks).map(([row], i) => ({
      tensor: tensors[`block${i}`]!,
      scales: tensors[`scales${i}`],
      row,
    }));
    const tables = [{ matrix: { name: 'table', rows: vocab, cols, dtype, group, blocks: text } as Matrix, firstId: 0 }];
    if (features) tables.push({ matrix: asMatrix(tensors.features!), firstId: vocab });
    return embed(g, tensors.ids!, tables, as);
  },
  reference(inputs, c) {
    const { tokens, cols, blocks, features } = c;
    const names = [...Array.from({ length: blocks }, (_, i) => `${i}`), ...(features ? ['features'] : [])];
    const table = names.flatMap((name) => [...values(inputs, name, c)]);
    const y = new Float64Array(tokens * cols);
    inputs.ids!.data.forEach((id, t) => {
      y.set(table.slice(id * cols, (id + 1) * cols), t * cols);
    });
    return y;
  },
  /** The absolute part is half the distance between subnormal halves. */
  tolerance: ({ as }) => ({ atol: as === 'f16' ? 2 ** -25 : 0, rtol: roundoff(as) }),
};

function ranges(rows: number, blocks: number): [number, number][] {
  const at = (i: number) => Math.floor((rows * i) / blocks);
  return Array.from({ length: blocks }, (_, i) => [at(i), at(i + 1)]);
}

/** Rows of the table: elements, or random quants and scales. */
function block(rows: number, { cols, dtype, group }: EmbedCase, random: Random) {
  if (dtype !== 'q4' && dtype !== 'q8') return { table: random.tensor([rows, cols], dtype) };
  const shapes = quantizedShapes(rows, cols, { format: dtype, group });
  return { table: random.integers(shapes.quants, 2 ** 32), scales: random.tensor(shapes.scales, 'f16', 0.01) };
}

function values(inputs: Record<string, HostTensor>, name: string, { cols, dtype, group }: EmbedCase): Float32Array {
  const { dtype: stored, shape, data } = inputs[`block${name}`] ?? inputs[name]!;
  const scales = inputs[`scales${name}`];
  if (!scales || (dtype !== 'q4' && dtype !== 'q8')) return widen(stored, data);
  const quantized = { quants: data as Uint32Array, scales: scales.data as Uint16Array };
  return dequantizeWeightsHost(quantized, shape[0]!, cols, { format: dtype, group });
}
