import { type Case, type OpSpec, Random, showCase } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { runnable, verifyQuick } from '../kernels/verify.ts';
import { canRun, type Device, openDevice, UsageError, type Variant } from '../runtime/index.ts';
import type { Ceilings } from './ceilings/measure.ts';
import { reportCeilings } from './ceilings.ts';
import { writeHtmlReport } from './html.ts';
import { median } from './measure.ts';
import { openAdapter } from './open.ts';
import { progressBar } from './progress.ts';
import { assertWritable, digits, environment, JsonLines, Table } from './report.ts';
import { CEILING_FORMULA, ceilingShare, showShare } from './roofline.ts';
import { benchShapes, explainShapes } from './shapes.ts';
import { type Repeats, type Timing, timeCase } from './time_case.ts';
import { traced } from './trace.ts';

/** Options of `bench ops`. */
export interface OpsOptions {
  adapter?: string;
  repeats: number;
  json?: string;
  html?: string;
  trace?: string;
  /** Whether to time shapes too that take long on a CPU. */
  all?: boolean;
}

const RUNS: Repeats = { least: 3, most: 7, millis: 4000 };

/**
 * Times every spec's bench shapes with every variant by GPU timestamps, each repeat on a device of its own; a variant
 * whose quick cases differ from float64 prints WRONG and no time. Returns the exit code: 0 all right, 1 a wrong one.
 */
export async function ops(name: string | undefined, options: OpsOptions): Promise<number> {
  const { adapter, repeats, all = false } = options;
  const chosen = specs.filter((spec) => !name || spec.name === name);
  if (chosen.length === 0) {
    throw new UsageError(`ops: expected one of ${specs.map((spec) => spec.name).join(', ')}, got '${name}'`);
  }
  const first = await openAdapter(adapter);
  const json = new JsonLines(options.json);
  if (options.html) assertWritable('--html', options.html);
  const ceilings = await reportCeilings(first, json);
  console.log(`Median GPU time of up to ${RUNS.most} runs after one warm-up; flops and bytes as the op declares them.`);
  console.log(CEILING_FORMULA);
  explainShapes(first, chosen, all);
  const env = environment(first);
  const subjects = chosen.flatMap((spec) => subjectsOf(first, spec, all));
  const suite = new Suite(subjects, repeats, ceilings, (row) => json.write({ ...env, bench: 'ops', ...row }));
  for (let repeat = 0; repeat < repeats; repeat++) {
    const device = repeat === 0 ? first : await openDevice({ adapter });
    await traced(device, repeat === 0 ? options.trace : undefined, () => suite.run(device));
    device.dispose();
  }
  if (options.html) writeHtmlReport(options.html, json.rows);
  return suite.wrong ? 1 : 0;
}

/** One variant, the shapes to time it on, and the timings of each so far. */
interface Subject {
  spec: OpSpec;
  variant: Variant;
  shapes: { c: Case; timings: Timing[] }[];
  /** Why no time is shown. */
  problem?: string;
}

/** The variants and shapes of a bench, run once per repeat; rows appear as the last repeat gets to them. */
class Suite {
  #subjects: Subject[];
  #repeats: number;
  #ceilings: Ceilings;
  #write: (row: object) => void;
  #repeat = 0;
  #table: Table | undefined;

  constructor(subjects: Subject[], repeats: number, ceilings: Ceilings, write: (row: object) => void) {
    this.#subjects = subjects;
    this.#repeats = repeats;
    this.#ceilings = ceilings;
    this.#write = write;
  }

  /** Whether a variant is wrong. */
  get wrong(): boolean {
    return this.#subjects.some(({ problem }) => problem !== undefined);
  }

  /** One repeat on a device of its own; the first checks the variants. */
  async run(device: Device): Promise<void> {
    const first = this.#repeat === 0;
    this.#repeat++;
    const last = this.#repeat === this.#repeats;
    const spread = this.#repeats > 1 && { 'of repeats': 15 };
    const rates = { 'GFLOP/s': 8, 'GB/s': 8, ceiling: 8 };
    if (last) this.#table = new Table({ kernel: 30, 'median us': 10, ...spread, ...rates, shape: 0 });
    const bar = progressBar(`repeat ${this.#repeat} of ${this.#repeats}`);
    try {
      for (const [done, subject] of this.#subjects.entries()) {
        bar.update(done, this.#subjects.length);
        if (first) subject.problem = await findProblem(device, subject);
        if (!subject.problem) await this.#time(device, subject, (print) => last && bar.above(print));
        if (subject.problem && last) bar.above(() => this.#table!.row([subject.variant.name, subject.problem!]));
      }
    } finally {
      bar.stop();
    }
  }

  /** Times the shapes up to the first with a wrong result. */
  async #time(device: Device, subject: Subject, report: (print: () => void) => void): Promise<void> {
    const { spec, variant, shapes } = subject;
    for (const { c, timings } of shapes) {
      const inputs = spec.inputs(c, new Random(1));
      const timing = await timeCase(device, spec, c, variant.name, inputs, RUNS, 'gpu');
      if (timing.problem) {
        subject.problem = `WRONG: ${showCase(c)}: ${timing.problem}`;
        return;
      }
      timings.push(timing);
      report(() => this.#row(variant, c, timings));
    }
  }

  #row(variant: Variant, c: Case, timings: readonly Timing[]): void {
    const { flops, bytes, dispatches } = timings[0]!;
    const medians = timings.map(({ micros }) => median(micros));
    const middle = median(medians);
    const spread = medians.length > 1 ? [`${digits(Math.min(...medians))}-${digits(Math.max(...medians))}`] : [];
    const rates = [flops / middle / 1e3, bytes / middle / 1e3].map(digits);
    const share = showShare(ceilingShare(this.#ceilings, dispatches, middle));
    this.#table!.row([variant.name, digits(middle), ...spread, ...rates, share, showCase(c)]);
    const repeats = timings.map(({ micros }) => micros);
    this.#write({ kernel: variant.name, shape: c, repeats, flops, bytes, dispatches: dispatches.length });
  }
}

function subjectsOf(device: Device, spec: OpSpec, all: boolean): Subject[] {
  const able = spec.variants.filter(({ kernel }) => canRun(device, kernel));
  return able.map((variant) => {
    const shapes = benchShapes(device, spec, all).filter((c) => runnable(device, spec, c).includes(variant));
    return { spec, variant, shapes: shapes.map((c) => ({ c, timings: [] })) };
  });
}

/** How a variant's quick cases differ from float64; undefined where they do not. */
async function findProblem(device: Device, { spec, variant }: Subject): Promise<string | undefined> {
  const verdicts = await verifyQuick(device, spec, variant);
  if (verdicts.length === 0) return 'UNCHECKED: none of its cases takes this variant';
  const wrong = verdicts.find(({ ok }) => !ok);
  return wrong && `WRONG: ${wrong.case}: ${wrong.problem}`;
}
