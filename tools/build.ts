// Makes dist/, what the package ships: `npm run build`.
import { spawnSync } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, posix, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Metafile } from 'esbuild';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DIST = join(ROOT, 'dist');

/** Where the command is, in the sources and below DIST. */
const COMMAND = 'tools/command';

/** How a kernel names its file. */
const WGSL_FILE = /new URL\(([^()]+), import\.meta\.url\)/g;

/** What declarations take from lib.dom, @types/node or @webgpu/types: a program may have none of these. */
const GLOBAL = /\b(?:GPU[A-Z]\w+|AbortSignal|Blob|Buffer|URL)\b/g;
const GLOBALS = `/// <reference lib="es2023" />
/// <reference lib="esnext.disposable" />
/** A type of the program's own, or any where it has none of this name. */
type Global<Name extends string> = typeof globalThis extends Record<Name, { prototype: infer T }> ? T : any;
`;

rmSync(DIST, { recursive: true, force: true });
compile();
embedKernels();
freeDeclarations();
cpSync(join(ROOT, 'runtime/matrix_probe.wgsl'), join(DIST, 'runtime/matrix_probe.wgsl')); // of a process that runs from files
cpSync(join(ROOT, 'model/shapes'), join(DIST, 'model/shapes'), { recursive: true });
await bundleCommand();

/** JavaScript, declarations and source maps of every file of the library, in the folders of the sources. */
function compile(): void {
  const { status } = spawnSync('npx', ['tsc', '-p', 'tools/tsconfig.build.json'], { cwd: ROOT, stdio: 'inherit' });
  if (status !== 0) process.exit(1);
}

/** Puts the .wgsl files in a module of texts, which kernels read in place of files: bundlers know modules only. */
function embedKernels(): void {
  const [sources, modules] = [join(ROOT, 'kernels'), join(DIST, 'kernels')];
  const texts = filesOf(sources, '.wgsl').map((file) => [file, readFileSync(join(sources, file), 'utf8')]);
  writeFileSync(
    join(modules, 'texts.js'),
    `export const texts = ${JSON.stringify(Object.fromEntries(texts), null, 1)};\n`,
  );
  for (const file of filesOf(modules, '.js')) {
    const code = readFileSync(join(modules, file), 'utf8');
    if (!code.includes('import.meta')) continue;
    const folder = posix.dirname(file);
    const embedded = code.replace(WGSL_FILE, `texts[posix.join('${folder}', $1)]`);
    if (embedded.includes('import.meta')) throw new Error(`kernels/${file}: expected import.meta for .wgsl files only`);
    const imports = `import { posix } from 'node:path'; import { texts } from '${pathTo(file, 'texts.js')}'; `;
    writeFileSync(join(modules, file), imports + embedded); // within line 1, so that source maps stay true
  }
}

/** Lets declarations stand alone, whatever libraries and options a program has and from TypeScript 5.6 on. */
function freeDeclarations(): void {
  const names = new Set<string>();
  for (const file of filesOf(DIST, '.d.ts')) {
    const text = readFileSync(join(DIST, file), 'utf8')
      .replace(/((?:from |import\()["']\.[^"']*)\.ts(["'])/g, '$1.js$2')
      .replace(/(\w+Array)<ArrayBuffer(?:Like)?>/g, '$1') // no generic types before 5.7
      .replace(/^ +#private;\n/gm, '') // refused where the target is ES5, as it is before 6 unless told
      .replace(/^( +(?:readonly )?\w+\?: )(.+);$/gm, '$1($2) | undefined;'); // exactOptionalPropertyTypes would refuse an undefined
    const used = [...new Set(text.match(GLOBAL))];
    for (const name of used) names.add(name);
    const imported = `import type { ${used.join(', ')} } from '${pathTo(file, 'globals.js')}';\n`;
    writeFileSync(join(DIST, file), (used.length > 0 ? imported : '') + text);
  }
  const types = [...names].sort().map((name) => `export type ${name} = Global<'${name}'>;\n`);
  writeFileSync(join(DIST, 'globals.d.ts'), GLOBALS + types.join(''));
  writeFileSync(join(DIST, 'globals.js'), 'export {};\n');
}

/**
 * Puts the command into dist/tools: its own code and what it takes of bench/, commander and cli-progress, in a file for each of its
 * commands, so that those who import the library install none of this and a command reads few files. The library stays outside.
 */
async function bundleCommand(): Promise<void> {
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const outdir = join(DIST, COMMAND);
  const { metafile } = await build({
    entryPoints: [join(ROOT, COMMAND, 'main.ts')],
    outdir,
    ...{ bundle: true, splitting: true, format: 'esm', platform: 'node', target: 'node20', logLevel: 'warning' },
    external: Object.keys({ ...dependencies, ...optionalDependencies }),
    banner: {
      js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
    },
    plugins: [{ name: 'library', setup: ({ onResolve }) => onResolve({ filter: /^\./ }, inLibrary) }],
    absWorkingDir: ROOT,
    metafile: true,
  });
  const main = join(outdir, 'main.js');
  writeFileSync(main, readFileSync(main, 'utf8') + licences(metafile));
  const starter = ['daybreak.mjs', 'run_filtered.mjs', 'limit_warnings.mjs', 'direct_stderr.mjs'];
  for (const name of starter) cpSync(join(ROOT, 'tools', name), join(DIST, 'tools', name));
  const textSide = ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'];
  for (const name of textSide) cpSync(join(ROOT, 'bench/reference/tiny', name), join(outdir, 'text_side', name));
}

/** Where the built library has what a source imports of it. */
function inLibrary({ path, resolveDir }: { path: string; resolveDir: string }) {
  const file = relative(ROOT, resolve(resolveDir, path));
  if (!/^(runtime|kernels|model)\//.test(file)) return undefined;
  return { path: pathTo(posix.join(COMMAND, 'main.js'), file.replace(/\.ts$/, '.js')), external: true };
}

/** The licences of the packages in a bundle, as a comment. */
function licences({ inputs }: Metafile): string {
  const packages = Object.keys(inputs).flatMap((file) => /^node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? []);
  const texts = [...new Set(packages)].sort().map((folder) => {
    const name = readdirSync(join(ROOT, folder)).find((file) => /^licen[cs]e/i.test(file))!;
    return `${folder.slice('node_modules/'.length)}\n\n${readFileSync(join(ROOT, folder, name), 'utf8').trim()}`;
  });
  return `/*! This file and those beside it hold:\n\n${texts.join('\n\n\n')}\n*/\n`;
}

/** The files below a folder whose names end so, relative to it. */
function filesOf(folder: string, extension: string): string[] {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => name.replaceAll('\\', '/'));
  return files.filter((name) => name.endsWith(extension)).sort();
}

/** How a file names another of the same tree in an import. */
function pathTo(from: string, to: string): string {
  const path = posix.relative(posix.dirname(from), to);
  return path.startsWith('.') ? path : `./${path}`;
}
