import type { ProfileRow } from '../../runtime/index.ts';
import type { ExpectedPrompt } from '../expected.ts';
import { median, quantile } from '../measure.ts';
import { digits, mebibytes, Table } from '../report.ts';
import type { RunVerdict, StageError } from '../verify.ts';
import { type Answer, showAnswer } from './answer.ts';
import type { MemorySample, Phase, PromptRun, PromptTimes } from './run.ts';

/** How the runs of a prompt came out; a row of the JSON lines. */
export interface PromptResult {
  prompt: string;
  positions: number;
  /** In words, where the model has a tokenizer. */
  answer: Answer | undefined;
  /** Whether everything compared is right; undefined where nothing was compared. */
  ok: boolean | undefined;
  tokens: { matched: number; ties: number; total: number };
  /** Errors of logits over their standard deviation. */
  maxErrorStd: number;
  meanErrorStd: number;
  stages: StageError[];
  runs: Record<string, RunVerdict>;
  /** The first stage whose values leave the bounds. */
  divergedAt: string | undefined;
  repeats: PromptTimes[];
  memory: MemorySample[];
  peakBytes: number;
  kernels: ({ phase: Phase } & Omit<ProfileRow, 'start'>)[];
  profile: Partial<Record<Phase, { gpuMicros: number; wallMicros: number }>>;
}

/** What the runs of a prompt came to; the first of them is compared and profiled. */
export function summarise(prompt: ExpectedPrompt, runs: readonly PromptRun[], answer?: Answer): PromptResult {
  const { stages, verdicts, memory, phases, positions } = runs[0]!;
  const all = Object.values(verdicts);
  const total = (key: 'matched' | 'ties' | 'steps') => all.reduce((sum, verdict) => sum + verdict[key], 0);
  const compared = stages.length > 0;
  const entries = Object.entries(phases) as [Phase, NonNullable<(typeof phases)[Phase]>][];
  return {
    prompt: prompt.name,
    positions,
    answer,
    ok: compared ? stages.every(({ ok }) => ok) && all.every(({ ok }) => ok) : undefined,
    tokens: { matched: total('matched'), ties: total('ties'), total: total('steps') },
    maxErrorStd: Math.max(0, ...all.map(({ maxErrorStd }) => maxErrorStd)),
    meanErrorStd: all.reduce((sum, { meanErrorStd }) => sum + meanErrorStd / all.length, 0),
    stages,
    runs: verdicts,
    divergedAt: stages.find(({ ok }) => !ok)?.stage ?? Object.keys(verdicts).find((name) => !verdicts[name]!.ok),
    repeats: runs.map(({ times }) => times),
    memory,
    peakBytes: Math.max(...memory.map(({ device }) => device)),
    kernels: entries.flatMap(([phase, { rows }]) => rows.map(({ start: _, ...row }) => ({ phase, ...row }))),
    profile: Object.fromEntries(
      entries.map(([phase, { rows, wallMicros }]) => [phase, { gpuMicros: gpuMicros(rows), wallMicros }]),
    ),
  };
}

function gpuMicros(rows: readonly ProfileRow[]): number {
  return rows.reduce((sum, { micros }) => sum + micros, 0);
}

/** Wrong steps that a row names. */
const STEPS_SHOWN = 8;

const COLUMNS = {
  prompt: 14,
  positions: 9,
  tokens: 9,
  'max err/std': 11,
  'mean err/std': 12,
  image: 7,
  vision: 8,
  TTFT: 8,
  'ms/token p50': 12,
  p90: 7,
  'peak MiB': 8,
};

/** The table of prompts; with several repeats each row is followed by how far their medians lie apart. */
export function promptTable(repeats: number): Table {
  const spread = { 'TTFT, ms/token of repeats': 30 };
  return new Table({ ...COLUMNS, ...(repeats > 1 && spread) });
}

