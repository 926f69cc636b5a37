import { Command, InvalidArgumentError, Option } from 'commander';
import { adapter, dtype, int8, noInt8, noTune, noVerify, positive, variant } from '../../bench/options.ts';
import { integerFrom, oneLine, versionOf } from '../../bench/report.ts';
import { DEFAULT_FORMATS } from '../../model/checkpoint/config.ts';
import { interruptible } from './interrupt.ts';

/** Exit codes; INTERRUPTED is another. */
export const [DONE, FAILED, USAGE] = [0, 1, 2];

/** What came of a command, and whether errors are to show where they come from. */
export interface Told {
  code: number;
  verbose: boolean;
}

const EXIT_CODES = `
Exit codes: 0 done, 1 an error of files, model or device (of tune and info also: a variant that computes wrong),
2 a command line that cannot be, 130 interrupted (Ctrl-C).
NO_COLOR and FORCE_COLOR decide about colours, DAYBREAK_ADAPTER about the adapter; DAYBREAK_DEBUG=1 shows where an error comes from.`;

const EXAMPLES = {
  all: `
Examples:
  npx daybreak ask --model DIR --image page.png "What does it say?"
  npx daybreak chat --model DIR
  npx daybreak COMMAND --help
${EXIT_CODES}`,
  ask: `
The answer goes to standard output, all else to standard error: adapter, reasoning, counts and times. On a terminal control
characters of the answer are shown as escapes (\\u001b); a file or a pipe gets them as they are. Ctrl-C ends the answer with what
there is (exit code 130; with --json the object, whose finishReason is abort); twice, it ends at once.

Examples:
  npx daybreak ask --model DIR --image page.png --image chart.jpg "What changed between these two?"
  npx daybreak ask --model DIR --image a.png "Is <image> a cat? Answer yes or no." > answer.txt
  git diff | npx daybreak ask --model DIR --mode nothink -
  npx daybreak ask --model DIR --json --temperature 0.8 --seed 3 "Name a colour." | jq .answer`,
  chat: `
Each line is a message; /help lists the commands: /image PATH, /mode think|nothink|auto, /reset, /exit. What a turn has in
common with those before it is not computed again. Lines may also come from a pipe; then exit code 1 says that one of them failed.

Examples:
  npx daybreak chat --model DIR
  printf '/image page.png\\nWhat is this?\\nAnd who wrote it?\\n' | npx daybreak chat --model DIR --mode nothink`,
  info: `
Examples:
  npx daybreak info
  npx daybreak info --adapter llvmpipe --json | jq .limits`,
  quantize: `
Examples:
  npx daybreak quantize --model DIR --out DIR4
  npx daybreak quantize --model DIR --out DIR8 --lm-head bf16 --group 32`,
  synthesize: `
Examples:
  npx daybreak synthesize --shape 15b --format int4 --out DIR --seed 1     # 8.5 GiB
  npx daybreak synthesize --shape FOLDER_WITH_CONFIG --format bf16 --out DIR`,
  tune: `
For each problem of the model every variant that the device can run is checked against float64 first, with the pipelines that would
compute it, in buffers with guards behind them; one that is wrong or does not compile is named, and never used there. Those that are
right take turns, with weights that come out of memory; on a CPU with smaller matrices. What was usual stays unless another saves 3 %.
The result is kept in the user's cache folder for this adapter, driver and kernels as they are now; daybreak info shows it.

Examples:
  npx daybreak tune
  npx daybreak tune --model DIR --formats int4 --dtypes f16
  npx daybreak tune --seconds 600 --write kernels/measured/llvmpipe_25.ts     # a table that comes with the project`,
};

/** The command line. An action loads only the code of its own command; what came of it is in `told`. */
export function commands(told: Told): Command {
  const program = new Command('daybreak')
    .description(
      'Run Phi-4-reasoning-vision-15B on any GPU with Vulkan, Metal or D3D12, and on the CPU where there is none.',
    )
    .version(versionOf('daybreak'))
    .addHelpText('after', EXAMPLES.all);
  addAsk(program, told);
  addChat(program, told);
  addInfo(program, told);
  addQuantize(program, told);
  addSynthesize(program, told);
  addTune(program, told);
  for (const command of program.commands) {
    command.option('--verbose', 'more on standard error: the memory that a model takes, where an error comes from');
    command.addHelpText('after', EXAMPLES[command.name() as keyof typeof EXAMPLES]);
  }
  program.hook('preAction', (_, command) => {
    told.verbose ||= Boolean(command.opts().verbose);
  });
  return oneLine(program);
}

function addAsk(program: Command, told: Told): void {
  const command = program
    .command('ask')
    .description('Ask about pictures; without <image> in the question the pictures come first.')
    .argument(
      '<question>',
      'the question, - reads it from standard input; <image> marks where a picture belongs, \\<image> is the text <image>',
    )
    .option(
      '--image <file>',
      'a PNG or JPEG picture, with sharp also WebP, GIF, TIFF or AVIF; may be repeated',
      collect,
    )
    .option('--release-vision', 'free the weights that encode pictures before memory goes to the KV cache')
    .option('--json', 'print one JSON object at the end instead of text as it comes');
  answerOptions(command).action(async (question, options) => {
    const signal = interruptible(); // also while its code is loaded
    told.code = await (await import('./ask.ts')).ask(question, options, signal);
  });
}

