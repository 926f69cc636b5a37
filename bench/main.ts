import { Command, InvalidArgumentError, Option } from 'commander';
import { accuracy, type WeightsOf } from './accuracy.ts';
import { ceilings } from './ceilings.ts';
import { compare } from './compare.ts';
import { doctor } from './doctor.ts';
import { TINY } from './e2e/prompts.ts';
import { e2e } from './e2e.ts';
import { full } from './full.ts';
import { gpuDay } from './gpu_day.ts';
import { host } from './host.ts';
import { report } from './html.ts';
import { ops } from './ops.ts';
import { adapter, dtype, int8, noInt8, noTune, noVerify, positive, variant } from './options.ts';
import { PEERS, peers } from './peers.ts';
import { quality } from './quality.ts';
import { integerFrom, main, runCommands } from './report.ts';
import { speed } from './speed.ts';
import { addVariant } from './variant_option.ts';

const trace = () => new Option('--trace <file>', 'write a timeline for ui.perfetto.dev or chrome://tracing');
const repeats = () =>
  new Option('--repeats <n>', 'time everything so often, each time on a device of its own')
    .argParser(integerFrom(1))
    .default(1);
const html = () => new Option('--html <file>', 'write a report with plots, one file that needs no network');
const json = () => new Option('--json <file>', 'write every sample and the environment as JSON lines');

const synthetic = () =>
  new Option('--synthetic <shape>', "random weights in place of a model folder: '15b', or a folder with a config.json");
const format = () =>
  new Option('--format <format>', 'weights of a synthetic model').choices(['int4', 'bf16']).default('int4');
const seed = () => new Option('--seed <n>', 'seed of a synthetic model').argParser(Number).default(1);

function groups(text: string): number[] {
  return text.split(',').map((part) => {
    const group = Number(part);
    if (group === 32 || group === 64 || group === 128) return group;
    throw new InvalidArgumentError('expected some of 32, 64, 128');
  });
}

function weights(text: string): WeightsOf[] {
  return text.split(',').map((name) => {
    const [format, group = '64', ...rest] = name.split(':');
    if (name === 'none') return { name: 'as stored', quantize: undefined };
    if (!['int4', 'int8'].includes(format!) || !['32', '64', '128'].includes(group) || rest.length > 0)
      throw new InvalidArgumentError('expected some of none, int4, int8, each of the latter with :32, :64 or :128');
    return { name, quantize: { decoder: format === 'int4' ? 'q4' : 'q8', group: Number(group) } };
  });
}

function sizes(text: string): number[] {
  return text.split(',').map(integerFrom(0));
}

function names(text: string): string[] {
  return text.split(',');
}

/** A bench that loads a model, which may be synthetic, as it is told. */
function modelled(command: Command): Command {
  return command
    .option('--model <dir>', 'model folder', TINY)
    .addOption(synthetic())
    .addOption(format())
    .addOption(seed())
    .addOption(noVerify())
    .addOption(adapter())
    .addOption(dtype())
    .addOption(int8())
    .addOption(noInt8())
    .addOption(variant().argParser(addVariant))
    .addOption(noTune());
}

