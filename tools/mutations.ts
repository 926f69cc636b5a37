// Whether the tests see real faults: `npx tsx tools/mutations.ts --help`.
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { removeAtExit } from '../bench/compare/sides.ts';
import { progressBar } from '../bench/progress.ts';
import { main, runCommands } from '../bench/report.ts';
import { UsageError } from '../runtime/index.ts';
import { type Mutation, mutations } from './mutations/list.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TABLE = fileURLToPath(new URL('mutations/last_run.md', import.meta.url));
/** What uvu prints for a test that fails, when it does. */
const FAILED_TEST = '✘';
/** A test that a fault makes hang has seen it. */
const MOST_MILLIS = 300_000;

/** How a mutation came out: red is seen by `seenBy`, green by nothing, stale no longer applies to the sources. */
interface Result {
  name: string;
  file: string;
  outcome: 'red' | 'green' | 'stale';
  /** The test that turned red, and how: a test fails, or the signal or exit code of its process. */
  seenBy?: string;
  how?: string;
  seconds: number;
}

/** The tracked files as they stand, in a temporary folder that goes away with the process. */
function copySources(): string {
  const folder = mkdtempSync(join(tmpdir(), 'daybreak-mutations-'));
  removeAtExit(folder);
  const tracked = execFileSync('git', ['ls-files', '-z'], { cwd: ROOT, encoding: 'utf8' }).split('\0');
  for (const path of tracked.filter((name) => name)) cpSync(join(ROOT, path), join(folder, path));
  for (const modules of ['node_modules', '.docs/node_modules']) symlinkSync(join(ROOT, modules), join(folder, modules));
  return folder;
}

/** A source with the fault in it; undefined unless it holds the original text once. */
export function mutate(source: string, { from, to }: Mutation): string | undefined {
  const parts = source.split(from);
  return parts.length === 2 ? parts.join(to) : undefined;
}

/** How a test (its file, or kernels/OP) fails in a folder, as soon as it does; undefined where it passes. */
async function failureOf(test: string, folder: string, quick: boolean): Promise<string | undefined> {
  const [name, op] = test.split('/') as [string, string?];
  const env = { ...process.env, REQUIRE_GPU: '1', DAYBREAK_OP: op, DAYBREAK_QUICK: quick ? '1' : undefined };
  const file = `test/${name}.test.ts`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--import', './tools/software_vulkan.ts', file], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: MOST_MILLIS,
    killSignal: 'SIGKILL',
  });
  const stop = () => child.kill('SIGKILL');
  process.once('exit', stop);
  let failed = false;
  child.stdout.on('data', (text) => {
    failed ||= String(text).includes(FAILED_TEST);
    if (failed) stop();
  });
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (...ended) => resolve(ended));
  });
  process.off('exit', stop);
  if (failed) return 'a test fails';
  return code === 0 ? undefined : (signal ?? `exit code ${code}`);
}

/** Runs the tests of a mutation in a folder that has the fault, quick cases first, until one turns red. */
async function seen({ tests }: Mutation, folder: string): Promise<Pick<Result, 'seenBy' | 'how'> | undefined> {
  for (const quick of [true, false]) {
    for (const test of tests) {
      const how = await failureOf(test, folder, quick);
      if (how) return { seenBy: test, how };
    }
  }
  return undefined;
}

/** Puts one fault into the folder, runs its tests, and takes it out again. */
async function tryMutation(mutation: Mutation, folder: string): Promise<Result> {
  const { name, file } = mutation;
  const path = join(folder, file);
  const source = readFileSync(path, 'utf8');
  const faulty = mutate(source, mutation);
  if (faulty === undefined) return { name, file, outcome: 'stale', seconds: 0 };
  const start = performance.now();
  writeFileSync(path, faulty);
  try {
    const by = await seen(mutation, folder);
    return { name, file, outcome: by ? 'red' : 'green', ...by, seconds: (performance.now() - start) / 1000 };
  } finally {
    writeFileSync(path, source);
  }
}

