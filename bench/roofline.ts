import { type DispatchStep, type Kernel, loadKernel } from '../runtime/index.ts';
import type { Ceilings } from './ceilings/measure.ts';
import { sum } from './measure.ts';
import { digits } from './report.ts';

/** What the column `ceiling` of a table means. */
export const CEILING_FORMULA =
  'ceiling: the time that the ceilings allow, max(flops / peak, bytes / bandwidth) per dispatch, over the time taken; above 100 %: from caches.\n' +
  'Peak: f32, f16 matrices or int8 dots, as the kernel computes. Bandwidth: the better of read and copy.';

/**
 * The share of the roofline that some dispatches reach: the sum of max(flops / peak, bytes / bandwidth) over the time
 * that they took in microseconds. 1 is the ceiling; data out of caches can pass it.
 */
export function ceilingShare(
  ceilings: Ceilings,
  dispatches: readonly Pick<DispatchStep, 'kernel' | 'cost'>[],
  micros: number,
): number {
  const bandwidth = Math.max(ceilings.readGBs, ceilings.copyGBs);
  const allowed = dispatches.map(({ kernel, cost }) =>
    Math.max(cost.flops / peak(ceilings, kernel), cost.bytes / bandwidth),
  );
  return sum(allowed) / 1e3 / micros;
}

/** A share in percent; a dash where a ceiling is missing. */
export function showShare(share: number): string {
  return Number.isNaN(share) ? '-' : `${digits(100 * share)} %`;
}

/** 10^9 operations per second of the arithmetic that a kernel's code does. */
function peak({ f32Gflops, f16Gflops, int8Gops }: Ceilings, kernel: Kernel): number {
  const code = loadKernel(kernel).text.replace(/\/\/.*/g, '');
  if (code.includes('dot4I8Packed(')) return int8Gops;
  return code.includes('subgroupMatrixMultiply') ? (f16Gflops ?? f32Gflops) : f32Gflops;
}
