import {
  CapabilityError,
  canRun,
  type Device,
  type Graph,
  needsOf,
  UsageError,
  type Variant,
} from '../runtime/index.ts';
import { DEFAULTS } from './defaults.ts';

/** The class of a number of rows: one, few, less than a tile of 64, and more. */
export function rowsClass(rows: number): string {
  if (rows === 1) return '1';
  if (rows <= 8) return '2-8';
  return rows < 64 ? '9-63' : '64+';
}

/**
 * The variant with which an op computes a problem on a device: of those that apply to it, the one that was asked for by name,
 * else the first in the tables that the device can run. `problem` says in words, the most telling first, all that the
 * best choice depends on. UsageError for a name that no variant has, CapabilityError where the one asked for, or all of them, cannot run.
 */
export function choose(
  g: Graph,
  op: string,
  problem: string,
  variants: readonly Variant[],
  applies: (variant: Variant) => boolean = () => true,
): Variant {
  const fitting = variants.filter(applies);
  const forced = first(fitting, fullNames(op, g.forced[op], variants));
  const able = (forced ? [forced] : fitting).filter(({ kernel }) => canRun(g.device, kernel));
  const variant = first(able, rankings(g.device, op, problem)) ?? able[0];
  if (!variant) throw cannotRun(op, forced ? [forced] : fitting, g.device);
  g.decisions.push({ op, problem, variant });
  return variant;
}

/** The names that were asked for, each with the op's in front; throws UsageError where no variant has one of them. */
export function fullNames(op: string, asked: string | readonly string[] = [], variants: readonly Variant[]): string[] {
  return [asked].flat().map((name) => {
    const full = name.startsWith(`${op}/`) ? name : `${op}/${name}`;
    if (variants.some((variant) => variant.name === full)) return full;
    const names = variants.map((variant) => variant.name.slice(op.length + 1)).join(', ');
    throw new UsageError(`${op}: variant: expected one of ${names}, got '${name}'`);
  });
}

/** The variant whose name comes first. */
function first(variants: readonly Variant[], names: Iterable<string>): Variant | undefined {
  for (const name of names) {
    const found = variants.find((variant) => variant.name === name);
    if (found) return found;
  }
  return undefined;
}

/** The names that the tables have for a problem, the most exact entry first. */
function* rankings(device: Device, op: string, problem: string): Generator<string> {
  const table = DEFAULTS[device.onCpu ? 'cpu' : 'gpu'];
  const words = problem.split(' ');
  for (let count = words.length; count >= 0; count--) {
    for (const name of table[[op, ...words.slice(0, count)].join(' ')] ?? []) yield `${op}/${name}`;
  }
}

function cannotRun(op: string, variants: readonly Variant[], device: Device): CapabilityError {
  const needed = variants.map(({ name, kernel }) => `${needsOf(kernel).join(', ')} for ${name}`);
  return new CapabilityError(
    `${op}: expected features ${needed.join(' or ')}, got not all of them on '${device.name}'`,
  );
}
