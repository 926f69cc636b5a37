import { type ForcedVariants, UsageError, type Variant } from '../runtime/index.ts';
import { variants as attention } from './attention/attention.ts';
import { variants as layer_norm } from './layer_norm/layer_norm.ts';
import { variants as matmul } from './matmul/matmul.ts';
import { fullNames } from './policy.ts';
import { variants as qkv } from './qkv/qkv.ts';
import { variants as rms_norm } from './rms_norm/rms_norm.ts';

/** The variants of every op that has a choice. */
export const VARIANTS: Readonly<Record<string, readonly Variant[]>> = { attention, layer_norm, matmul, qkv, rms_norm };

/** Throws UsageError unless every op has a choice, and every name asked for is a variant's. */
export function checkForced(forced: ForcedVariants): void {
  for (const [op, names] of Object.entries(forced)) {
    if (!Object.hasOwn(VARIANTS, op))
      throw new UsageError(`variants: expected one of ${Object.keys(VARIANTS).join(', ')}, got '${op}'`);
    fullNames(op, names, VARIANTS[op]!);
  }
}
