import { Command, InvalidArgumentError } from 'commander';
import { main, runCommands } from '../bench/report.ts';
import { showIsa } from './isa/report.ts';
import { runOp } from './op/run.ts';
import { chooseTask, type OpOptions } from './op/task.ts';
import { watchOp } from './op/watch.ts';

const MORE = `
Each variant is compared with float64 first, in buffers of NaN with guards behind them; a wrong one shows no time.
Without --case the op's quick cases are checked and its bench shapes timed; else the given case is checked and timed.
Times are GPU timestamps, or wall time where the adapter has none; flops and bytes are what the op declares. "wg bytes"
is the workgroup memory of the largest dispatch, "-" where it cannot be worked out from the source. A constant under
--sweep changes the WGSL alone: where the op's grid depends on it, the row is WRONG.

  npm run op -- rms_norm
  npm run op -- rms_norm --case rows=3,cols=101 --variant all --profile
  npm run op -- matmul --case rows=1 --sweep inner=1024,2048,4096
  npm run op -- rms_norm --case rows=64 --variant rms_norm --sweep WG=32,64,128
  npm run op -- rms_norm --case rows=1,cols=8 --watch
  npm run op -- matmul --case rows=1,weights=q4,from=i8 --isa navi31
  npm run op -- rms_norm/rms_norm rows=3,cols=101,as=f32     # the line that a failing test or fuzz case prints

Exit code 0: right, 1: wrong or no kernel that compiles, 2: usage or environment.`;

function integer(text: string): number {
  const value = Number(text);
  if (text === '' || !Number.isInteger(value)) throw new InvalidArgumentError('expected an integer');
  return value;
}

await main(async () => {
  let exitCode = 0;
  const program = new Command('op')
    .description("A kernel author's loop: is one op right, how fast is it, and where does the time go.")
    .argument('<name>', 'the op, or one of its variants as op/variant')
    .argument('[case]', 'the same as --case')
    .option('--case <k=v,...>', "fields of a case; the others are those of the op's first bench shape")
    .option('--variant <v>', "a variant's name, or 'all' (default: what the device would choose)")
    .option('--sweep <K=v,...>', "one row per value of a field of the case, or of a constant in the variant's WGSL")
    .option('--seed <n>', 'the same seed gives the same inputs', integer, 1)
    .option('--all', 'on a CPU time also the bench shapes that take long there')
    .option('--profile', 'one row per dispatch')
    .option('--print-wgsl', 'print the specialised source, numbered as the compiler counts')
    .option(
      '--isa [family]',
      "instead: registers, spills and instructions of each dispatch as an AMD card's compiler makes them; without a card navi31, navi21, navi10 or vega10",
    )
    .option('--watch', "run again when a file of the op's folder or of kernels/lib changes; Ctrl-C ends it")
    .option('--adapter <name>', 'part of the name of the adapter to use (also DAYBREAK_ADAPTER)')
    .option('--json <file>', 'write every sample and the environment as JSON lines')
    .addHelpText('after', MORE)
    .action(async (name: string, text: string | undefined, options: OpOptions) => {
      const task = chooseTask(name, text, options);
      if (options.watch) exitCode = await watchOp(task.spec.name);
      else exitCode = await (options.isa ? showIsa : runOp)(task, options);
    });
  return (await runCommands(program)) || exitCode;
});
