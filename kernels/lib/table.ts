import {
  type Constants,
  expect,
  type Kernel,
  type Matrix,
  type Tensor,
  type WeightFormat,
} from '../../runtime/index.ts';
import { kernelFile } from './kernel_file.ts';
import { checkQuantized, FORMAT_CODES, isQuantized } from './quantized.ts';

/** The kernels of one file that look rows up: `plain` in tables of f32, bf16 and f16, `quantized` in those of q4 and q8. */
export interface TableKernels {
  plain: Kernel;
  quantized: Kernel;
}

/** The two kernels of a file, of which the second is named <path>_quantized, with what else of lib/ they need: see kernelFile(). */
export function tableKernels(path: string, libs = ''): TableKernels {
  return {
    plain: kernelFile(path, `${libs} table`),
    quantized: kernelFile(path, `${libs} table_quantized`, { name: `${path}_quantized` }),
  };
}

/** That of the two which reads tables of a format. */
export function kernelFor({ plain, quantized }: TableKernels, format: WeightFormat): Kernel {
  return isQuantized(format) ? quantized : plain;
}

/** The constants and tensors with which a kernel reads one block of a table. */
export function tableOperands({ cols, dtype, group }: Matrix, { tensor, scales }: Matrix['blocks'][number]) {
  const constants: Constants = scales
    ? { COLS: cols, FOUR_BITS: dtype === 'q4', GROUP: group! }
    : { COLS: cols, TABLE_F32: dtype === 'f32', TABLE_F16: dtype === 'f16' };
  const read: Record<string, Tensor> = scales ? { quants: tensor, scales } : { table: tensor };
  return { constants, read };
}

/** Throws ShapeError unless a matrix is of a format that these kernels read, with a multiple of 8 columns. */
export function checkTable(op: string, table: Matrix): void {
  const { name, dtype, cols } = table;
  expect(FORMAT_CODES[dtype] !== undefined, op, `format of ${name}`, 'f32, bf16, f16, q4 or q8', dtype);
  expect(cols > 0 && cols % 8 === 0, op, `cols of ${name}`, 'a positive multiple of 8', cols);
  checkQuantized(table);
}
