import { writeFileSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import { median } from '../bench/measure.ts';
import { openAdapter } from '../bench/open.ts';
import { assertWritable, digits, environment, JsonLines, main, runCommands, Table } from '../bench/report.ts';
import { everything, showWrong, type TunedProblem, tune } from '../bench/tune.ts';
import { familyOf, keepMeasured, type MeasuredTable } from '../kernels/measured.ts';
import { loadConfig } from '../model/index.ts';
import type { Variant } from '../runtime/index.ts';

interface TuneCommand {
  model?: string;
  formats?: ('int4' | 'bf16')[];
  dtypes?: ('f32' | 'f16')[];
  seconds?: number;
  adapter?: string;
  write?: string;
  json?: string;
}

const MORE = `
For each problem of the model every variant that the device can run is checked against float64 first, with the pipelines that would
compute it, in buffers with guards behind them; one that is wrong or does not compile is named, and never used there. Those that are
right take turns, with weights that come out of memory; on a CPU with smaller matrices. What was usual stays unless another saves 3 %.
The result is kept in the user's cache folder for this adapter, driver and kernels as they are now; npm run bench -- doctor shows it.

  npm run tune
  npm run tune -- --model DIR --formats int4 --dtypes f16
  npm run tune -- --seconds 600 --write kernels/measured/llvmpipe_25.ts     # a table that comes with the project

Exit code 0: all variants right, 1: one is wrong, 2: usage or environment.`;

/** Tunes, prints the problems as they come, and keeps the result. Returns the exit code. */
async function run({ adapter, write, model, json, ...given }: TuneCommand): Promise<number> {
  const rows = new JsonLines(json);
  if (write) assertWritable('--write', write);
  const options = { ...everything(), ...given, ...(model && { config: loadConfig(model) }) };
  const device = await openAdapter(adapter);
  const table = new Table({ problem: 34, 'median us': 10, 'as usual': 10, fastest: 0 });
  const env = environment(device);
  const { ops, problems, left, seconds } = await tune(device, options, (tuned) => {
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
  if (write) writeFileSync(write, tableModule({ ...familyOf(device), ops }));
  const file = write ?? keepMeasured(device, ops);
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

const some = (choices: readonly string[]) => (text: string) => {
  const given = text.split(',');
  if (given.every((part) => choices.includes(part))) return given;
  throw new InvalidArgumentError(`expected some of ${choices.join(', ')}`);
};

function seconds(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < Number.POSITIVE_INFINITY)) throw new InvalidArgumentError('expected a number above 0');
  return value;
}

await main(async () => {
  let exitCode = 0;
  const program = new Command('tune')
    .description('Find out by measurement which variants of the kernels are right and fastest on a device.')
    .option('--model <dir>', "folder with the config.json of the model (default: the 15B model's)")
    .addOption(new Option('--formats <a,b>', 'of weights (default: int4,bf16)').argParser(some(['int4', 'bf16'])))
    .addOption(new Option('--dtypes <a,b>', 'of activations (default: f32,f16)').argParser(some(['f32', 'f16'])))
    .option(
      '--seconds <n>',
      'begin no further problem after so long (default: 300); every variant is checked once at least',
      seconds,
    )
    .option('--adapter <name>', 'part of the name of the adapter to use (also DAYBREAK_ADAPTER)')
    .option('--write <file>', 'write the table there, as kernels/measured/ has them, in place of keeping it')
    .option('--json <file>', 'write every sample and the environment as JSON lines')
    .addHelpText('after', MORE)
    .action(async (options: TuneCommand) => {
      exitCode = await run(options);
    });
  return (await runCommands(program)) || exitCode;
});
