import { type HostTensor, type Matrix, type Tensor, widen } from '../../runtime/index.ts';
import { type OpSpec, roundoff } from '../spec.ts';
import { embed, variants } from './embed.ts';

type EmbedCase = {
  tokens: number;
  cols: number;
  /** Rows of the first table, and into how many blocks they are cut. */
  vocab: number;
  blocks: number;
  /** Rows of a second table, f32, whose ids follow those of the first. */
  features: number;
  dtype: 'f32' | 'bf16' | 'f16';
  as: 'f32' | 'f16';
  quick?: boolean;
};

const base = { cols: 40, vocab: 37, blocks: 1, features: 0, dtype: 'bf16', as: 'f32' } as const;

/** Embedding look-up against the same look-up on the host. */
export const spec: OpSpec<EmbedCase> = {
  name: 'embed',
  formula: 'y[t] = table[ids[t] - firstId]',
  variants,
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
  ],
  bench: [
    { ...base, tokens: 1, cols: 5120, vocab: 1000 },
    { ...base, tokens: 512, cols: 5120, vocab: 1000, features: 256 },
  ],
  inputs({ tokens, cols, vocab, blocks, features, dtype }, random) {
    const inputs: Record<string, HostTensor> = { ids: random.integers([tokens], vocab + features) };
    for (const [i, [start, end]] of ranges(vocab, blocks).entries())
      inputs[`block${i}`] = random.tensor([end - start, cols], dtype);
    if (features) inputs.features = random.tensor([features, cols]);
    return inputs;
  },
  record(g, tensors, { vocab, blocks, features, as }) {
    const text = ranges(vocab, blocks).map(([row], i) => ({ tensor: tensors[`block${i}`]!, row }));
    const tables = [{ matrix: matrix(vocab, text), firstId: 0 }];
    if (features) tables.push({ matrix: matrix(features, [{ tensor: tensors.features!, row: 0 }]), firstId: vocab });
    return embed(g, tensors.ids!, tables, as);
  },
  reference(inputs, { tokens, cols, blocks, features }) {
    const names = [...Array.from({ length: blocks }, (_, i) => `block${i}`), ...(features ? ['features'] : [])];
    const table = names.flatMap((name) => [...widen(inputs[name]!.dtype, inputs[name]!.data)]);
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

function matrix(rows: number, blocks: Matrix['blocks']): Matrix {
  const { name, shape, dtype } = blocks[0]!.tensor as Tensor;
  return { name, rows, cols: shape[1]!, dtype, blocks };
}
