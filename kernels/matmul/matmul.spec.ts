import { type HostTensor, widen } from '../../runtime/index.ts';
import { blocksOf, quantizedRows } from '../quantize_rows/quantize_rows.spec.ts';
import { type OpSpec, onMatrixUnits, type Random, roundoff } from '../spec.ts';
import { logits } from './logits.ts';
import { type MatmulOptions, matmul, variants } from './matmul.ts';
import { appliesTo, normRoundoff, operands, type ProductCase, productInputs, productOf } from './product_case.ts';

type MatmulCase = ProductCase & {
  activation: NonNullable<MatmulOptions['activation']>;
  bias: boolean;
  residual: boolean;
  as: 'f32' | 'f16';
  /** What of the result: y itself, as matmul() or as logits() has it, or of y quantised the quants or their scales. */
  show: 'y' | 'logits' | 'quants' | 'scales';
  quick?: boolean;
};

function sized(rows: number, inner: number, outs: number, options: Partial<MatmulCase> = {}): MatmulCase {
  const plain = { weights: 'bf16', activation: 'none', bias: false, residual: false, split: 0, group: 32 } as const;
  return { rows, inner, outs, ...plain, from: 'f32', as: 'f32', norm: false, show: 'y', ...options };
}

/** The same with x in f16, as matrix units take it. */
function halves(rows: number, inner: number, outs: number, options: Partial<MatmulCase> = {}): MatmulCase {
  return sized(rows, inner, outs, { from: 'f16', ...options });
}

/** Plain products: each dimension in and around tiles, primes, and the model's own inner sizes. */
function products(from: 'f32' | 'f16'): MatmulCase[] {
  const of = (rows: number, inner: number, outs: number) => sized(rows, inner, outs, { from });
  return [
    ...[1, 3, 4, 5, 31, 32, 33, 63, 64, 65, 101, 127, 128, 129, 300].map((rows) => of(rows, 24, 67)),
    ...[1, 3, 4, 5, 31, 32, 33, 63, 64, 65, 101, 127, 128, 129, 1031, 1152].flatMap((outs) => [
      of(1, 64, outs),
      of(7, 64, outs),
    ]),
    ...[8, 16, 24, 72, 520, 1152, 4304, 5120, 17920].flatMap((inner) => [of(1, inner, 13), of(6, inner, 13)]),
  ];
}

/** Cases of quantised weights: tiles, blocks and groups, whole and cut, and the model's own inner sizes. */
function quantized(from: MatmulCase['from']): MatmulCase[] {
  const of = (rows: number, inner: number, outs: number, options: Partial<MatmulCase> = {}) =>
    sized(rows, inner, outs, { weights: 'q4', group: 64, from, ...options });
  return [
    of(1, 40, 9, { bias: true, residual: true, quick: true }),
    of(3, 72, 70, { weights: 'q8', group: 32, activation: 'silu_gate', residual: true, split: 34, quick: true }),
    ...[1, 3, 33, 67, 101].map((outs) => of(1, 40, outs)),
    ...[2, 4, 5, 63, 64, 65].map((rows) => of(rows, 40, 67)),
    ...[8, 24, 72, 4304, 5120, 17920].flatMap((inner) => [of(1, inner, 13), of(5, inner, 13)]),
    ...[1, 5].flatMap((rows) => [
      of(rows, 360, 14, { group: 128, activation: 'silu_gate', split: 6 }),
      of(rows, 5120, 7, { weights: 'q8', group: 128, quick: rows === 1 }),
    ]),
  ];
}

/** Products that an RMSNorm comes before, of weights of all formats: rows for which there are kernels that norm, and one more. */
function afterNorm(): MatmulCase[] {
  const of = (rows: number, inner: number, outs: number, options: Partial<MatmulCase>) =>
    sized(rows, inner, outs, { norm: true, group: 64, ...options });
  return [
    of(1, 40, 9, { weights: 'q4', from: 'i8', bias: true, residual: true, quick: true }),
    of(3, 72, 70, { weights: 'q8', from: 'i8', activation: 'silu_gate', split: 34, quick: true }),
    of(1, 40, 9, { weights: 'q4', bias: true, residual: true, quick: true }),
    of(3, 72, 70, { weights: 'q8', from: 'f16', activation: 'silu_gate', split: 34, quick: true }),
    ...[1, 2, 4, 8, 9].flatMap((rows) => [
      of(rows, 40, 67, { weights: 'q4', from: 'i8' }),
      of(rows, 360, 14, { weights: 'q8', from: 'i8', group: 128 }),
      of(rows, 136, 67, { weights: 'q4', residual: true }),
      of(rows, 1160, 13, { weights: rows === 2 ? 'half' : 'bf16', from: 'f16', as: 'f16' }),
      of(rows, 24, 70, { weights: 'f32', activation: 'silu_gate', split: 34 }),
    ]),
    ...[8, 24, 520, 1152].flatMap((inner) => [
      of(1, inner, 13, { weights: 'q4', from: 'i8' }),
      of(5, inner, 13, { weights: 'q4', from: 'f16' }),
    ]),
    ...(['i8', 'f32', 'f16'] as const).map((from) => of(2, 5120, 131, { weights: 'q4', from, quick: from === 'i8' })),
  ];
}

