import { InvalidArgumentError, Option } from 'commander';
import { checkForced } from '../kernels/index.ts';
import type { ForcedVariants } from '../runtime/index.ts';

/** The option --variant, whose value is `variants` of LoadOptions. */
export function variantOption(): Option {
  const description = 'use this variant of an op wherever it applies; may be repeated, the preferred first';
  return new Option('--variant <op=name>', description).argParser(addVariant);
}

/** Adds OP=NAME to the variants that are to be used; InvalidArgumentError for what is none. */
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
