// tier: any
// nopt
import { exec, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as testing from '../kernels/testing.ts';
import * as daybreak from '../model/api/index.ts';
import { DaybreakError, reflect } from '../runtime/index.ts';
import { Queue } from '../runtime/queue.ts';
import { TINY } from './bench.ts';
import { testDevice } from './gpu.ts';
import { installPackage, runIn, temporaryFolder } from './installed.ts';
import { anchorsOf, type Block, commandsOf, type Page, ROOT, readPages, saveFiles } from './pages.ts';

const pages = readPages();
const LANGUAGES = ['js', 'json', 'sh', 'text', 'wgsl'];

test('every block has a fence that says what it is', () => {
  for (const { file, prose, blocks } of pages) {
    const unknown = blocks.filter(({ language }) => !LANGUAGES.includes(language));
    assert.equal([file, ...unknown.map(({ text }) => text)], [file]);
    assert.not(/\n\n {4}\S/.test(prose), `${file}: a block without a fence`);
  }
});

test('every link leads to a file and a heading, and every file and variable that is named is there', () => {
  const sources = ['bench', 'kernels', 'model', 'runtime', 'test', 'tools', '.ci']
    .flatMap((folder) =>
      readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name)),
    )
    .filter((name) => /\.(ts|mjs)$|run$/.test(name))
    .map((name) => readFileSync(join(ROOT, name), 'utf8'))
    .join('\n');
  const wrong: string[] = [];
  for (const page of pages) {
    const { file, prose, text } = page;
    for (const [, target] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target!)) continue;
      const [path, anchor] = target!.split('#') as [string, string?];
      const to = path ? join(dirname(file), path) : file;
      const known = pages.find((each) => each.file === to);
      if (!existsSync(join(ROOT, to)) || (anchor && !(known && anchorsOf(known).includes(anchor))))
        wrong.push(`${file}: ${target}`);
    }
    for (const [, path] of text.matchAll(/`([a-z.][\w.-]*\/[\w./-]+\.(?:ts|mjs|wgsl|c|py|md|jsonl))`/g))
      if (![ROOT, join(ROOT, dirname(file))].some((from) => existsSync(join(from, path!))))
        wrong.push(`${file}: ${path}`);
    for (const [name] of text.matchAll(/\bDAYBREAK_[A-Z_]+/g))
      if (!sources.includes(name)) wrong.push(`${file}: ${name}`);
  }
  assert.equal(wrong, []);
});

test('every kind of error has its place in the page on trouble', () => {
  const { text } = pages.find(({ file }) => file === 'runtime/TROUBLESHOOTING.md')!;
  const kinds = Object.entries({ ...daybreak, ...testing }).filter(
    ([, value]) => value === DaybreakError || Object.getPrototypeOf(value) === DaybreakError,
  );
  assert.ok(kinds.length > 10);
  for (const [name] of kinds) assert.match(text, new RegExp(`^### ${name}$`, 'm'));
});

const REFERENCE = {
  daybreak: 'model/api',
  daybreak_runtime: 'runtime',
  daybreak_kernels: 'kernels',
  daybreak_model: 'model',
  daybreak_testing: 'kernels/testing.ts',
};

/** The names that a file exports, as its text says them. */
function exportsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  const declared = [
    ...text.matchAll(/^export (?:async )?(?:abstract )?(?:class|const|function|interface|type) (\w+)/gm),
  ];
  const named = [...text.matchAll(/^export (?:type )?\{([^}]*)\}/gm)].flatMap(([, names]) => names!.split(','));
  const others = [...text.matchAll(/^export \* from '(.+)'/gm)].flatMap(([, path]) =>
    exportsOf(join(dirname(file), path!)),
  );
  return [
    ...declared.map(([, name]) => name!),
    ...named.map((name) => name.replace(/\btype\b/, '').trim()),
    ...others,
  ].filter(Boolean);
}