/** Products whose result is quantised: blocks of 32 outputs, whole and cut, of kernels that quantise and others. */
function toInt8(): MatmulCase[] {
  const of = (rows: number, inner: number, outs: number, options: Partial<MatmulCase> = {}) =>
    (['quants', 'scales'] as const).map((show) =>
      sized(rows, inner, outs, {
        ...{ weights: 'q4', group: 64, from: 'i8', activation: 'silu_gate', norm: rows % 2 === 1, show },
        ...options,
      }),
    );
  return [
    ...of(1, 40, 16, { quick: true }),
    ...of(3, 72, 144, { weights: 'q8', split: 64, quick: true }),
    ...of(2, 72, 80, { quick: true }),
    ...of(1, 40, 32, { activation: 'none', from: 'f32', bias: true }),
    ...[1, 2, 4, 8, 9].flatMap((rows) => [...of(rows, 136, 64), ...of(rows, 40, 144, { norm: true, split: 64 })]),
    ...[48, 112, 128, 144].flatMap((outs) => of(1, 1160, outs)),
    ...of(1, 104, 48, { from: 'f32' }),
    ...of(2, 104, 144, { split: 16 }),
  ];
}

/** Products of one row with the largest of every four outputs. */
function asLogits(): MatmulCase[] {
  const of = (outs: number, options: Partial<MatmulCase>) => sized(1, 72, outs, { show: 'logits', ...options });
  return [
    of(66, { quick: true }),
    of(70, { weights: 'q8', group: 64, from: 'i8', split: 36, quick: true }),
    of(67, { weights: 'q8', group: 64, from: 'i8', norm: true, quick: true }),
    ...[1, 3, 4, 5, 64, 65, 101].flatMap((outs) => [
      of(outs, { weights: 'q4' }),
      of(outs, { from: 'f16', weights: 'half' }),
      of(outs, { norm: true }),
    ]),
  ];
}

