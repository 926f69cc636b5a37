// Checks that imports point one way, as the folders promise: `tsx tools/check_imports.ts [root]`.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const LAYERS = ['runtime', 'kernels', 'model', 'bench']; // each may import itself and those before it
const FREE = ['test', 'tools']; // may import everything, and nothing else may import them
const STATEMENT = /^\s*(?:import|export)\b(?:[^;'"=(]*?\bfrom)?\s*['"]([^'"]+)['"]/gm;
const CALL = /\b(?:import|require)\s*\(\s*['"`]([^'"`]+)['"`]/g;

/** Every import below `root` that points the wrong way, as `file:line: what is wrong`. */
export function importViolations(root: string): string[] {
  return sourceFiles(root).flatMap((file) => {
    const source = readFileSync(join(root, file), 'utf8');
    return [...source.matchAll(STATEMENT), ...source.matchAll(CALL)].flatMap((match) => {
      const specifier = match[1]!;
      const problem = violation(file, target(root, file, specifier));
      const line = source.slice(0, match.index + match[0].length).split('\n').length;
      return problem ? [`${file}:${line}: imports ${specifier}: ${problem}`] : [];
    });
  });
}

/** The TypeScript files of the project's folders, relative to its root. */
function sourceFiles(root: string): string[] {
  return [...LAYERS, ...FREE]
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

/** What is wrong with `file` importing `imported`, or nothing. */
function violation(file: string, imported: string): string | undefined {
  const [from, op] = file.split('/') as [string, string];
  const [to, otherOp] = imported.split('/') as [string, string?];
  if (imported === 'webgpu' && file !== 'runtime/device.ts') return 'only runtime/device.ts imports webgpu';
  if (FREE.includes(from)) return undefined;
  if (FREE.includes(to)) return `nothing imports ${FREE.join(' or ')}`;
  if (LAYERS.indexOf(to) > LAYERS.indexOf(from)) return `${from} comes before ${to} (${LAYERS.join(' <- ')})`;
  const bothOps =
    from === 'kernels' && file.split('/').length > 2 && imported.split('/').length > 2 && to === 'kernels';
  if (bothOps && otherOp !== op && otherOp !== 'lib') return `an op imports no other op than itself and kernels/lib`;
  return roomViolation(file, imported);
}

/** A room of model/ imports itself and model/checkpoint, and nothing else of model/. */
function roomViolation(file: string, imported: string): string | undefined {
  const [from, room, inRoom] = file.split('/');
  const [to, otherRoom] = imported.split('/');
  if (from !== 'model' || to !== 'model' || !inRoom || [room, 'checkpoint'].includes(otherRoom)) return undefined;
  const others = room === 'checkpoint' ? '' : ' or model/checkpoint';
  return `model/${room} imports nothing else of model/ than itself${others}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const violations = importViolations(process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url)));
  for (const line of violations) console.log(line);
  process.exitCode = violations.length > 0 ? 1 : 0;
}