test('npm run docs: every export of the five entries has its docstring in the reference, and no link of it is broken', () => {
  const folder = temporaryFolder('reference');
  runIn(ROOT, 'npm', 'run', '--silent', 'docs', '--', '--out', folder); // fails where a docstring is missing
  for (const [module, source] of Object.entries(REFERENCE)) {
    const page = readFileSync(join(folder, 'modules', `${module}.html`), 'utf8');
    const names = exportsOf(join(ROOT, source.endsWith('.ts') ? source : `${source}/index.ts`));
    assert.ok(names.length > 5, module);
    for (const name of names) assert.ok(page.includes(`id="${name.toLowerCase()}"`), `${module}: ${name}`);
  }
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.html'));
  const texts = new Map(files.map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
  for (const [name, text] of texts) {
    for (const [, path, anchor] of text.matchAll(/href="(?!https?:)([^"#]*)(?:#([^"]*))?"/g)) {
      const to = path ? join(dirname(name), path) : name;
      assert.ok(existsSync(join(folder, to)), `${name}: ${path}`);
      if (anchor && texts.has(to)) assert.ok(texts.get(to)!.includes(`id="${anchor}"`), `${name}: ${path}#${anchor}`);
    }
  }
});

test('kernels and JSON on pages can be read', () => {
  for (const { file, blocks } of pages)
    for (const { language, text } of blocks) {
      if (language === 'wgsl') assert.ok(reflect(text, file).bindings.length > 0);
      if (language === 'json') JSON.parse(text);
    }
});

const isScript = ({ language, words }: Block) => language === 'js' && !words[0];
const isRun = (block: Block) => block.language === 'sh' && !isShell(block, 'long');
const isShell = ({ language, words }: Block, word?: string) => language === 'sh' && words[0] === word;
const queue = new Queue(cpus().length);

const outputOf = promisify(exec);

/** What a command prints when asked for help; each is asked once. */
const helps = new Map<string, Promise<string>>();
function helpOf(command: string, cwd: string): Promise<string> {
  const ask = () => queue.run(() => outputOf(`${command} --help`, { cwd })).then(({ stdout }) => stdout);
  if (!helps.has(command)) helps.set(command, ask());
  return helps.get(command)!;
}

const OTHERS = /^(npm (ci|init|install|pack|run (build|check|docs|format))|pip|hf|cp|apt-get|node \w+\.m?js)\b/;

/** Where a command's options are written down: what it prints when asked for help, or its own text. */
async function optionsOf(command: string, app: string): Promise<string> {
  const [, script, rest = ''] = /^npm (?:run )?([a-z]+)(?: -- (.*))?$/.exec(command) ?? [];
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  if (script && script in scripts) {
    const sub = script === 'bench' ? (/^[a-z][\w-]*/.exec(rest)?.[0] ?? 'e2e') : '';
    return helpOf(`${scripts[script]} ${sub}`, ROOT);
  }
  const [own] = /^npx daybreak( [a-z]+)?/.exec(command) ?? [];
  if (own) return helpOf(own, app);
  const file = command.split(' ').find((word) => word.includes('/') && existsSync(join(ROOT, word)));
  if (!file) throw new Error(`${command}: expected a command of the project, or one of ${OTHERS}`);
  return readFileSync(join(ROOT, file), 'utf8');
}

async function checkOptions(page: Page, command: string, app: string): Promise<void> {
  if (OTHERS.test(command)) return;
  const options = await optionsOf(command, app);
  for (const [, option] of command.replace(/"[^"]*"/g, '').matchAll(/(?<=[\s[])(--?[a-z][\w-]*)/g))
    assert.match(options, new RegExp(`(^|[\\s,['"])${option}(?![\\w-])`, 'm'), `${page.file}: ${command}`);
}

const device = await testDevice();
device?.dispose();
if (device) onDevice();

test.run();

/** Tests of what runs in a consumer's folder, with a model and pictures in it. */
function onDevice(): void {
  const { app } = installPackage();
  symlinkSync(TINY, join(app, 'model'));
  for (const [i, name] of ['page.png', 'chart.png'].entries())
    copyFileSync(join(TINY, `images/img${i}.png`), join(app, name));

  test('commands that take long, or change the machine, are there and have the options that are named', async () => {
    const all = pages.flatMap((page) =>
      page.blocks
        .filter((block) => isShell(block, 'long'))
        .flatMap((block) => commandsOf(block).map((command) => ({ page, command }))),
    );
    assert.ok(all.length > 20);
    await Promise.all(all.map(({ page, command }) => checkOptions(page, command, app)));
  });

  const scripted = pages.filter(({ blocks }) => blocks.some(isScript));

  test('blocks of JavaScript have the types that the declarations say', () => {
    const modules = join(app, 'node_modules');
    mkdirSync(join(modules, '@types'), { recursive: true });
    for (const name of ['@types/node', 'undici-types'])
      if (!existsSync(join(modules, name))) symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
    for (const page of pages) saveFiles(page, app);
    const named = pages.flatMap(({ blocks }) =>
      blocks.flatMap(({ words }) => words.filter((word) => /\.mjs$/.test(word))),
    );
    const files = [...named, ...scripted.map((page) => writeScript(page, app))];
    const compilerOptions = {
      noEmit: true,
      strict: true,
      noImplicitAny: false,
      allowJs: true,
      checkJs: true,
      target: 'ES2023',
      module: 'NodeNext',
      types: ['node'],
    };
    writeFileSync(join(app, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
    runIn(app, 'node', join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.json');
  });

  for (const page of pages.filter(({ blocks }) => blocks.some((block) => block.language === 'js' || isRun(block))))
    test(`the blocks of ${page.file} run, and print what it shows`, () => {
      saveFiles(page, app);
      runScript(page, app);
      for (const block of page.blocks.filter(isRun)) runShell(block, isShell(block, 'app') ? app : ROOT);
    });
}

/** Runs a block of shell, and expects it to print what the page shows behind it; one for RADV is skipped where this is not installed. */
function runShell(block: Block, cwd: string): void {
  const { status, stdout, stderr } = spawnSync('bash', ['-euo', 'pipefail', '-c', block.text], {
    cwd,
    encoding: 'utf8',
  });
  const lacking = isShell(block, 'radv') && /isa: expected .*/.exec(stderr);
  if (lacking) console.log(`SKIP ${lacking[0]}`);
  else assert.is(status, 0, `${block.text}${stdout}${stderr}`);
  if (block.output !== undefined && !lacking) assert.ok(stdout.includes(block.output), `${block.text}${stdout}`);
}

/** Writes all JavaScript of a page that is no file of its own, one block after the other, as one module; returns its name. */
function writeScript({ file, blocks }: Page, app: string): string {
  const name = `${file.replace('.md', '').replaceAll('/', '_')}.mjs`;
  const code = blocks.filter(isScript).map(({ text }, i) => `${text}console.log('\\n@@ ${i}');\n`);
  writeFileSync(join(app, name), `${code.join('')}export {};\n`);
  return name;
}

/** Runs the JavaScript of a page, and expects each block to print what the page shows behind it. */
function runScript(page: Page, app: string): void {
  const printed = runIn(app, 'node', writeScript(page, app)).split(/\n@@ \d+\n/);
  for (const [i, { output }] of page.blocks.filter(isScript).entries())
    if (output !== undefined) assert.is(printed[i]!.trim(), output.trim());
}
