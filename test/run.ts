// Runs the test files, each in its own process: `npm test -- --help`.
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { LIMIT_WARNING } from '../tools/limit_warnings.mjs';

const USAGE = `usage: npm test -- [--quick] [--device] [--adapter NAME] [pattern...]

Runs every test/*.test.ts whose name contains one of the patterns (all without a pattern).
  --quick         leave out the cases that are slow on a software adapter (DAYBREAK_QUICK=1)
  --sweep         every case of the kernels with every variant that takes it (DAYBREAK_SWEEP=1): else those that are not
                  quick with every fourth, in turn
  --device        only the files that depend on the adapter (tier gpu): the others come out the same on every one
  --adapter NAME  run on the adapter whose name contains NAME (DAYBREAK_ADAPTER)
REQUIRE_GPU=1 in the environment turns every skip into a failure.`;

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TIMEOUT_MILLIS = 10 * 60_000;
const ON_DEVICE = ['any', 'gpu'];

/** A file, and which part of its tests runs: `1/2`. */
interface Job {
  file: string;
  part: string;
}

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

interface Ended {
  output: string;
  code: number | null;
  signal: NodeJS.Signals | null;
  seconds: number;
}

/** The tier in a file's header: `host`, `null` (Dawn without an adapter), `any` (an adapter, whichever: it comes out the same on each) or `gpu` (as the adapter computes). */
function tierOf(file: string): string {
  return /^\/\/ tier: (\w+)$/m.exec(headerOf(file))?.[1] ?? 'host';
}

function headerOf(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8').slice(0, 500);
}

/** How many jobs a file's header makes of it, where its tests take long: `// parts: 2`. */
function partsOf(file: string): number {
  return Number(/^\/\/ parts: (\d+)$/m.exec(headerOf(file))?.[1] ?? 1);
}

/** Whether a file runs while no other does, as a header `// alone` asks for: it measures time or memory. */
function isAlone(file: string): boolean {
  return /^\/\/ alone$/m.test(headerOf(file));
}

function jobsOf(file: string): Job[] {
  const parts = partsOf(file);
  return Array.from({ length: parts }, (_, i) => ({ file, part: `${i + 1}/${parts}` }));
}

/** Runs one job to its end, or kills it after ten minutes. */
function runJob({ file, part }: Job, env: NodeJS.ProcessEnv): Promise<Ended> {
  const folder = mkdtempSync(join(tmpdir(), 'daybreak-test-'));
  const log = join(folder, 'log');
  const fd = openSync(log, 'w'); // a file: a killed test's own children cannot hold it open as they would a pipe
  const started = performance.now();
  const child = spawn(process.execPath, ['--import', 'tsx', '--import', './tools/software_vulkan.ts', file], {
    cwd: ROOT,
    env: { ...env, DAYBREAK_PART: part },
    stdio: ['ignore', fd, fd],
    timeout: TIMEOUT_MILLIS,
    killSignal: 'SIGKILL',
  });
  closeSync(fd);
  return new Promise((done, failed) => {
    child.on('error', failed);
    child.on('exit', (code, signal) => {
      const output = readFileSync(log, 'utf8').replace(LIMIT_WARNING, '');
      rmSync(folder, { recursive: true });
      done({ output, code, signal, seconds: (performance.now() - started) / 1000 });
    });
  });
}

/** The skips a test printed: `SKIP why`, on its own line or behind uvu's marks. */
function printedSkips(output: string): string[] {
  return [...output.matchAll(/(?:^|\s)SKIP (.+)$/gm)].map((match) => match[1]!);
}

/** What a file's output says, with a crash or a file without any test as one failure. */
function count({ output, code }: Ended): Counts {
  const sum = (word: string) =>
    [...output.matchAll(new RegExp(`^  ${word}: +(\\d+)$`, 'gm'))].reduce(
      (total, match) => total + Number(match[1]),
      0,
    );
  const passed = sum('Passed');
  let failed = sum('Total') - passed;
  let skipped = sum('Skipped') + printedSkips(output).length;
  if (process.env.REQUIRE_GPU === '1') {
    failed += skipped;
    skipped = 0;
  }
  if (failed === 0 && (code !== 0 || passed + skipped === 0)) failed = 1;
  return { passed, failed, skipped };
}

