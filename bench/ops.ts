import { Random, showCase } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { runnable, verifyQuick } from '../kernels/verify.ts';
import { type Device, type Kernel, openDevice, UsageError } from '../runtime/index.ts';
import { waitGently } from './gentle.ts';
import { median } from './measure.ts';
import { digits, environment, JsonLines, printDevice, Table } from './report.ts';
import { type Repeats, timeCase } from './time_case.ts';

/** Options of `bench ops`. */
export interface OpsOptions {
  adapter?: string;
  json?: string;
}

const REPEATS: Repeats = { least: 3, most: 7, millis: 4000 };

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
  console.log(
    `Median GPU time of up to ${REPEATS.most} runs after one warm-up; flops and bytes as the op declares them.`,
  );
  const json = new JsonLines(options.json);
  const table = new Table({ kernel: 30, 'median us': 10, 'GFLOP/s': 8, 'GB/s': 8, shape: 0 });
  let wrong = 0;
  for (const spec of chosen) {
    for (const variant of spec.variants.filter((kernel) => canRun(device, kernel))) {
      const verdict = (await verifyQuick(device, spec, variant)).find(({ ok }) => !ok);
      if (verdict) {
        wrong++;
        table.row([variant.name, `WRONG: ${verdict.case}: ${verdict.problem}`]);
        continue;
      }
      for (const c of spec.bench.filter((candidate) => runnable(device, spec, candidate).includes(variant))) {
        const inputs = spec.inputs(c, new Random(1));
        const { micros, flops, bytes } = await timeCase(device, spec, c, variant.name, inputs, REPEATS, 'gpu');
        const middle = median(micros);
        const rates = [flops / middle / 1e3, bytes / middle / 1e3];
        table.row([variant.name, digits(middle), ...rates.map(digits), showCase(c)]);
        const row = { bench: 'ops', kernel: variant.name, shape: c, micros, flops, bytes };
        json.write({ ...environment(device), ...row });
      }
    }
  }
  return wrong === 0 ? 0 : 1;
}

function canRun(device: Device, kernel: Kernel): boolean {
  return (kernel.needs ?? []).every((feature) => device.features.has(feature));
}
