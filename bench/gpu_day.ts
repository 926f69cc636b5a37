import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { specs } from '../kernels/specs.ts';
import { UsageError } from '../runtime/index.ts';
import { TINY } from './e2e/prompts.ts';
import { median } from './measure.ts';
import { digits, Table } from './report.ts';

/** Options of `bench gpu-day`. */
export interface GpuDayOptions {
  out: string;
  /** Whether to go on where an earlier call was cut off. */
  resume?: boolean;
  /** Minutes for everything. */
  minutes: number;
  /** The shape of the models that are timed. */
  synthetic: string;
  adapter?: string;
}

/** One question, the command that answers it, and the seconds that it may take. */
interface Step {
  name: string;
  command: readonly string[];
  seconds: number;
}

/** How a step ended: with an exit code, or cut off at its limit. */
interface Answer {
  code: number | 'cut off';
  seconds: number;
}

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TORCH = fileURLToPath(new URL('gpu_day/torch_matmul.py', import.meta.url));

/**
 * Asks a GPU, in a few minutes and the most important first, whether everything is right on it and how fast: each answer
 * is in the folder once it is known. Returns the exit code: 0, or 1 where a step failed, was cut off, or found no time.
 */
export async function gpuDay(options: GpuDayOptions): Promise<number> {
  const { out, resume, minutes } = options;
  const state = join(out, 'state.json');
  if (existsSync(state) && !resume)
    throw new UsageError(`gpu-day: ${out}: expected a new folder, got one with answers; --resume goes on there`);
  mkdirSync(out, { recursive: true });
  const answers: Record<string, Answer> = resume && existsSync(state) ? JSON.parse(readFileSync(state, 'utf8')) : {};
  const start = performance.now();
  const table = new Table({ step: 14, seconds: 8, outcome: 10, 'last line': 0 });
  let skipped = 0;
  for (const step of listSteps(options)) {
    const left = 60 * minutes - (performance.now() - start) / 1000;
    const known = answers[step.name];
    if (!known && step.seconds > left) {
      skipped++;
      table.row([step.name, '-', 'skipped', `needs up to ${step.seconds} s of ${Math.round(left)} s left`]);
      continue;
    }
    const answer = known ?? (await run(step, out));
    answers[step.name] = answer;
    writeFileSync(state, JSON.stringify(answers, undefined, 2));
    const outcome = answer.code === 0 ? 'right' : answer.code === 'cut off' ? 'CUT OFF' : `FAILED (${answer.code})`;
    table.row([step.name, digits(answer.seconds), outcome, lastLine(join(out, `${step.name}.txt`))]);
  }
  printMatmuls(out);
  console.log(`Everything is in ${out}; the .jsonl files hold every sample.`);
  return skipped === 0 && Object.values(answers).every(({ code }) => code === 0) ? 0 : 1;
}

/** The steps in the order of what they are worth; together they take at most 8 minutes. */
export function listSteps({ out, synthetic, adapter }: Pick<GpuDayOptions, 'out' | 'synthetic' | 'adapter'>): Step[] {
  const chosen = adapter ? ['--adapter', adapter] : [];
  const script = (file: string, ...args: string[]) => [
    ...[process.execPath, 'tools/start.mjs', '--import', './tools/software_vulkan.ts', file],
    ...args,
    ...chosen,
  ];
  const rows = (name: string) => ['--json', join(process.cwd(), out, `${name}.jsonl`)];
  const speed = (name: string, format: string) =>
    script(
      ...(['bench/main.ts', 'speed', '--synthetic', synthetic, '--format', format, '--dtype', 'f16'] as const),
      ...['--no-tune', '--repeats', '3', '-p', '512,3856', '-n', '64', '-d', '0,4096', ...rows(name)],
    );
  return [
    { name: 'tests', seconds: 90, command: script('test/run.ts', '--quick', '--device', 'kernels.test') },
    {
      name: 'e2e',
      seconds: 60,
      command: script('bench/main.ts', '--model', TINY, '--dtype', 'f16', '--no-tune', ...rows('e2e')),
    },
    { name: 'tune', seconds: 75, command: script('tools/command/main.ts', 'tune', '--seconds', '60', ...rows('tune')) },
    { name: 'speed_int4', seconds: 80, command: speed('speed_int4', 'int4') },
    { name: 'ops', seconds: 60, command: script('bench/main.ts', 'ops', 'matmul', ...rows('ops')) },
    { name: 'torch', seconds: 30, command: ['python3', TORCH, JSON.stringify(matmulShapes())] },
    { name: 'speed_bf16', seconds: 85, command: speed('speed_bf16', 'bf16') },
  ];
}