/** A wrong row names the first stage that diverges and shows no time. */
export function printPrompt(table: Table, result: PromptResult): void {
  const { prompt, positions, repeats } = result;
  if (result.ok === false) {
    table.row([prompt, positions, ...agreement(result), `WRONG from ${result.divergedAt}: ${explain(result)}`]);
    return;
  }
  const over = (value: (times: PromptTimes) => number) => Math.round(median(repeats.map(value)));
  const times = [
    over((t) => t.imageMillis),
    over((t) => t.visionMillis),
    over((t) => t.ttftMillis),
    digits(median(repeats.map(({ stepMillis }) => median(stepMillis)))),
    digits(median(repeats.map(({ stepMillis }) => quantile(stepMillis, 0.9)))),
  ];
  table.row([prompt, positions, ...agreement(result), ...times, mebibytes(result.peakBytes), ...spread(repeats)]);
  if (result.answer) console.log(showAnswer(result.answer));
}

function agreement({ ok, tokens: { matched, ties, total }, maxErrorStd, meanErrorStd }: PromptResult): string[] {
  if (ok === undefined) return ['unchecked', '-', '-'];
  return [`${matched}/${total}${ties > 0 ? ` ${ties} tie` : ''}`, digits(maxErrorStd), digits(meanErrorStd)];
}

/** Smallest to largest of the repeats' own figures. */
function spread(repeats: readonly PromptTimes[]): string[] {
  if (repeats.length < 2) return [];
  const range = (values: number[]) => `${digits(Math.min(...values))} to ${digits(Math.max(...values))}`;
  const steps = repeats.map(({ stepMillis }) => median(stepMillis));
  return [`${range(repeats.map(({ ttftMillis }) => Math.round(ttftMillis)))}, ${range(steps)}`];
}

function explain({ stages, runs }: PromptResult): string {
  const stage = stages.find(({ ok }) => !ok);
  const wrong = Object.entries(runs).filter(([, { ok }]) => !ok);
  const logits = wrong.map(([name, { steps, relative, wrong, stepErrors, stepBounds }]) => {
    const past = stepErrors.filter((error, step) => !(error <= stepBounds[step]!)).length;
    const more = wrong.length > STEPS_SHOWN ? ` and ${wrong.length - STEPS_SHOWN} more` : '';
    const tokens = wrong.length > 0 ? `, wrong tokens at steps ${wrong.slice(0, STEPS_SHOWN).join(', ')}${more}` : '';
    return `${name}: ${past} of ${steps} steps out of bounds, relative logit error ${digits(relative)}${tokens}`;
  });
  return [...(stage ? [`relative error ${digits(stage.relative)}`] : []), ...logits].join('; ');
}

/** GPU time per phase beside the wall clock of the same run, and the slowest kernel. */
export function printProfile(results: readonly PromptResult[]): void {
  const profiled = results.filter(({ ok, kernels }) => ok !== false && kernels.length > 0);
  if (profiled.length === 0) return;
  console.log(
    '\nOne recorded run, slower than the times above: every dispatch has a timed pass of its own. GPU: their sum. Wall: the same run, of decode one token.',
  );
  const table = new Table({ prompt: 14, phase: 8, dispatches: 10, 'GPU ms': 9, 'wall ms': 9, share: 7, slowest: 40 });
  for (const { prompt, kernels, profile } of profiled) {
    for (const [phase, { gpuMicros, wallMicros }] of Object.entries(profile)) {
      const rows = kernels.filter((row) => row.phase === phase);
      const times = [gpuMicros / 1e3, wallMicros / 1e3].map(digits);
      const share = `${Math.round((100 * gpuMicros) / wallMicros)} %`;
      table.row([prompt, phase, rows.length, ...times, share, slowest(rows)]);
    }
  }
}

function slowest(rows: readonly { kernel: string; micros: number }[]): string {
  const sums = new Map<string, number>();
  for (const { kernel, micros } of rows) sums.set(kernel, (sums.get(kernel) ?? 0) + micros);
  const [name, micros] = [...sums].reduce((most, entry) => (entry[1] > most[1] ? entry : most));
  return `${name} ${Math.round((100 * micros) / [...sums.values()].reduce((a, b) => a + b, 0))} %`;
}