/** `N passed, N failed`, and the skips if there are any. */
function show({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

/** How a file ended where its counts do not say it. */
function ending({ signal, code, seconds }: Ended, { passed, skipped }: Counts): string {
  if (signal === 'SIGKILL' && seconds * 1000 >= TIMEOUT_MILLIS) return ', timed out';
  if (signal) return `, ${signal}`;
  if (code) return `, exit code ${code}`;
  return passed + skipped === 0 ? ', no test ran' : '';
}

/** Prints a job's line, its skips, and everything it wrote if it failed. */
function report({ file, part }: Job, ended: Ended, counts: Counts): void {
  const word = counts.failed ? 'FAIL' : 'ok  ';
  const name = part === '1/1' ? file : `${file} ${part}`;
  console.log(`${word} ${name}: ${show(counts)}${ending(ended, counts)} (${ended.seconds.toFixed(1)} s)`);
  for (const skip of printedSkips(ended.output)) console.log(`     SKIP ${skip}`);
  if (counts.failed) console.log(ended.output.trimEnd().replace(/^/gm, '     | '));
}

/** What a file runs with: where lavapipe's compiler takes most of its time, as a header `// nopt` says, that leaves optimising out. */
function environmentOf(file: string, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return /^\/\/ nopt$/m.test(headerOf(file)) ? { GALLIVM_PERF: 'nopt', ...env } : env;
}

/** Runs the jobs, at most `width` at once, and returns their counts. */
async function runAll(jobs: Job[], width: number, env: NodeJS.ProcessEnv): Promise<Counts[]> {
  const queue = jobs.values();
  const all: Counts[] = [];
  const work = async () => {
    for (const job of queue) {
      const ended = await runJob(job, environmentOf(job.file, env));
      const counts = count(ended);
      report(job, ended, counts);
      all.push(counts);
    }
  };
  await Promise.all(Array.from({ length: width }, work));
  return all;
}

/** The parsed command line; an unknown option ends the process with one line. */
function parseCommandLine() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        quick: { type: 'boolean' },
        sweep: { type: 'boolean' },
        device: { type: 'boolean' },
        adapter: { type: 'string' },
        help: { type: 'boolean' },
      },
    });
  } catch (error) {
    console.error(`${(error as Error).message.split(/[.\n]/)[0]}; npm test -- --help lists the options`);
    process.exit(2);
  }
}

const { values, positionals } = parseCommandLine();
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}

const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined };
if (values.adapter) env.DAYBREAK_ADAPTER = values.adapter;
if (values.quick) env.DAYBREAK_QUICK = '1';
if (values.sweep) env.DAYBREAK_SWEEP = '1';

const files = readdirSync(join(ROOT, 'test'))
  .filter((name) => name.endsWith('.test.ts'))
  .map((name) => `test/${name}`)
  .filter((file) => positionals.length === 0 || positionals.some((pattern) => file.includes(pattern)))
  .filter((file) => !values.device || tierOf(file) === 'gpu')
  .sort((a, b) => partsOf(b) - partsOf(a) || (a < b ? -1 : 1)); // the longest first
const alone = files.filter(isAlone);
const others = files.filter((file) => !isAlone(file));
const onDevice = others.filter((file) => ON_DEVICE.includes(tierOf(file)));
const onHost = others.filter((file) => !onDevice.includes(file));
const all = [
  ...(await runAll(onHost.flatMap(jobsOf), cpus().length, env)), // before those on the device, whose load would make their clocks wrong
  ...(await runAll(onDevice.flatMap(jobsOf), cpus().length, env)),
  ...(await runAll(alone.flatMap(jobsOf), 1, env)),
];
const total = all.reduce(
  (sum, counts) => ({
    passed: sum.passed + counts.passed,
    failed: sum.failed + counts.failed,
    skipped: sum.skipped + counts.skipped,
  }),
  { passed: 0, failed: 0, skipped: 0 },
);
if (files.length === 0) console.log(`no file of test/ matches ${positionals.join(' ')}`);
console.log(show(total));
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
