import { type Case, type OpSpec, Random, showCase } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { planCase, runnable, verifyCase } from '../kernels/verify.ts';
import { type Device, type Kernel, openDevice, type ProfileRow, UsageError } from '../runtime/index.ts';
import { waitGently } from './gentle.ts';
import { median } from './measure.ts';
import { digits, environment, JsonLines, printDevice, Table } from './report.ts';

/** Options of `bench ops`. */
export interface OpsOptions {
  adapter?: string;
  json?: string;
}

const SAMPLES = 7;
const BUDGET_MILLIS = 4000;

/**
 * Times every spec's bench shapes with every variant by GPU timestamps; a variant whose quick cases differ from
 * float64 prints WRONG and no time. Returns the exit code: 0 all right, 1 a wrong one.
 */
export async function ops(name: string | undefined, options: OpsOptions): Promise<number> {
  const chosen = specs.filter((spec) => !name || spec.name === name);
  if (chosen.length === 0) {
    throw new UsageError(`ops: expected one of ${specs.map((spec) => spec.name).join(', ')}, got '${name}'`);
  }
  const device = await openDevice({ adapter: options.adapter });
  printDevice(device);
  waitGently(device);
  console.log(`Median GPU time of up to ${SAMPLES} runs after one warm-up; flops and bytes as the op declares them.`);
  const json = new JsonLines(options.json);
  const table = new Table({ kernel: 30, 'median us': 10, 'GFLOP/s': 8, 'GB/s': 8, shape: 0 });
  let wrong = 0;
  for (const spec of chosen) {
    for (const variant of spec.variants.filter((kernel) => canRun(device, kernel))) {
      const problem = await verifyVariant(device, spec, variant);
      if (problem) {
        wrong++;
        table.row([variant.name, `WRONG: ${problem}`]);
        continue;
      }
      for (const c of spec.bench.filter((candidate) => runnable(device, spec, candidate).includes(variant))) {
        const samples = await time(device, spec, c, variant.name);
        const micros = median(samples.map(({ micros }) => micros));
        const rates = [samples[0]!.flops / micros / 1e3, samples[0]!.bytes / micros / 1e3];
        table.row([variant.name, digits(micros), ...rates.map(digits), showCase(c)]);
        const row = { bench: 'ops', kernel: variant.name, shape: c, micros: samples.map((sample) => sample.micros) };
        json.write({ ...environment(device), ...row, flops: samples[0]!.flops, bytes: samples[0]!.bytes });
      }
    }
  }
  return wrong === 0 ? 0 : 1;
}

function canRun(device: Device, kernel: Kernel): boolean {
  return (kernel.needs ?? []).every((feature) => device.features.has(feature));
}

/** The first problem among a variant's quick cases, or nothing. */
async function verifyVariant(device: Device, spec: OpSpec, variant: Kernel): Promise<string> {
  for (const c of spec.cases.filter((candidate) => candidate.quick)) {
    if (!runnable(device, spec, c).includes(variant)) continue;
    const { problem } = await verifyCase(device, spec, c, variant.name);
    if (problem) return `${showCase(c)}: ${problem}`;
  }
  return '';
}

/** Sums of the op's dispatches, one per run. */
async function time(device: Device, spec: OpSpec, c: Case, variant: string): Promise<ProfileRow[]> {
  const { plan, tensors } = await planCase(device, spec, c, variant, spec.inputs(c, new Random(1)));
  await plan.profile();
  const samples: ProfileRow[] = [];
  const start = performance.now();
  while (samples.length < SAMPLES && (samples.length < 3 || performance.now() - start < BUDGET_MILLIS)) {
    samples.push((await plan.profile()).reduce(add));
  }
  plan.dispose();
  for (const tensor of Object.values(tensors)) device.free(tensor.storage!);
  return samples;
}

function add(a: ProfileRow, b: ProfileRow): ProfileRow {
  return { ...a, micros: a.micros + b.micros, flops: a.flops + b.flops, bytes: a.bytes + b.bytes };
}