function addChat(program: Command, told: Told): void {
  const command = program
    .command('chat')
    .description('Talk with the model, line by line, about pictures and what was said.');
  answerOptions(command).action(async (options) => {
    told.code = await (await import('./chat.ts')).chat(options);
  });
}

/** The options of `ask` and `chat` about the model and how it answers. */
function answerOptions(command: Command): Command {
  return command
    .requiredOption('--model <dir>', 'model folder')
    .option('--upright', 'turn pictures that are stored sideways, as most phones do')
    .addOption(
      new Option('--mode <mode>', 'whether the model thinks before it answers; auto: as it likes')
        .choices(['auto', 'think', 'nothink'])
        .default('auto'),
    )
    .option(
      '--context <n>',
      'positions of prompt and answer together (default: 16384 or what the model has)',
      integerFrom(1),
    )
    .option('--max-tokens <n>', 'longest answer (default: 4096)', integerFrom(1))
    .option('--temperature <t>', 'above 0: draw tokens by chance', Number, 0)
    .option('--top-k <n>', 'draw from the n likeliest only, 0: all (default: as generation_config.json says)', Number)
    .option('--top-p <p>', 'draw from the likeliest that reach p (default: as generation_config.json says)', Number)
    .option('--seed <n>', 'the same seed gives the same answer', Number, 0)
    .addOption(adapter())
    .addOption(dtype())
    .addOption(int8())
    .addOption(noInt8())
    .addOption(variant().argParser(collect))
    .addOption(noTune())
    .addOption(new Option('--quantize <format>', 'quantise the weights while they load').choices(['int4']))
    .addOption(new Option('--group <n>', 'columns that share a scale (default: 64)').choices(['32', '64', '128']))
    .addOption(noVerify());
}

function addInfo(program: Command, told: Told): void {
  program
    .command('info')
    .description(
      'What there is to compute on, and what would be used and why: adapters, features, limits, versions, variants.',
    )
    .addOption(adapter())
    .option('--json', 'print one JSON object')
    .action(async (options) => {
      told.code = await (await import('./info.ts')).info(options);
    });
}

function addQuantize(program: Command, told: Told): void {
  const choice = (flags: string, description: string, choices: string[], fallback: string) =>
    new Option(flags, description).choices(choices).default(fallback);
  const names = { q4: 'int4', q8: 'int8', f16: 'f16', bf16: 'bf16' } as const;
  const { group, head, embedding, vision } = DEFAULT_FORMATS;
  program
    .command('quantize')
    .description('Write a checkpoint with 4-bit weights; run it again after an interruption and it goes on.')
    .requiredOption('--model <dir>', 'model folder')
    .requiredOption('--out <dir>', 'new folder for the quantised model')
    .addOption(choice('--group <n>', 'columns that share a scale', ['32', '64', '128'], String(group)))
    .addOption(choice('--lm-head <format>', 'format of lm_head', ['int4', 'int8', 'bf16'], names[head]))
    .addOption(choice('--embedding <format>', 'format of the embedding', ['int4', 'int8', 'bf16'], names[embedding]))
    .addOption(
      choice(
        '--vision <format>',
        'format of vision tower and projector',
        ['int4', 'int8', 'f16', 'bf16'],
        names[vision],
      ),
    )
    .addOption(adapter())
    .option('--host', 'quantise without a device: the same files, slowly')
    .action(async (options) => {
      told.code = await (await import('./quantize.ts')).quantize(options);
    });
}

function addSynthesize(program: Command, told: Told): void {
  program
    .command('synthesize')
    .description('Write a checkpoint of random weights, the same bytes for the same seed on every machine.')
    .requiredOption('--shape <shape>', '15b for the published sizes, or a folder with a config.json')
    .addOption(
      new Option('--format <format>', 'as published, or quantised').choices(['bf16', 'int4']).makeOptionMandatory(),
    )
    .requiredOption('--out <dir>', 'a new or empty folder')
    .option('--seed <n>', 'from 0 to 2^32 - 1', integerFrom(0), 0)
    .action(async (options) => {
      told.code = await (await import('./synthesize.ts')).synthesize(options);
    });
}

function addTune(program: Command, told: Told): void {
  program
    .command('tune')
    .description('Find out by measurement which variants of the kernels are right and fastest on a device.')
    .option('--model <dir>', "folder with the config.json of the model (default: the 15B model's)")
    .addOption(new Option('--formats <a,b>', 'of weights (default: int4,bf16)').argParser(some(['int4', 'bf16'])))
    .addOption(new Option('--dtypes <a,b>', 'of activations (default: f32,f16)').argParser(some(['f32', 'f16'])))
    .option(
      '--seconds <n>',
      'begin no further problem after so long (default: 300); every variant is checked once at least',
      positive,
    )
    .addOption(adapter())
    .option('--write <file>', 'write the table there, as kernels/measured/ has them, in place of keeping it')
    .option('--json <file>', 'write every sample and the environment as JSON lines')
    .action(async (options) => {
      told.code = await (await import('./tune.ts')).tune(options);
    });
}

const collect = (text: string, all: string[] = []) => [...all, text];

const some = (choices: readonly string[]) => (text: string) => {
  const given = text.split(',');
  if (given.every((part) => choices.includes(part))) return given;
  throw new InvalidArgumentError(`expected some of ${choices.join(', ')}`);
};