await main(async () => {
  let exitCode = 0;
  const run =
    <A extends unknown[]>(bench: (...args: A) => number | Promise<number>) =>
    async (...args: A) => {
      exitCode = await bench(...args);
    };
  const program = new Command('bench').description('Is it right, and how fast: benches of daybreak.');
  modelled(program.command('e2e', { isDefault: true }))
    .description('run prompts with pictures end to end and compare with a reference')
    .option('--reference <file>', 'reference file (default: expected.safetensors in the model folder)')
    .option('--cases', 'run the prompts of bench/cases')
    .option('--prompts <a,b>', 'only these prompts')
    .addOption(repeats())
    .addOption(json())
    .addOption(html())
    .addOption(trace())
    .action(run(e2e));
  modelled(program.command('speed'))
    .description("tokens per second of prefill and decode, in llama-bench's terms")
    .addOption(
      new Option('-p, --n-prompt <a,b>', 'prompt lengths (default: 512,1024,3856; on a CPU 512)').argParser(sizes),
    )
    .addOption(new Option('-n, --n-gen <n>', 'tokens to generate; 0: none').argParser(integerFrom(0)).default(128))
    .addOption(
      new Option(
        '-d, --n-depth <a,b>',
        'positions before those tokens (default: 0,4096,16384; on a CPU 0,1024)',
      ).argParser(sizes),
    )
    .addOption(new Option('--repeats <n>', 'time everything so often').argParser(integerFrom(1)).default(5))
    .addOption(json())
    .action(run(speed));
  program
    .command('ops')
    .description('time the kernels on the shapes of the 15B model')
    .argument('[name]', 'only this op')
    .option('--all', 'on a CPU time also the shapes that take long there')
    .addOption(adapter())
    .addOption(repeats())
    .addOption(json())
    .addOption(html())
    .addOption(trace())
    .action(run(ops));
  program
    .command('ceilings')
    .description('measure what the device can do at most, with every kernel there is for it')
    .addOption(adapter())
    .addOption(json())
    .action(run(ceilings));
  program
    .command('quality')
    .description('how far int4 weights move the distribution of the next token, by group and activations')
    .option('--model <dir>', 'model folder, not quantised', TINY)
    .option(
      '--reference <file>',
      'reference file whose prompts are run (default: expected.safetensors in the model folder)',
    )
    .option('--prompts <a,b>', 'only these prompts')
    .addOption(
      new Option('--groups <a,b>', 'columns that share a scale').argParser(groups).default([32, 64, 128], '32,64,128'),
    )
    .addOption(adapter())
    .addOption(json())
    .action(run(quality));
  program
    .command('accuracy')
    .description('how many questions of a file a model answers right, by task, mode and weights; see bench/accuracy')
    .requiredOption('--model <dir>', 'model folder')
    .option('--tasks <file>', 'questions, as JSON lines (default: tasks.jsonl in the model folder)')
    .option('--reference <file>', "another implementation's answers (default: answers.jsonl beside the questions)")
    .addOption(new Option('--only <a,b>', 'only these tasks').argParser(names))
    .addOption(
      new Option('--quantize <a,b>', 'weights: none, int4, int8, the latter also as int4:32')
        .argParser(weights)
        .default(weights('none'), 'none'),
    )
    .addOption(int8())
    .addOption(noInt8())
    .addOption(dtype())
    .addOption(variant().argParser(addVariant))
    .addOption(
      new Option('--max-tokens <n>', 'tokens of an answer at most, where the question does not say')
        .argParser(integerFrom(1))
        .default(512),
    )
    .addOption(noTune())
    .addOption(adapter())
    .addOption(json())
    .addOption(html())
    .action(run(accuracy));
  program
    .command('full')
    .description('load a full-size checkpoint, answer a picture, and compare layers with float64')
    .option('--model <dir>', "model folder (default: a synthetic one, written once to the user's cache folder)")
    .option('--synthetic <shape>', "its shape: '15b', or a folder with a config.json", '15b')
    .addOption(format())
    .addOption(seed())
    .option('--int8-activations', 'feed quantised weights activations of 8 bits')
    .addOption(noTune())
    .addOption(adapter())
    .addOption(json())
    .addOption(trace())
    .action(run(full));
  program
    .command('doctor')
    .description('what a model folder really holds: special tokens, configuration, tensors, activations')
    .requiredOption('--model <dir>', 'model folder')
    .addOption(adapter())
    .option('--no-run', 'do not load the model to look at its activations')
    .addOption(json())
    .action(run(doctor));
  program
    .command('gpu-day')
    .description('ten minutes with a GPU: is it right, and how fast, the most important first; see bench/GPU.md')
    .option('--out <dir>', 'folder for the answers', 'gpu-day')
    .option('--resume', 'go on where an earlier call was cut off')
    .addOption(
      new Option('--minutes <n>', 'for everything; what would take longer is left out').argParser(positive).default(8),
    )
    .addOption(synthetic().default('15b'))
    .addOption(adapter())
    .action(run(gpuDay));
  program
    .command('host')
    .description('time the work of the host: text, pictures, recording, planning, encoding')
    .argument('[task]', 'only this task')
    .option('--model <dir>', 'model folder', TINY)
    .addOption(new Option('--repeats <n>', 'time everything so often').argParser(integerFrom(1)).default(5))
    .addOption(adapter())
    .addOption(json())
    .addOption(trace())
    .action(run(host));
  program
    .command('peers')
    .description('time ONNX Runtime (installed on demand) beside our ops on the same adapter')
    .option('--op <name>', 'only this op')
    .addOption(new Option('--peer <name>', 'only this peer').choices(Object.keys(PEERS)))
    .option('--slow', 'also time what takes more than 3 s a run, and wait 10 minutes for a peer instead of 30 s')
    .addOption(adapter())
    .addOption(json())
    .action(run(peers));
  program
    .command('compare')
    .description('is it slower: the working tree against a commit')
    .requiredOption('--interleave <ref>', 'compare the working tree with this commit, taking turns in one run')
    .addOption(new Option('--ops <a,b>', 'only these ops, or variants as op/variant').argParser(names))
    .addOption(
      new Option('--e2e [prompts]', 'phases of prompts of the tiny checkpoint; alone: no ops').argParser(names),
    )
    .addOption(new Option('--minutes <n>', 'look for the last time after so long').argParser(positive).default(20))
    .addOption(adapter())
    .addOption(json())
    .option('--markdown <file>', "write a table for a pull request; '-': print it")
    .action(run(compare));
  program
    .command('report')
    .description('turn JSON lines of benches into one HTML page with plots')
    .argument('<rows...>', 'files of JSON lines')
    .requiredOption('--html <file>', 'the page to write')
    .action(run(report));
  return (await runCommands(program)) || exitCode;
});