/** The rows of the table by the name of their fault; those of results in place of what stood there. */
function tableRows(results: readonly Result[]): Map<string, string> {
  const rows = new Map<string, string>();
  const text = existsSync(TABLE) ? readFileSync(TABLE, 'utf8') : '';
  for (const [row, name] of text.matchAll(/^\| (.+?) \|.*(?:red|green|stale).*$/gm)) rows.set(name!, row);
  for (const { name, file, outcome, seenBy = '', how = '' } of results)
    rows.set(name, `| ${[name, file, outcome, seenBy, how].join(' | ')} |`);
  return rows;
}

/** The table of all mutations, of which some may have been tried before. */
export function markdown(results: readonly Result[]): string {
  const known = tableRows(results);
  const rows = mutations.flatMap(({ name }) => known.get(name) ?? []);
  const untried = mutations.flatMap(({ name }) => (known.has(name) ? [] : name));
  const red = rows.filter((row) => row.includes(' | red | ')).length;
  return [
    '# Faults that the tests see',
    'Written by `npx tsx tools/mutations.ts`, which puts each fault of `list.ts` into a copy of the sources and runs the tests named there',
    `until one fails. ${red} of ${rows.length} tried turn a test red.`,
    ...(untried.length > 0 ? ['', `${untried.length} not tried since they changed: ${untried.join('; ')}.`] : []),
    '',
    '| fault | file | outcome | seen by | how |',
    '|---|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}

function summary(results: readonly Result[]): string {
  const red = results.filter(({ outcome }) => outcome === 'red').length;
  return `${red} of ${results.length} faults turn a test red`;
}

interface RunOptions {
  only?: string;
  untried?: boolean;
  json?: boolean;
}

/** The mutations whose names contain a text, in any case, or that have no row in the table; UsageError where there is none. */
function chosen({ only, untried }: RunOptions): readonly Mutation[] {
  const tried = untried ? tableRows([]) : new Map();
  const found = mutations.filter(
    ({ name }) => !tried.has(name) && name.toLowerCase().includes((only ?? '').toLowerCase()),
  );
  if (found.length > 0) return found;
  if (untried) throw new UsageError('--untried: expected a mutation that has no row in the table, got none');
  throw new UsageError(`--only: expected a part of a mutation's name, got '${only}'; tools/mutations/list.ts has them`);
}

/** Throws UsageError where one of the tests fails without any fault. */
async function expectGreen(tests: ReadonlySet<string>, folder: string): Promise<void> {
  for (const test of tests) {
    const how = await failureOf(test, folder, true);
    if (how) throw new UsageError(`mutations: ${test}: expected it to pass without a fault, got '${how}'`);
  }
}

/** Tries the chosen mutations, writes their rows of the table, and returns the exit code. */
async function run({ json, ...which }: RunOptions): Promise<number> {
  const wanted = chosen(which);
  const folder = copySources();
  const bar = progressBar('mutations');
  const results: Result[] = [];
  for (const mutation of wanted) {
    const result = await tryMutation(mutation, folder);
    const { name, outcome, seenBy, how, seconds } = result;
    const by = seenBy ? `: ${seenBy}, ${how}` : '';
    const line = `${outcome.padEnd(5)}  ${name}${by} (${seconds.toFixed(1)} s)`;
    bar.above(() => console.log(json ? JSON.stringify(result) : line));
    bar.update(results.push(result), wanted.length);
  }
  bar.stop();
  await expectGreen(new Set(results.flatMap(({ seenBy }) => seenBy ?? [])), folder);
  writeFileSync(TABLE, markdown(results));
  if (!json) console.log(summary(results));
  return results.every(({ outcome }) => outcome === 'red') ? 0 : 1;
}

const isMain = process.argv[1] === fileURLToPath(import.meta.url);
if (isMain)
  await main(async () => {
    let exitCode = 0;
    const program = new Command('mutations')
      .description(
        'Put known faults into a copy of the tracked files, one at a time, and run the tests that should see each. Exit code 1: a fault nobody saw, or one whose text the sources no longer hold.',
      )
      .option('--only <name>', 'only the mutations whose names contain this, and their rows of the table')
      .option('--untried', 'only those not tried since they changed')
      .option('--json', 'one JSON object per mutation')
      .action(async (options) => {
        exitCode = await run(options);
      });
    return (await runCommands(program)) || exitCode;
  });
