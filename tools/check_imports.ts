// Checks that imports point one way, as the folders promise: `tsx tools/check_imports.ts [root]`.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const LAYERS = ['runtime', 'kernels', 'model', 'model/api', 'bench']; // each may import itself and those before it
const FREE = ['test', 'tools']; // may import everything, and nothing else may import them
/** Ops that consist of others, or do what others do where these are not dispatches of their own. */
const PARTS: Readonly<Record<string, readonly string[]>> = {
  advance: ['embed', 'sample'],
  attention: ['quantize_rows'],
  matmul: ['quantize_rows', 'rms_norm'],
  qkv: ['matmul', 'rope', 'kv_append'],
};
const WEBGPU = 'runtime/webgpu_device.ts';
const STATEMENT = /^\s*(?:import|export)\b(?:[^;'"=(]*?\bfrom)?\s*['"]([^'"]+)['"]/gm;
const CALL = /\b(?:import|require)\s*\(\s*['"`]([^'"`]+)['"`]/g;

interface Import {
  line: number;
  specifier: string;
  /** The path below the root that it means, or the name of a package. */
  imported: string;
}

/** Every import below `root` that points the wrong way, as `file:line: what is wrong`, types included. */
export function importViolations(root: string): string[] {
  const imports = new Map(sourceFiles(root).map((file) => [file, importsOf(root, file)]));
  const wrong = [...imports].flatMap(([file, all]) =>
    all.flatMap(({ line, specifier, imported }) => {
      const problem = violation(file, imported);
      return problem ? [`${file}:${line}: imports ${specifier}: ${problem}`] : [];
    }),
  );
  return [...wrong, ...circles(imports)];
}

function importsOf(root: string, file: string): Import[] {
  const source = readFileSync(join(root, file), 'utf8');
  return [...source.matchAll(STATEMENT), ...source.matchAll(CALL)].map((match) => ({
    line: source.slice(0, match.index + match[0].length).split('\n').length,
    specifier: match[1]!,
    imported: target(root, file, match[1]!),
  }));
}

/** Each import that closes a circle of imports between files of the layers. */
function circles(imports: ReadonlyMap<string, Import[]>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: string[]): void => {
    for (const { line, specifier, imported } of imports.get(file) ?? []) {
      const start = path.indexOf(imported);
      const circle = [...path.slice(start), imported].join(' -> ');
      if (start >= 0) found.push(`${file}:${line}: imports ${specifier}: a circle: ${circle}`);
      else if (!done.has(imported)) visit(imported, [...path, imported]);
    }
    done.add(file);
  };
  for (const file of imports.keys()) {
    if (LAYERS.includes(layerOf(file)) && !done.has(file)) visit(file, [file]);
  }
  return found;
}

/** The TypeScript files of the project's folders, relative to its root. */
function sourceFiles(root: string): string[] {
  return [...LAYERS.filter((layer) => !layer.includes('/')), ...FREE]
    .filter((folder) => existsSync(join(root, folder)))
    .flatMap((folder) => readdirSync(join(root, folder), { recursive: true }).map((name) => `${folder}/${name}`))
    .filter((file) => file.endsWith('.ts'))
    .sort();
}

/** The path below the root that a specifier means, or the name of a package. */
function target(root: string, file: string, specifier: string): string {
  if (specifier.startsWith('.')) return relative(root, resolve(root, dirname(file), specifier));
  return specifier.replace(/^daybreak\//, '');
}

/** The layer, or the other folder of the project, that a path is in. */
function layerOf(path: string): string {
  return path.startsWith('model/api/') ? 'model/api' : path.split('/')[0]!;
}

/** What is wrong with `file` importing `imported`, or nothing. */
function violation(file: string, imported: string): string | undefined {
  const [op, otherOp] = [file.split('/')[1], imported.split('/')[1]];
  const [from, to] = [layerOf(file), layerOf(imported)];
  if (imported === 'webgpu' && file !== WEBGPU) return `only ${WEBGPU} imports webgpu`;
  if (FREE.includes(from)) return undefined;
  if (FREE.includes(to)) return `nothing imports ${FREE.join(' or ')}`;
  if (LAYERS.indexOf(to) > LAYERS.indexOf(from)) return `${from} comes before ${to} (${LAYERS.join(' <- ')})`;
  const bothOps =
    from === 'kernels' && file.split('/').length > 2 && imported.split('/').length > 2 && to === 'kernels';
  const allowed = [op!, 'lib', ...(PARTS[op!] ?? [])];
  if (bothOps && !allowed.includes(otherOp!)) return `kernels/${op} imports no other op than ${allowed.join(', ')}`;
  return roomViolation(file, imported);
}

/** A room of model/ imports itself and model/checkpoint, and nothing else of model/. */
function roomViolation(file: string, imported: string): string | undefined {
  const [, room, inRoom] = file.split('/');
  const [, otherRoom] = imported.split('/');
  if (layerOf(file) !== 'model' || layerOf(imported) !== 'model' || !inRoom || [room, 'checkpoint'].includes(otherRoom))
    return undefined;
  const others = room === 'checkpoint' ? '' : ' or model/checkpoint';
  return `model/${room} imports nothing else of model/ than itself${others}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const violations = importViolations(process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url)));
  for (const line of violations) console.log(line);
  process.exitCode = violations.length > 0 ? 1 : 0;
}
