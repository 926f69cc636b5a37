import {
  BYTES,
  ceilDiv,
  type DType,
  elements,
  expect,
  type Feature,
  type Graph,
  type Grid,
  type Kernel,
  linearGrid,
  type Matrix,
  sameShape,
  showShape,
  type Tensor,
} from '../../runtime/index.ts';

/** What follows the product. */
export interface LinearOptions {
  /** f32 [outs], added to each row. */
  bias?: Tensor;
  activation?: keyof typeof ACTIVATIONS;
  /** f32 of the result's shape, added last. */
  residual?: Tensor;
  /** The result's dtype. */
  as?: DType;
}

const ACTIVATIONS = { none: 0, gelu_tanh: 1, gelu_erf: 2, silu_gate: 3 };
const FORMATS: Partial<Record<DType, number>> = { f32: 0, bf16: 1, f16: 2 };

const kernel = (name: string, ...needs: Feature[]): Kernel => ({
  name: `matmul/${name}`,
  source: new URL(`./${name}.wgsl`, import.meta.url),
  lib: [new URL('../lib/linear.wgsl', import.meta.url)],
  needs,
});
const TILE = kernel('matmul_tile');
const REGISTER = kernel('matmul_register');
const SUBGROUP = kernel('matmul_subgroup', 'subgroups');
const SUBGROUP_MATRIX = kernel(
  'matmul_subgroup_matrix',
  'shader-f16',
  'subgroups',
  'subgroup-size-control',
  'chromium-experimental-subgroup-matrix',
);
const GEMV = kernel('gemv');
const GEMV_REGISTER = kernel('gemv_register');
const GEMV_SUBGROUP = kernel('gemv_subgroup', 'subgroups');

const GRIDS = new Map<Kernel, (rows: number, outs: number) => Grid>([
  [TILE, (rows, outs) => [ceilDiv(rows, 64), ceilDiv(outs, 64)]],
  [REGISTER, (rows, outs) => [ceilDiv(rows, 4), ceilDiv(outs, 64)]],
  [SUBGROUP, (rows, outs) => [ceilDiv(rows, 8), ceilDiv(outs, 64)]],
  [SUBGROUP_MATRIX, (rows, outs) => [ceilDiv(rows, 64), ceilDiv(outs, 64)]],
  [GEMV, (_, outs) => linearGrid(ceilDiv(outs, 4))],
  [GEMV_REGISTER, (_, outs) => linearGrid(ceilDiv(outs, 32))],
  [GEMV_SUBGROUP, (_, outs) => linearGrid(ceilDiv(outs, 8))],
]);

/** The variants of this op. */
export const variants = [...GRIDS.keys()];

/**
 * The variants that can multiply so many rows of such operands, best first. matmul_subgroup_matrix stands last, behind
 * variants that need no feature: it runs only where it is forced by name, because no GPU has verified it yet.
 */
export function candidates(rows: number, x: DType, w: DType, fallback: boolean): Kernel[] {
  const matrix = fallback ? [SUBGROUP, REGISTER, TILE] : [TILE, REGISTER, SUBGROUP];
  const vector = fallback ? [GEMV_REGISTER, GEMV_SUBGROUP, GEMV] : [GEMV_SUBGROUP, GEMV, GEMV_REGISTER];
  const halves = x === 'f16' && w !== 'f32' ? [SUBGROUP_MATRIX] : [];
  return [...(rows === 1 ? vector : []), ...matrix, ...halves];
}

/**
 * y = act(x w^T + bias) + residual for x f32 or f16 [rows, inner] and w f32, bf16 or f16 [outs, inner], sums in f32; y
 * [rows, outs] has the dtype `as`. With silu_gate the rows of w are gate_0, up_0, gate_1, up_1, ... and y[r, i] =
 * up_i silu(gate_i), [rows, outs / 2]. inner is a multiple of 8. Throws ShapeError.
 */
export function linear(g: Graph, x: Tensor, w: Matrix, options: LinearOptions = {}): Tensor {
  const { bias, activation = 'none', residual, as = 'f32' } = options;
  const [rows = 0, inner = 0] = x.shape;
  const paired = activation === 'silu_gate';
  const width = paired ? w.rows / 2 : w.rows;
  check(x, w, options, width);
  const y = g.temp('matmul', [rows, width], as);
  const chosen = g.variant('matmul', candidates(rows, x.dtype, w.dtype, g.device.fallback));
  const columns = paired ? 2 : 1;
  for (const { tensor, row } of w.blocks) {
    const outs = tensor.shape[0]!;
    const results = (rows * outs) / columns;
    g.dispatch({
      kernel: chosen,
      constants: {
        elem: x.dtype,
        out_elem: as,
        FORMAT: FORMATS[w.dtype]!,
        ACTIVATION: ACTIVATIONS[activation],
        BIAS: bias !== undefined,
        RESIDUAL: residual !== undefined,
      },
      read: { x, w: tensor, bias: bias ?? null, residual: residual ?? null },
      write: { y },
      params: { rows, words: (inner * BYTES[w.dtype]) / 16, outs, first: row, width },
      workgroups: GRIDS.get(chosen)!(rows, outs),
      cost: {
        flops: 2 * rows * inner * outs,
        bytes:
          rows * inner * BYTES[x.dtype] +
          elements(tensor.shape) * BYTES[w.dtype] +
          results * (BYTES[as] + (residual ? 4 : 0)) +
          (bias ? 4 * outs : 0),
      },
    });
  }
  return y;
}

function check(x: Tensor, w: Matrix, { activation, bias, residual }: LinearOptions, width: number): void {
  const [rows = 0, inner = 0] = x.shape;
  const shown = ({ dtype, shape }: Tensor) => `${dtype} ${showShape(shape)}`;
  expect(
    x.shape.length === 2 && rows > 0 && (x.dtype === 'f32' || x.dtype === 'f16'),
    'matmul',
    'x',
    'f32 or f16 [rows, inner]',
    shown(x),
  );
  expect(inner > 0 && inner % 8 === 0, 'matmul', 'inner', 'a multiple of 8', inner, 'pad x and w with zeros');
  expect(w.cols === inner, 'matmul', w.name, showShape([w.rows, inner]), showShape([w.rows, w.cols]));
  expect(FORMATS[w.dtype] !== undefined, 'matmul', w.name, 'f32, bf16 or f16', w.dtype);
  if (activation === 'silu_gate') {
    const odd = w.blocks.find(({ tensor, row }) => row % 2 || tensor.shape[0]! % 2);
    expect(!odd, 'matmul', w.name, 'blocks of pairs of rows', `${odd?.tensor.shape[0]} rows from row ${odd?.row}`);
  }
  expect(
    !bias || (bias.dtype === 'f32' && sameShape(bias.shape, [w.rows])),
    'matmul',
    'bias',
    `f32 [${w.rows}]`,
    bias && shown(bias),
  );
  expect(
    !residual || (residual.dtype === 'f32' && sameShape(residual.shape, [rows, width])),
    'matmul',
    'residual',
    `f32 ${showShape([rows, width])}`,
    residual && shown(residual),
  );
}
