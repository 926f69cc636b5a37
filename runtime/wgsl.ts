import type { DType } from './dtype.ts';
import { WgslError } from './errors.ts';

/** Values for a kernel's named top-level `const` and `alias` lines. */
export type Constants = Record<string, number | boolean | DType>;

/** Where every module has its parameters, in the group of its tensors. */
export const PARAMS_BINDING = 31;
const PARAMS_LINE = `@group(0) @binding(${PARAMS_BINDING}) var<uniform> params: Params;`;

/** One storage binding of @group(0). */
export interface Binding {
  name: string;
  index: number;
  access: 'read' | 'read_write';
  /** Scalar type of the elements: f32, f16, u32 or i32. */
  scalar: string;
}

/** One member of `struct Params`, 4 bytes each. */
export interface Param {
  name: string;
  type: 'u32' | 'i32' | 'f32';
}

/** What a WGSL module declares, found by reading its one-per-line declarations. */
export interface Reflection {
  constants: ReadonlyMap<string, { type: string; value: string; line: number }>;
  aliases: ReadonlyMap<string, { value: string; line: number }>;
  bindings: readonly Binding[];
  params: readonly Param[];
}

const CONST = /^const (\w+): (u32|i32|f32|bool) = (.+);$/;
const ALIAS = /^alias (\w+) = (\w+);$/;
const BINDING = /^@group\(0\) @binding\((\d+)\) var<storage, (read|read_write)> (\w+): (.+);$/;
const ARRAY = /^array<(?:atomic<)?(?:vec[234]<)?(\w+)>*$/;
const VECTOR = /^vec[234]([fiuh])$/;
const SCALAR_OF: Record<string, string> = { f: 'f32', i: 'i32', u: 'u32', h: 'f16' };
const PARAM = /^\s+(\w+): (u32|i32|f32),$/;

/** Reads the constants, aliases, bindings and parameters of a module; throws WgslError with file and line. */
export function reflect(source: string, file: string): Reflection {
  const constants = new Map<string, { type: string; value: string; line: number }>();
  const aliases = new Map<string, { value: string; line: number }>();
  const bindings: Binding[] = [];
  const params: Param[] = [];
  let inParams = false;
  source.split('\n').forEach((text, line) => {
    const fail = (what: string) => new WgslError(`${file}:${line + 1}: expected ${what}, got '${text.trim()}'`);
    const [, constant, type, value] = CONST.exec(text) ?? [];
    const [, alias, target] = ALIAS.exec(text) ?? [];
    if (inParams && !text.startsWith('}')) params.push(parseParam(text) ?? raise(fail("'  name: u32|i32|f32,'")));
    else if (constant) constants.set(constant, { type: type!, value: value!, line });
    else if (alias) aliases.set(alias, { value: target!, line });
    else if (text.startsWith('@group') && text !== PARAMS_LINE)
      bindings.push(parseBinding(text) ?? raise(fail(BINDING_FORM)));
    inParams = text.startsWith('struct Params') || (inParams && !text.startsWith('}'));
  });
  return { constants, aliases, bindings, params };
}

const BINDING_FORM = `'@group(0) @binding(n) var<storage, read|read_write> name: array<...>;' or '${PARAMS_LINE}'`;

function parseParam(text: string): Param | undefined {
  const [, name, type] = PARAM.exec(text) ?? [];
  return name ? { name, type: type as Param['type'] } : undefined;
}

function parseBinding(text: string): Binding | undefined {
  const [, index, access, name, type] = BINDING.exec(text) ?? [];
  const element = ARRAY.exec(type ?? '')?.[1];
  const scalar = SCALAR_OF[VECTOR.exec(element ?? '')?.[1] ?? ''] ?? element;
  return name && scalar ? { name, index: Number(index), access: access as Binding['access'], scalar } : undefined;
}

function raise(error: Error): never {
  throw error;
}

/** A module with the right-hand sides of the named `const` and `alias` lines replaced; line numbers stay true. */
export function specialise(source: string, file: string, reflection: Reflection, values: Constants): string {
  const lines = source.split('\n');
  for (const [name, value] of Object.entries(values)) {
    const constant = reflection.constants.get(name);
    const alias = reflection.aliases.get(name);
    if (constant)
      lines[constant.line] = `const ${name}: ${constant.type} = ${literal(name, constant.type, value, file)};`;
    else if (alias) lines[alias.line] = `alias ${name} = ${value};`;
    else
      throw new WgslError(
        `${file}: expected one of ${[...reflection.constants.keys(), ...reflection.aliases.keys()].join(', ')}, got constant '${name}'`,
      );
  }
  const text = lines.join('\n');
  return Object.values(values).includes('f16') ? `enable f16; ${text}` : text;
}

function literal(name: string, type: string, value: Constants[string], file: string): string {
  if (type === 'bool' && typeof value === 'boolean') return String(value);
  if (typeof value === 'number') {
    if (type === 'f32' && Number.isFinite(value)) return `${Number.isInteger(value) ? value.toFixed(1) : value}f`;
    if (type === 'u32' && Number.isInteger(value) && value >= 0) return `${value}u`;
    if (type === 'i32' && Number.isInteger(value)) return `${value}i`;
  }
  throw new WgslError(`${file}: constant ${name}: expected ${type}, got ${JSON.stringify(value)}`);
}

/** The scalar type of a binding once aliases have their values. */
export function resolveScalar(binding: Binding, reflection: Reflection, values: Constants): string {
  const alias = reflection.aliases.get(binding.scalar);
  return alias ? String(values[binding.scalar] ?? alias.value) : binding.scalar;
}
