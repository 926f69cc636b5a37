import type { Ceilings } from '../../bench/ceilings/measure.ts';
import { median, quantile } from '../../bench/measure.ts';
import { digits, environment, JsonLines, Table } from '../../bench/report.ts';
import { CEILING_FORMULA, ceilingShare, showShare } from '../../bench/roofline.ts';
import type { Clock, Repeats, Timing } from '../../bench/time_case.ts';
import type { Verdict } from '../../kernels/verify.ts';
import { type Device, type DispatchStep, type Grid, loadKernel, specialise } from '../../runtime/index.ts';
import { type Subject, showSubject, type Task } from './task.ts';
import { workgroupMemory } from './workgroup_memory.ts';

/** Prints the rows of one run as they come, and writes them as JSON lines. */
export class OpReport {
  /** Rows so far. */
  rows = 0;
  /** Names of variants with a row that is no time. */
  failed = new Set<string>();
  #json: JsonLines;
  #fixed: object;
  #clock: Clock;
  #ceilings: Ceilings;
  #table: Table;
  #width: number;
  #profiles: { title: string; timing: Timing }[] = [];

  constructor(
    device: Device,
    { spec, explicit }: Task,
    clock: Clock,
    { least, most }: Repeats,
    ceilings: Ceilings,
    json?: string,
  ) {
    this.#json = new JsonLines(json);
    this.#fixed = { ...environment(device), bench: 'op', op: spec.name };
    this.#clock = clock;
    this.#ceilings = ceilings;
    this.#width = Math.max(...spec.variants.map(({ name }) => name.length));
    console.log(`${spec.name}: ${spec.formula}`);
    console.log(
      `Checked against float64: ${explicit ? 'each row' : 'the quick cases'}; error: the largest over the largest value. ` +
        `${clock === 'gpu' ? 'GPU time, summed over dispatches' : 'Wall time from submit to done'}: median, p10, p90 ` +
        `of ${least} to ${most} runs.`,
    );
    console.log(CEILING_FORMULA);
    const times = { [`${clock} us`]: 9, p10: 8, p90: 8, 'GFLOP/s': 8, 'GB/s': 8, ceiling: 8 };
    const sizes = { 'wg bytes': 8, dispatches: 10, workgroups: 10 };
    this.#table = new Table({ variant: this.#width, error: 8, ...times, ...sizes, case: 0 });
  }

  /** A kernel that cannot be compiled, and why. */
  broken(name: string, subject: Subject, problem: string): void {
    this.#fail(name, subject, `DOES NOT COMPILE  ${showSubject(subject)}\n${problem}`, { problem });
  }

  /** A variant's row: its time if it was checked and is right. */
  outcome(name: string, subject: Subject, { verdicts, timing }: { verdicts: Verdict[]; timing?: Timing }): void {
    const wrong = verdicts.find(({ ok }) => !ok);
    if (wrong) {
      const { problem, maxError, relativeError } = wrong;
      const share = Number.isFinite(relativeError) ? `, ${digits(100 * relativeError)} % of the largest value` : '';
      const largest = Number.isNaN(maxError) ? '' : `; largest error ${digits(maxError)}${share}`;
      const text = `WRONG  ${wrong.case}: ${problem}${largest}`;
      this.#fail(name, subject, text, { problem, maxError, wrongCase: wrong.case });
    } else if (timing) {
      this.#timed(name, subject, Math.max(...verdicts.map((verdict) => verdict.relativeError)), timing);
    } else {
      const problem = 'none of its cases takes this variant';
      this.#fail(name, subject, `UNCHECKED  ${problem}`, { problem });
    }
  }

  /** One table per timed row, with a row per dispatch. */
  printProfiles(): void {
    for (const { title, timing } of this.#profiles) {
      console.log(`\nDispatches of ${title}`);
      printProfile(timing, this.#ceilings);
    }
  }

  #fail(name: string, subject: Subject, text: string, row: object): void {
    this.rows++;
    this.failed.add(name);
    console.log(`${name.padEnd(this.#width)}  ${text}`);
    this.#write(name, subject, row);
  }

  #timed(name: string, subject: Subject, error: number, timing: Timing): void {
    this.rows++;
    const { micros, flops, bytes, dispatches } = timing;
    const sizes = dispatches.map(memoryOf);
    const workgroupBytes = sizes.includes(undefined) ? undefined : Math.max(0, ...sizes.map((size) => size!));
    const workgroups = dispatches.reduce((sum, dispatch) => sum + count(dispatch.workgroups), 0);
    const shown = showSubject(subject);
    const share = ceilingShare(this.#ceilings, dispatches, median(micros));
    const times = [...spread(micros, { flops, bytes }), showShare(share)];
    this.#table.row([name, digits(error), ...times, workgroupBytes ?? '-', dispatches.length, workgroups, shown]);
    this.#profiles.push({ title: `${name} ${shown}`, timing });
    const work = { flops, bytes, ceilingShare: share, workgroupBytes, dispatches: dispatches.length, workgroups };
    this.#write(name, subject, { clock: this.#clock, micros, ...work, error });
  }

  #write(variant: string, { c, constants }: Subject, row: object): void {
    this.#json.write({ ...this.#fixed, variant, case: c, constants, ...row });
  }
}

function printProfile({ dispatches, rows }: Timing, ceilings: Ceilings): void {
  const width = Math.max(...dispatches.map(({ kernel }) => kernel.name.length));
  const times = { 'gpu us': 9, p10: 8, p90: 8, 'GFLOP/s': 8, 'GB/s': 8, ceiling: 8 };
  const table = new Table({ kernel: width, share: 6, ...times, 'wg bytes': 8, workgroups: 12 });
  const samples = dispatches.map((_, i) => rows.map((row) => row[i]!.micros));
  const total = samples.reduce((sum, micros) => sum + median(micros), 0);
  dispatches.forEach((dispatch, i) => {
    const middle = median(samples[i]!);
    const share = `${Math.round((100 * middle) / total)} %`;
    const ceiling = showShare(ceilingShare(ceilings, [dispatch], middle));
    const sizes = [memoryOf(dispatch) ?? '-', dispatch.workgroups.join('x')];
    table.row([dispatch.kernel.name, share, ...spread(samples[i]!, dispatch.cost), ceiling, ...sizes]);
  });
}

/** Median, p10 and p90, and the rates of the median. */
function spread(micros: readonly number[], { flops, bytes }: { flops: number; bytes: number }): string[] {
  const middle = median(micros);
  return [middle, quantile(micros, 0.1), quantile(micros, 0.9), flops / middle / 1e3, bytes / middle / 1e3].map(digits);
}

function memoryOf(dispatch: DispatchStep): number | undefined {
  return workgroupMemory(specialised(dispatch));
}

function specialised({ kernel, constants = {} }: DispatchStep): string {
  const { text, reflection } = loadKernel(kernel);
  return specialise(text, `${kernel.name}.wgsl`, reflection, constants);
}

function count(grid: Grid): number {
  return grid.reduce<number>((product, size) => product * (size ?? 1), 1);
}

/** A dispatch's specialised module, unless it has been printed, with the line numbers that the compiler counts. */
export function printSource(dispatch: DispatchStep, printed: Set<string>): void {
  const title = `${dispatch.kernel.name}.wgsl ${JSON.stringify(dispatch.constants)}`;
  if (printed.has(title)) return;
  printed.add(title);
  console.log(`-- ${title}`);
  const lines = specialised(dispatch).trimEnd().split('\n');
  for (const [i, line] of lines.entries()) console.log(`${String(i + 1).padStart(4)}  ${line}`.trimEnd());
}
