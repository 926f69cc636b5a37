import { InvalidArgumentError } from 'commander';
import { checkForced } from '../kernels/index.ts';
import type { ForcedVariants } from '../runtime/index.ts';

/** Adds OP=NAME, a value of --variant, to the variants that are to be used; InvalidArgumentError for what is none. */
export function addVariant(text: string, before: ForcedVariants = {}): ForcedVariants {
  const [, op, name] = /^(\w+)=(.+)$/.exec(text) ?? [];
  if (!op || !name) throw new InvalidArgumentError('expected OP=NAME');
  try {
    checkForced({ [op]: name });
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
  return { ...before, [op]: [before[op] ?? [], name].flat() };
}
