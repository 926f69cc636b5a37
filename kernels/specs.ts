import { spec as rmsNorm } from './rms_norm/rms_norm.spec.ts';
import type { OpSpec } from './spec.ts';

/** Every op's spec. */
export const specs = [rmsNorm] as unknown as readonly OpSpec[];
