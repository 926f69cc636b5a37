import { writeFileSync } from 'node:fs';
import { median } from '../../bench/measure.ts';
import { assertWritable, deviceLine, digits, environment, JsonLines, Table } from '../../bench/report.ts';
import { everything, tune as measure, showWrong, type TunedProblem } from '../../bench/tune.ts';
import { familyOf, keepMeasured, type MeasuredTable } from '../../kernels/measured.ts';
import { loadConfig } from '../../model/index.ts';
import { openDevice, type Variant } from '../../runtime/index.ts';
import { say } from './terminal.ts';

/** Options of `tune`. */
export interface TuneCommand {
  model?: string;
  formats?: ('int4' | 'bf16')[];
  dtypes?: ('f32' | 'f16')[];
  seconds?: number;
  adapter?: string;
  write?: string;
  json?: string;
}

/** Tunes, prints the problems as they come, and keeps what is known after each. Returns the exit code: 1 where a variant is wrong. */
export async function tune({ adapter, write, model, json, ...given }: TuneCommand): Promise<number> {
  const rows = new JsonLines(json);
  if (write) assertWritable('--write', write);
  const options = { ...everything(), ...given, ...(model && { config: loadConfig(model) }) };
  const device = await openDevice({ adapter });
  say(deviceLine(device));
  const table = new Table({ problem: 34, 'median us': 10, 'as usual': 10, fastest: 0 });
  const env = environment(device);
  const keep = (found: MeasuredTable['ops']) => {
    if (!write) return keepMeasured(device, found);
    writeFileSync(write, tableModule({ ...familyOf(device), ops: found }));
    return write;
  };
  const { ops, problems, left, seconds } = await measure(device, options, (known, tuned) => {
    keep(known);
    if (!tuned) return;
    table.row(cells(tuned));
    rows.write({ ...env, bench: 'tune', ...row(tuned) });
  });
  const wrong = showWrong(ops);
  for (const line of wrong) console.log(line);
  if (left > 0) console.log(`No time or no room for ${left} more problems; --seconds gives more time.`);
  console.log(
    `${problems.length} problems in ${digits(seconds.all)} s, ${digits(seconds.checks)} of them for compiling and checks`,
  );
  rows.write({
    ...env,
    bench: 'tune',
    wrong: Object.fromEntries(Object.entries(ops).map(([op, { wrong }]) => [op, wrong])),
    left,
    seconds,
  });
  const file = keep(ops);
  console.log(file ? `Kept in ${file}` : 'Not kept: the cache folder cannot be written');
  return wrong.length === 0 ? 0 : 1;
}

/** A table as kernels/measured/ has them. */
function tableModule(table: MeasuredTable): string {
  return `/** Written by npm run tune. */\nexport const table = ${JSON.stringify(table, undefined, 2)};\n`;
}

/** The problem, the time of the fastest variant and of the one that runs without a measurement, and who is not far behind. */
function cells({ op, problem, order, micros, usual }: TunedProblem): (string | number)[] {
  const time = (variant: Variant) => digits(median(micros.get(variant) ?? []));
  const names = order.map(({ name }) => name.slice(op.length + 1)).join(', ');
  return [`${op} ${problem}`, order[0] ? time(order[0]) : '-', time(usual), names || 'none'];
}

/** What was measured of a problem, with every sample. */
function row({ op, problem, order, micros, usual }: TunedProblem): object {
  const variants = order.map((variant) => ({ name: variant.name, micros: micros.get(variant) }));
  return { op, problem, usual: usual.name, variants };
}
