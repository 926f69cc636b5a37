import {
  CapabilityError,
  canRun,
  type DeviceInfo,
  type Graph,
  needsOf,
  UsageError,
  type Variant,
} from '../runtime/index.ts';
import { DEFAULTS, type Ranking } from './defaults.ts';
import { type MeasuredOp, measuredOps } from './measured.ts';

/** The class of a number of rows: one, few, less than a tile of 64, and more. */
export function rowsClass(rows: number): string {
  if (rows === 1) return '1';
  if (rows <= 8) return '2-8';
  return rows < 64 ? '9-63' : '64+';
}

/**
 * The variant with which an op computes a problem on a device: of those that apply to it, the one that was asked for by name,
 * else the first that the device can run in what was measured of it, and after that in the defaults; none that was found
 * wrong there. `problem` says in words, the most telling first, all that the best choice depends on. UsageError for a name
 * that no variant has, CapabilityError where the one asked for, or all of them, cannot run.
 */
export function choose(
  g: Graph,
  op: string,
  problem: string,
  variants: readonly Variant[],
  applies: (variant: Variant) => boolean = () => true,
): Variant {
  const fitting = variants.filter(applies);
  const asked = fullNames(op, g.forced[op], variants);
  const forced = asked.flatMap((name) => fitting.find((each) => each.name === name) ?? [])[0];
  const able = (forced ? [forced] : fitting).filter(({ kernel }) => canRun(g.device, kernel));
  if (able.length === 0) throw cannotRun(op, forced ? [forced] : fitting, g.device);
  const measured = measuredOps(g.device, op, variants);
  const right = forced ? able : able.filter((each) => !problemOf(measured, op, each));
  const [variant] = ranked(g.device, measured, op, problem, right);
  if (!variant) throw allWrong(op, able, measured, g.device);
  g.decisions.push({ op, problem, variant });
  return variant;
}

/** Variants in the order in which what was measured, and after that the defaults, would have them; those without a place last. */
export function ranked(
  device: DeviceInfo,
  measured: readonly MeasuredOp[],
  op: string,
  problem: string,
  variants: readonly Variant[],
): Variant[] {
  const tables: Ranking[] = [...measured.map(({ best }) => best), DEFAULTS[device.onCpu ? 'cpu' : 'gpu']];
  const words = [op, ...problem.split(' ')];
  const keys = words.map((_, i) => words.slice(0, words.length - i).join(' '));
  const names = tables.flatMap((table) => keys.flatMap((key) => table[key] ?? []));
  const named = names.flatMap((name) => variants.find((variant) => variant.name === `${op}/${name}`) ?? []);
  return [...new Set([...named, ...variants])];
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

/** What was found wrong with a variant when it was checked on the device last; undefined where nothing was. */
export function problemOf([latest]: readonly MeasuredOp[], op: string, { name }: Variant): string | undefined {
  const short = name.slice(op.length + 1);
  return latest && Object.hasOwn(latest.wrong, short) ? latest.wrong[short] : undefined;
}

function cannotRun(op: string, variants: readonly Variant[], device: DeviceInfo): CapabilityError {
  const needed = variants.map(({ name, kernel }) => `${needsOf(kernel).join(', ')} for ${name}`);
  const { name, features, leastLanes, limits } = device;
  const has = [
    ...features,
    `subgroups from ${leastLanes} lanes`,
    `${limits.maxStorageBuffersPerShaderStage} storage buffers`,
  ];
  return new CapabilityError(
    `${op}: expected a device with ${needed.join(' or ')}, got '${name}' with ${has.join(', ')}`,
  );
}

function allWrong(
  op: string,
  variants: readonly Variant[],
  measured: readonly MeasuredOp[],
  device: DeviceInfo,
): CapabilityError {
  const problems = variants.map((variant) => `${variant.name}: ${problemOf(measured, op, variant)}`);
  const expected = `expected a variant that is right on '${device.name}'`;
  return new CapabilityError(
    `${op}: ${expected}, got none: ${problems.join('; ')}; npx daybreak tune checks them again`,
  );
}
