// Does `bench compare --interleave` keep its promise? Runs it on a copy of the working tree against the same commit, where
// it may report no change, and with so much of one kernel's work done twice that it takes 10 % longer, which it must find; both in 19 of 20 runs.
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { inWorkers, measureUnit } from '../bench/compare/interleave.ts';
import type { Side } from '../bench/compare/sides.ts';
import { ALPHA, estimate, type Pair } from '../bench/compare/statistics.ts';
import { isRegression, type Row, summary } from '../bench/compare/table.ts';
import { progressBar } from '../bench/progress.ts';
import { integerFrom, main, runCommands } from '../bench/report.ts';
import { makeRepository } from './repository.ts';

const SLOWED = 'layer_norm';
/** What the repeated work may cost for each shape, as measured over many rounds, and what it is to cost on average. */
const SLOWDOWN = [1.08, 1.12] as const;
const AIM = 1.1;
/** Rows in a thousand that are done twice at first; how many cost 10 % depends on what a dispatch costs in itself. */
const FIRST_EXTRA = 120;
const CALIBRATIONS = 4;
const NEEDED = 19 / 20;
const MINUTES = '0.75';
const ROUNDS = 12;

interface Options {
  runs: number;
  adapter?: string;
}

/** Gives the norm's kernels more workgroups, which do the first rows once more: nothing can optimise them away. */
function slowDown(folder: string, extra: number): void {
  const edit = (name: string, edits: Record<string, string>) => {
    const file = join(folder, 'kernels', SLOWED, name);
    let source = readFileSync(file, 'utf8');
    for (const [from, to] of Object.entries(edits)) {
      if (source.split(from).length !== 2) throw new Error(`${file}: expected '${from}' once`);
      source = source.replace(from, to);
    }
    writeFileSync(file, source);
  };
  const kernel = {
    'let row = group.x + group.y * groups.x;':
      'let index = group.x + group.y * groups.x; let row = select(index, index - params.rows, index >= params.rows);',
    'if (row >= params.rows) {': `if (index >= params.rows + params.rows * ${extra}u / 1000u) {`,
  };
  edit(`${SLOWED}.wgsl`, kernel);
  edit(`${SLOWED}_subgroup.wgsl`, kernel);
  edit(`${SLOWED}.ts`, { 'linearGrid(rows)': `linearGrid(rows + Math.floor((rows * ${extra}) / 1000))` });
}

/** The ratio of the slowed kernel's times per shape, over many rounds. */
async function measureSlowdown(folder: string, slowed: string, adapter: string | undefined): Promise<number[]> {
  const side = (name: string, at: string): Side => ({ name, commit: 'HEAD', folder: at });
  const rounds: Pair[][][] = [];
  const bar = progressBar('measuring the slowdown');
  for (let round = 0; round < ROUNDS; round++) {
    const sides = [side('original', folder), side('slowed', slowed)] as const;
    await inWorkers({ adapter, ops: [SLOWED] }, sides, async (workers, [{ units }]) => {
      for (const unit of units.keys()) {
        const { pairs } = await measureUnit(workers, [unit, unit], round);
        rounds[unit] = [...(rounds[unit] ?? []), pairs];
      }
    });
    bar.update(round + 1, ROUNDS);
  }
  bar.stop();
  return rounds.map((pairs) => estimate(pairs, ALPHA).ratio);
}

/** One run of the command in a repository: its rows, and how long it took. */
async function compareOnce(folder: string, { adapter }: Options): Promise<{ rows: Row[]; seconds: number }> {
  const json = join(folder, '.git/rows.jsonl');
  const preload = join(folder, 'tools/software_vulkan.ts');
  const command = ['--import', 'tsx', '--import', preload, join(folder, 'bench/main.ts'), 'compare'];
  const options = ['--interleave', 'HEAD', '--ops', SLOWED, '--minutes', MINUTES, '--json', json];
  if (adapter) options.push('--adapter', adapter);
  const start = performance.now();
  const child = spawn(process.execPath, [...command, ...options], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const code = await new Promise((resolve) => child.on('exit', resolve));
  const lines = readFileSync(json, 'utf8').trim().split('\n');
  const rows = lines.filter(Boolean).map((line): Row => JSON.parse(line));
  if (rows.length === 0 || code !== (rows.some(isRegression) ? 1 : 0))
    throw new Error(`compare: expected rows and an exit code that agrees with them, got ${rows.length} and ${code}`);
  return { rows, seconds: (performance.now() - start) / 1000 };
}

/** Runs the command several times; returns how often it was right. */
async function trial(name: string, folder: string, options: Options, right: (changed: readonly Row[]) => boolean) {
  let hits = 0;
  for (let run = 1; run <= options.runs; run++) {
    const { rows, seconds } = await compareOnce(folder, options);
    const changed = rows.filter(({ timing }) => timing?.verdict === 'slower' || timing?.verdict === 'faster');
    const ok = right(changed);
    if (ok) hits++;
    const shown = changed.map(({ kernel, shape, timing }) => `${kernel} ${shape} ${timing!.ratio.toFixed(3)}`);
    const outcome = [ok ? 'right' : 'WRONG', summary(rows), ...shown].join('; ');
    console.log(`${name}, run ${run} of ${options.runs}, ${Math.round(seconds)} s: ${outcome}`);
  }
  return hits;
}

/** A repository whose norm is about 10 % slower: rows are added until it is. */
async function calibrate(same: string, adapter: string | undefined): Promise<{ slowed: string; fit: boolean }> {
  let extra = FIRST_EXTRA;
  for (let attempt = 1; ; attempt++) {
    const slowed = makeRepository();
    slowDown(slowed, extra);
    const ratios = await measureSlowdown(same, slowed, adapter);
    const shown = ratios.map((ratio) => ratio.toFixed(3)).join(', ');
    console.log(
      `${SLOWED} with ${extra / 10} % of its rows done twice: ${shown} of the time without, over ${ROUNDS} rounds`,
    );
    const fit = ratios.every((ratio) => ratio >= SLOWDOWN[0] && ratio <= SLOWDOWN[1]);
    if (fit || attempt === CALIBRATIONS) return { slowed, fit };
    const mean = ratios.reduce((total, ratio) => total + ratio, 0) / ratios.length;
    extra = Math.round((extra * (AIM - 1)) / Math.max(mean - 1, 0.02));
  }
}

async function tryAll(options: Options): Promise<number> {
  const { runs, adapter } = options;
  const same = makeRepository();
  const { slowed, fit } = await calibrate(same, adapter);
  if (!fit) console.log(`expected ${SLOWDOWN.join(' to ')} for each shape: this slowdown tries nothing`);
  const quiet = await trial('same commit', same, options, (changed) => changed.length === 0);
  const found = await trial('slowed down', slowed, options, (changed) => {
    return changed.some(isRegression) && changed.every((row) => row.kernel.startsWith(SLOWED) && isRegression(row));
  });
  const needed = Math.ceil(NEEDED * runs);
  console.log(`no change in ${quiet} and the slowdown in ${found} of ${runs} runs; needed: ${needed} of each`);
  return fit && Math.min(quiet, found) >= needed ? 0 : 1;
}

await main(async () => {
  let exitCode = 0;
  const program = new Command('compare_trial')
    .description('Tries `bench compare --interleave` on the same commit and on a kernel that is 10 % slower.')
    .option('--runs <n>', 'runs of each', integerFrom(1), 20)
    .option('--adapter <name>', 'part of the name of the adapter to use (also DAYBREAK_ADAPTER)')
    .action(async (options: Options) => {
      exitCode = await tryAll(options);
    });
  return (await runCommands(program)) || exitCode;
});
