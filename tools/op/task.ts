import { type Case, type OpSpec, Random, showCase } from '../../kernels/spec.ts';
import { specs } from '../../kernels/specs.ts';
import { type Constants, type HostTensor, loadKernel, UsageError, type Variant } from '../../runtime/index.ts';
import { hasField, parseCase, parseValue } from './case_text.ts';

/** The command line's options. */
export interface OpOptions {
  case?: string;
  variant?: string;
  sweep?: string;
  seed: number;
  profile?: boolean;
  printWgsl?: boolean;
  watch?: boolean;
  /** A family of AMD's GPUs, or true for that of this machine. */
  isa?: string | true;
  adapter?: string;
  json?: string;
  /** Whether to time bench shapes too that take long on a CPU. */
  all?: boolean;
}

/** One thing to time. */
export interface Subject {
  c: Case;
  /** Values that replace those of the variant's constants. */
  constants: Constants;
}

/** What the command line asks for. */
export interface Task {
  spec: OpSpec;
  subjects: Subject[];
  /** Whether the subjects themselves are checked; else the spec's quick cases are. */
  explicit: boolean;
  /** A variant's full name, 'all', or nothing for the one that the device would choose. */
  variant: string | undefined;
}

/** What the command line asks for; throws UsageError. */
export function chooseTask(name: string, text: string | undefined, options: OpOptions): Task {
  const [op, ownVariant] = name.split('/');
  const spec = specs.find((candidate) => candidate.name === op);
  if (!spec) throw new UsageError(`op: expected one of ${specs.map((s) => s.name).join(', ')}, got '${name}'`);
  const asked = options.variant ?? ownVariant;
  const known = spec.variants.find((variant) => asked === variant.name || asked === shortName(variant));
  if (asked !== undefined && asked !== 'all' && !known) {
    const names = ['all', ...spec.variants.map(shortName)].join(', ');
    throw new UsageError(`--variant: expected one of ${names}, got '${asked}'`);
  }
  if (options.case !== undefined && text !== undefined)
    throw new UsageError(`--case: expected one case, got '${options.case}' and '${text}'`);
  const given = options.case ?? text;
  const explicit = given !== undefined || options.sweep !== undefined;
  const subjects = explicit ? sweep(spec, parseCase(spec, given ?? ''), options.sweep) : spec.bench.map(plain);
  return { spec, subjects, explicit, variant: known?.name ?? asked };
}

function plain(c: Case): Subject {
  return { c, constants: {} };
}

/** The case with each value of a field, or of a constant where the case has no such field. */
function sweep(spec: OpSpec, c: Case, text: string | undefined): Subject[] {
  if (text === undefined) return [plain(c)];
  const [, key, values] = /^(\w+)=(.+)$/.exec(text) ?? [];
  if (!key) throw new UsageError(`--sweep: expected K=v,v,..., got '${text}'`);
  const isConstant = !hasField(spec, key) && spec.variants.some((variant) => constantsOf(variant).has(key));
  return values!.split(',').map((value) => {
    if (!isConstant) return plain({ ...c, [key]: parseValue(spec, key, value) });
    if (!/^(true|false|-?\d+(\.\d+)?(e-?\d+)?)$/.test(value))
      throw new UsageError(`--sweep: ${key}: expected numbers, true or false, got '${value}'`);
    return { c, constants: { [key]: JSON.parse(value) } };
  });
}

/** Names of a variant's constants; none where its file cannot be read as a kernel, which is said when it is recorded. */
export function constantsOf({ kernel }: Variant): ReadonlySet<string> {
  try {
    return new Set(loadKernel(kernel).reflection.constants.keys());
  } catch {
    return new Set();
  }
}

/** The case, and behind it the constants that are replaced. */
export function showSubject({ c, constants }: Subject): string {
  return [showCase(c), ...Object.entries(constants).map(([key, value]) => `${key}=${value}`)].join(' ');
}

/** A variant's name without the op's. */
export function shortName({ name }: Variant): string {
  return name.split('/')[1]!;
}

/** The inputs of a case; throws UsageError where there are none of such sizes. */
export function makeInputs(spec: OpSpec, c: Case, seed: number): Record<string, HostTensor> {
  let problem = '';
  try {
    const inputs = spec.inputs(c, new Random(seed));
    const shapes = Object.values(inputs).map(({ shape }) => shape);
    if (shapes.flat().every((size) => Number.isInteger(size) && size >= 0)) return inputs;
  } catch (error) {
    problem = ` (${(error as Error).message})`;
  }
  throw new UsageError(`--case: expected sizes that inputs can have, got ${showCase(c)}${problem}`);
}
