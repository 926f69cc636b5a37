import type { Case, OpSpec } from '../../kernels/spec.ts';
import { UsageError } from '../../runtime/index.ts';

type Value = Case[string];

/**
 * The case that a text `k=v,...` names, as showCase writes it: fields it leaves out have the values of the spec's first
 * bench shape, or case; those that not every case has are then absent. Throws UsageError.
 */
export function parseCase(spec: OpSpec, text: string): Case {
  const all = [...spec.bench, ...spec.cases];
  const everywhere = Object.entries(all[0] ?? {}).filter(([key]) => key !== 'quick' && all.every((c) => key in c));
  const given = text.split(',').flatMap((part) => (part.trim() ? [parseField(spec, part.trim())] : []));
  return Object.fromEntries([...everywhere, ...given]) as Case;
}

function parseField(spec: OpSpec, text: string): [string, Value] {
  const [, key, value] = /^(\w+)=(.*)$/.exec(text) ?? [];
  if (!key) throw new UsageError(`--case: expected k=v,..., got '${text}'`);
  return [key, parseValue(spec, key, value!)];
}

/** Whether cases of a spec have a field of this name. */
export function hasField(spec: OpSpec, key: string): boolean {
  return fields(spec).has(key);
}

/** The value of a field, typed as in the spec's own cases; words are those that the spec uses. Throws UsageError. */
export function parseValue(spec: OpSpec, key: string, text: string): Value {
  const known = fields(spec).get(key);
  const fail = (expected: string, got: string) => new UsageError(`${spec.name}: ${expected}, got '${got}'`);
  if (!known) throw fail(`expected a field of ${[...fields(spec).keys()].join(', ')}`, key);
  const values = [...known];
  if (typeof values[0] === 'number') {
    const value = Number(text);
    if (text === '' || (Number.isNaN(value) && text !== 'NaN')) throw fail(`${key}: expected a number`, text);
    return value;
  }
  const options = typeof values[0] === 'boolean' ? [true, false] : values;
  const value = options.find((option) => String(option) === text);
  if (value === undefined) throw fail(`${key}: expected ${options.join(' or ')}`, text);
  return value;
}

/** The values that each field has anywhere in a spec. */
function fields(spec: OpSpec): Map<string, Set<Value>> {
  const all = new Map<string, Set<Value>>();
  for (const [key, value] of [...spec.bench, ...spec.cases].flatMap((c) => Object.entries(c))) {
    if (key !== 'quick') all.set(key, (all.get(key) ?? new Set()).add(value!));
  }
  return all;
}
