import { asMatrix, type HostTensor, type Matrix, type Tensor, widen } from '../../runtime/index.ts';
import { type OpSpec, type Random, roundoff } from '../spec.ts';
import { candidates, type LinearOptions, linear, variants } from './matmul.ts';

type MatmulCase = {
  rows: number;
  inner: number;
  outs: number;
  /** dtype of w; 'half' is f16, under another name because it needs no shader-f16. */
  weights: 'f32' | 'bf16' | 'half';
  activation: NonNullable<LinearOptions['activation']>;
  bias: boolean;
  residual: boolean;
  from: 'f32' | 'f16';
  as: 'f32' | 'f16';
  /** Rows of w in its first block; 0 for one block. */
  split: number;
  quick?: boolean;
};

function sized(rows: number, inner: number, outs: number, options: Partial<MatmulCase> = {}): MatmulCase {
  const plain = { weights: 'bf16', activation: 'none', bias: false, residual: false, split: 0 } as const;
  return { rows, inner, outs, ...plain, from: 'f32', as: 'f32', ...options };
}

/** x w^T and what follows it, against float64. */
export const spec: OpSpec<MatmulCase> = {
  name: 'matmul',
  formula: 'y = act(x w^T + bias) + residual',
  variants,
  applies: (kernel, { rows, from, weights }) =>
    candidates(rows, from, weights === 'half' ? 'f16' : weights, false).includes(kernel),
  cases: [
    sized(1, 8, 1, { quick: true }),
    sized(5, 40, 70, { activation: 'gelu_tanh', bias: true, quick: true }),
    sized(2, 24, 38, { activation: 'silu_gate', weights: 'f32', bias: true, residual: true, quick: true }),
    sized(1, 72, 9, { weights: 'half', bias: true, residual: true, quick: true }),
    sized(1, 1160, 66, { activation: 'silu_gate', split: 34, quick: true }),
    sized(65, 16, 65, { weights: 'half', bias: true, residual: true, split: 30, quick: true }),
    ...[1, 3, 4, 5, 63, 64, 65, 101, 300].map((rows) => sized(rows, 24, 67)),
    ...[1, 3, 4, 5, 31, 32, 33, 63, 64, 65, 101, 1031, 1152].flatMap((outs) => [
      sized(1, 64, outs),
      sized(7, 64, outs),
    ]),
    ...[8, 16, 24, 72, 520, 1152, 4304, 5120, 17920].flatMap((inner) => [sized(1, inner, 13), sized(6, inner, 13)]),
    ...[1, 9].flatMap((rows) => [
      sized(rows, 104, 50, { activation: 'gelu_erf', bias: true }),
      sized(rows, 88, 51, {
        weights: 'f32',
        from: 'f16',
        as: 'f16',
        activation: 'gelu_tanh',
        residual: true,
        split: 17,
      }),
      sized(rows, 96, 50, { from: 'f16', activation: 'silu_gate' }),
    ]),
    ...[
      [9, 64],
      [63, 65],
      [64, 101],
      [65, 67],
    ].map(([rows, outs]) =>
      sized(rows!, 72, outs!, {
        weights: 'half',
        from: 'f16',
        as: 'f16',
        activation: 'gelu_tanh',
        bias: true,
        residual: true,
      }),
    ),
  ],
  bench: [
    sized(1, 5120, 7680),
    sized(1, 5120, 5120, { residual: true }),
    sized(1, 5120, 8960, { activation: 'silu_gate', split: 4480 }),
    sized(64, 5120, 5120, { residual: true }),
    sized(256, 1152, 4304, { activation: 'gelu_tanh', bias: true }),
    sized(256, 4304, 1152, { bias: true, residual: true }),
    sized(512, 128, 640, { weights: 'f32' }),
  ],
  inputs({ rows, inner, outs, weights, activation, bias, residual, from, split }, random: Random) {
    const dtype = weights === 'half' ? 'f16' : weights;
    const width = activation === 'silu_gate' ? outs / 2 : outs;
    const block = (count: number) => random.tensor([count, inner], dtype, inner ** -0.5);
    return {
      x: random.tensor([rows, inner], from),
      w: block(split || outs),
      ...(split && { rest: block(outs - split) }),
      ...(bias && { bias: random.tensor([outs]) }),
      ...(residual && { residual: random.tensor([rows, width]) }),
    };
  },
  record(g, { x, w, rest, bias, residual }, { activation, as, outs }) {
    return linear(g, x!, joined(w!, rest, outs), {
      activation,
      as,
      ...(bias && { bias }),
      ...(residual && { residual }),
    });
  },
  reference(inputs, { rows, inner, outs, activation }) {
    const values = ({ dtype, data }: HostTensor) => widen(dtype, data);
    const x = values(inputs.x!);
    const w = [inputs.w!, inputs.rest].flatMap((block) => (block ? [...rowsOf(values(block), inner)] : []));
    const bias = inputs.bias && values(inputs.bias);
    const sums = new Float64Array(rows * outs);
    for (let r = 0; r < rows; r++) {
      for (let n = 0; n < outs; n++) {
        let sum = bias?.[n] ?? 0;
        const row = w[n]!;
        for (let k = 0; k < inner; k++) sum += x[r * inner + k]! * row[k]!;
        sums[r * outs + n] = sum;
      }
    }
    const residual = inputs.residual && values(inputs.residual);
    return activated(sums, activation).map((value, i) => value + (residual?.[i] ?? 0));
  },
  tolerance: ({ as }) => ({ atol: 4e-6, rtol: 2 * roundoff(as) + 2e-6 }),
};

function joined(w: Tensor, rest: Tensor | undefined, rows: number): Matrix {
  const first = asMatrix(w);
  if (!rest) return first;
  return { ...first, rows, blocks: [...first.blocks, { tensor: rest, row: first.rows }] };
}

function* rowsOf(values: Float32Array, cols: number): Generator<Float32Array> {
  for (let at = 0; at < values.length; at += cols) yield values.subarray(at, at + cols);
}

function activated(sums: Float64Array, activation: MatmulCase['activation']): Float64Array {
  const sigmoid = (v: number) => 1 / (1 + Math.exp(-v));
  if (activation === 'gelu_tanh')
    return sums.map((v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))));
  if (activation === 'gelu_erf') return sums.map((v) => 0.5 * v * (1 + erf(v / Math.SQRT2)));
  if (activation === 'none') return sums;
  return Float64Array.from(
    { length: sums.length / 2 },
    (_, i) => sums[2 * i]! * sigmoid(sums[2 * i]!) * sums[2 * i + 1]!,
  );
}

/** erf by its Maclaurin series, good to 1e-12 for |z| < 4 and 1 beyond 6. */
function erf(z: number): number {
  if (Math.abs(z) > 6) return Math.sign(z);
  let [term, sum] = [z, z];
  for (let n = 1; n < 200; n++) {
    term *= (-z * z) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}