/** Runs a step with its output in a file; one that takes too long is killed. */
async function run({ name, command: [program, ...args], seconds }: Step, out: string): Promise<Answer> {
  const start = performance.now();
  const file = openSync(join(out, `${name}.txt`), 'w');
  const child = spawn(program!, args, { cwd: ROOT, stdio: ['ignore', file, file], detached: true });
  const kill = () => child.pid && process.kill(-child.pid, 'SIGKILL'); // with all that it has started
  const interrupted = () => process.exit(130);
  process.once('exit', kill).once('SIGINT', interrupted).once('SIGTERM', interrupted);
  let cutOff = false;
  const timer = setTimeout(() => {
    cutOff = true;
    kill();
  }, seconds * 1000);
  const code = await new Promise<Answer['code']>((resolve) => {
    child.on('error', ({ message }) => {
      writeFileSync(file, `${message}\n`);
      resolve(127);
    });
    child.on('exit', (code) => resolve(cutOff ? 'cut off' : (code ?? 1)));
  });
  clearTimeout(timer);
  process.off('exit', kill).off('SIGINT', interrupted).off('SIGTERM', interrupted);
  closeSync(file);
  return { code, seconds: (performance.now() - start) / 1000 };
}

function lastLine(file: string): string {
  return existsSync(file) ? (readFileSync(file, 'utf8').trimEnd().split('\n').at(-1) ?? '') : '';
}

/** Rows, inner and outs of the products with f16 rows. */
function matmulShapes(): number[][] {
  const { bench } = specs.find(({ name }) => name === 'matmul')!;
  const sizes = bench.filter(({ from }) => from === 'f16').map(({ rows, inner, outs }) => [rows, inner, outs].join());
  return [...new Set(sizes)].map((text) => text.split(',').map(Number));
}

interface OpsRow {
  kernel: string;
  shape: { rows: number; inner: number; outs: number; weights: string };
  repeats: number[][];
}

/** Our fastest products beside those of the device's own library, where both were timed. */
function printMatmuls(out: string): void {
  const theirs = rowsOf<{ shape: number[]; micros: number }>(join(out, 'torch.txt'));
  const ours = rowsOf<OpsRow>(join(out, 'ops.jsonl')).filter(({ kernel }) => kernel?.startsWith('matmul/'));
  if (theirs.length === 0 || ours.length === 0) return;
  const table = new Table({
    'rows x inner x outs': 22,
    weights: 8,
    'ours us': 10,
    'PyTorch us': 10,
    times: 6,
    variant: 0,
  });
  for (const { shape, micros } of theirs) {
    const same = ours.filter(({ shape: { rows, inner, outs } }) => [rows, inner, outs].join() === shape.join());
    for (const weights of new Set(same.map((row) => row.shape.weights))) {
      const timed = same
        .filter((row) => row.shape.weights === weights)
        .map((row) => ({ variant: row.kernel, time: median(row.repeats.map(median)) }))
        .sort((a, b) => a.time - b.time);
      const { variant, time } = timed[0]!;
      table.row([shape.join(' x '), weights, digits(time), digits(micros), digits(micros / time), variant]);
    }
  }
}

/** The JSON lines of a file; others are left out. */
function rowsOf<Row>(file: string): Row[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Row);
}