/** x w^T and what follows it, against float64; on matrix units of the weights as f16, which round quant * scale. */
export const spec: OpSpec<MatmulCase> = {
  name: 'matmul',
  formula: 'y = act(x w^T + bias) + residual',
  variants,
  applies: (variant, c) => appliesTo(variant, c, fusible(c)),
  needsF16: ({ from, as }) => from === 'f16' || as === 'f16',
  cases: [
    sized(1, 8, 1, { quick: true }),
    sized(5, 40, 70, { activation: 'gelu_tanh', bias: true, quick: true }),
    sized(2, 24, 38, { activation: 'silu_gate', weights: 'f32', bias: true, residual: true, quick: true }),
    sized(1, 72, 9, { weights: 'half', bias: true, residual: true, quick: true }),
    sized(1, 1160, 66, { activation: 'silu_gate', split: 34, quick: true }),
    sized(65, 16, 65, { weights: 'half', bias: true, residual: true, split: 30, quick: true }),
    ...products('f32'),
    ...products('f16'),
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
      sized(rows, 104, 50, { from: 'f16', activation: 'gelu_erf', bias: true, residual: true, quick: true }),
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
    ...quantized('f32'),
    ...quantized('f16'),
    ...quantized('i8'),
    ...[1, 65].map((rows) =>
      sized(rows, 136, 67, { weights: 'q4', from: 'f16', as: 'f16', group: 64, residual: true }),
    ),
    ...afterNorm(),
    ...toInt8(),
    ...asLogits(),
  ],
  bench: [
    sized(1, 5120, 7680),
    sized(1, 5120, 5120, { residual: true }),
    sized(1, 5120, 8960, { activation: 'silu_gate', split: 4480 }),
    sized(64, 5120, 5120, { residual: true }),
    sized(256, 1152, 4304, { activation: 'gelu_tanh', bias: true }),
    sized(256, 4304, 1152, { bias: true, residual: true }),
    sized(512, 128, 640, { weights: 'f32' }),
    ...(['f32', 'i8'] as const).flatMap((from) => [
      sized(1, 5120, 7680, { weights: 'q4', from, group: 64 }),
      sized(1, 5120, 35840, { weights: 'q4', from, group: 64, activation: 'silu_gate', split: 17920 }),
      sized(1, 17920, 5120, { weights: 'q4', from, group: 64, residual: true }),
      sized(64, 5120, 7680, { weights: 'q4', from, group: 64 }),
    ]),
    sized(1, 5120, 7680, { weights: 'q8', group: 64 }),
    ...(['f32', 'i8'] as const).map((from) => sized(1, 5120, 7680, { weights: 'q4', from, group: 64, norm: true })),
    ...[false, true].map((norm) =>
      sized(1, 5120, 35840, {
        ...{ weights: 'q4', from: 'i8', group: 64, activation: 'silu_gate', split: 17920, norm, show: 'quants' },
      }),
    ),
    ...[1, 1024, 4096].flatMap((rows) => [
      halves(rows, 5120, 7680),
      halves(rows, 17920, 5120, { residual: true, split: 2560 }),
      halves(rows, 5120, 7680, { weights: 'q4', group: 64 }),
      halves(rows, 5120, 35840, { weights: 'q4', group: 64, activation: 'silu_gate', split: 17920, as: 'f16' }),
    ]),
    halves(3600, 1152, 3456, { weights: 'half', bias: true, as: 'f16' }),
    halves(3600, 1152, 4304, { weights: 'half', activation: 'gelu_tanh', bias: true, as: 'f16' }),
    halves(3600, 4304, 1152, { weights: 'half', bias: true, residual: true }),
  ],
  flops: ({ rows, inner, outs }) => 2 * rows * inner * outs,
  weights: ['w', 'wScales', 'rest', 'restScales'],
  inputs(c, random) {
    for (;;) {
      const drawn = draw(c, random);
      if (!shownAs8Bits(c) || c.rows * widthOf(c) > MOST_TO_SETTLE || isSettled(drawn, c)) return drawn;
    }
  },
  record(g, tensors, c) {
    const { x, w } = operands(tensors, c);
    const { bias, residual } = tensors;
    const { activation, as, show } = c;
    if (show === 'logits') return logits(g, x, w).logits;
    const int8 = show !== 'y';
    const y = matmul(g, x, w, { activation, as, int8, ...(bias && { bias }), ...(residual && { residual }) });
    return 'quants' in y ? y[show as 'quants' | 'scales'] : y;
  },
  reference(inputs, c, variant) {
    const y = results(inputs, c, variant);
    return shownAs8Bits(c) ? quantizedRows(y, widthOf(c), c.show as 'quants' | 'scales') : y;
  },
  tolerance(c, variant) {
    if (c.show === 'quants') return { atol: 0, rtol: 0 };
    if (c.show === 'scales') return { atol: 4e-6 / 127, rtol: 1e-5 };
    return { atol: 4e-6 + normRoundoff(c, variant), rtol: 2 * roundoff(c.as) + 2e-6 };
  },
};

/** Outputs up to which inputs are drawn again until isSettled, as the quants of more are not compared. */
const MOST_TO_SETTLE = 700;

const widthOf = ({ outs, activation }: MatmulCase) => (activation === 'silu_gate' ? outs / 2 : outs);

const shownAs8Bits = ({ show }: MatmulCase) => show === 'quants' || show === 'scales';

/** Whether kernels can quantise the result themselves. */
function fusible({ activation, bias, residual, show, split }: MatmulCase): boolean {
  return (
    (show === 'quants' || show === 'scales') && activation === 'silu_gate' && !bias && !residual && split % 64 === 0
  );
}

function draw(c: MatmulCase, random: Random): Record<string, HostTensor> {
  const { rows, outs, bias, residual } = c;
  return {
    ...productInputs(c, random),
    ...(bias && { bias: random.tensor([outs]) }),
    ...(residual && { residual: random.tensor([rows, widthOf(c)]) }),
  };
}

/** Whether no output is so near the middle of two quants that rounding errors decide. */
function isSettled(inputs: Record<string, HostTensor>, c: MatmulCase): boolean {
  const [y, cols] = [results(inputs, c), widthOf(c)];
  const blocks = Array.from({ length: c.rows }, (_, r) => blocksOf(y, r * cols, cols)).flat();
  return blocks.every(({ exact }) => exact.every((value) => Math.abs(Math.abs(value % 1) - 0.5) > 0.003));
}

/** y in float64. */
function results(inputs: Record<string, HostTensor>, c: MatmulCase, variant?: string): Float64Array {
  const [bias, residual] = [inputs.bias, inputs.residual].map((given) => given && values(given));
  const sums = productOf(inputs, c, onMatrixUnits(variants, variant)).map((sum, i) => sum + (bias?.[i % c.outs] ?? 0));
  return activated(sums, c.activation).map((value, i) => value + (residual?.[i] ?? 0));
}

const values = ({ dtype, data }: HostTensor) => widen(dtype, data);

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
