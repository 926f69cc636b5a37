import { InvalidArgumentError, Option } from 'commander';

// Options of the benches and of the command alike; nothing here loads a kernel.

export const adapter = () =>
  new Option('--adapter <name>', 'part of the name of the adapter to use (also DAYBREAK_ADAPTER)');
export const dtype = () =>
  new Option(
    '--dtype <type>',
    'storage of activations and KV cache (default: f16 on a GPU that has it, else f32)',
  ).choices(['f32', 'f16']);
export const int8 = () =>
  new Option(
    '--int8-activations',
    'feed int4 and int8 weights activations of 8 bits, for integer dot products (default: on a GPU, and on lavapipe)',
  );
export const noInt8 = () => new Option('--no-int8-activations', 'feed them activations as they are stored');
export const noTune = () =>
  new Option('--no-tune', 'do not measure what is fastest on an adapter that is not known yet');
export const noVerify = () => new Option('--no-verify', 'do not compare a quantised model with its checksums');
export const variant = () =>
  new Option(
    '--variant <op=name>',
    'use this variant of an op wherever it applies; may be repeated, the preferred first',
  );

/** A parser of an option's value: a number above 0. */
export function positive(text: string): number {
  const value = Number(text);
  if (value > 0 && value < Number.POSITIVE_INFINITY) return value;
  throw new InvalidArgumentError('expected a number above 0');
}
