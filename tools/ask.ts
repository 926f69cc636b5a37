import { Command, Option } from 'commander';
import { showActivations } from '../bench/load.ts';
import { digits, integerFrom, main, printDevice, progressBar, runCommands } from '../bench/report.ts';
import { showMemoryPlan } from '../bench/show_memory.ts';
import { tuneOnce } from '../bench/tune.ts';
import { variantOption } from '../bench/variant_option.ts';
import {
  answerSteps,
  assertFits,
  Checkpoint,
  checkSampling,
  generate,
  hasImageMark,
  type LoadOptions,
  type Mode,
  Phi4Vision,
  Processor,
  planMemory,
  readImage,
  type Workload,
} from '../model/index.ts';
import { type Device, openDevice, UsageError } from '../runtime/index.ts';

interface AskOptions {
  model: string;
  image: string[];
  upright?: boolean;
  mode: Mode;
  context?: number;
  maxTokens?: number;
  temperature: number;
  topK?: number;
  topP?: number;
  seed: number;
  adapter?: string;
  dtype?: 'f32' | 'f16';
  quantize?: 'int4';
  group?: string;
  verify: boolean;
  int8Activations?: boolean;
  variant?: LoadOptions['variants'];
  tune: boolean;
  releaseVision?: boolean;
  json?: boolean;
}

/** Answers one question about any number of pictures and prints the answer as it comes. */
async function ask(question: string, options: AskOptions): Promise<void> {
  const load = loadOptions(options);
  const processor = Processor.load(options.model);
  const images = await Promise.all(options.image.map((path) => readImage(path, options)));
  const sideways = new Set(options.image.filter((_, i) => images[i]!.orientation !== 1));
  if (sideways.size) console.error(`note: ${[...sideways].join(', ')}: stored sideways; --upright turns it`);
  const content = hasImageMark(question) ? question : '<image>\n'.repeat(images.length) + question;
  const sampling = { ...processor.config.sampling, ...definedOnly(options) };
  checkSampling(sampling);
  const prompt = await processor.prepare([{ role: 'user', content }], images, options);
  const device = await openDevice({ adapter: options.adapter });
  if (!options.json) printDevice(device);
  await tuneOnce(device, options);
  const steps = answerSteps(prompt, options.maxTokens);
  Object.assign(load, { context: prompt.ids.length + steps - 1, pictureRows: 0 });
  const grids = prompt.pictures.map(({ grid }) => grid);
  const { releaseVision } = options;
  await checkMemory(device, options, processor, { load, sampled: sampling.temperature > 0, grids, releaseVision });
  const bar = progressBar('loading', { bytes: true });
  const model = await Phi4Vision.load(device, options.model, { ...load, progress: bar.update }).finally(bar.stop);
  if (!options.json) console.error(`model: ${showActivations(model)}`);
  for (const note of model.notes) console.error(`note: ${note}`);
  const onText = options.json ? undefined : (text: string) => process.stdout.write(text);
  const { maxTokens } = options;
  const answer = await generate(model, processor, prompt, { maxTokens, sampling, releaseVision, onText });
  if (options.json) {
    console.log(JSON.stringify({ adapter: device.name, ...answer }));
    return;
  }
  const { promptTokens, imageTokens, newTokens, finishReason, ttftMillis, tokensPerSecond } = answer;
  console.log(
    `\n\n${promptTokens} prompt tokens (${imageTokens} of pictures), ${newTokens} new tokens, finish reason ${finishReason}, ` +
      `TTFT ${digits(ttftMillis)} ms, ${digits(tokensPerSecond)} tokens/s`,
  );
}

/** Prints what the question takes, and throws OutOfMemoryError where it cannot fit. */
async function checkMemory(device: Device, { model, json }: AskOptions, { config }: Processor, workload: Workload) {
  const checkpoint = Checkpoint.open(model);
  try {
    for (const note of checkpoint.notes) console.error(`note: ${note}`);
    const plan = await planMemory(device, config, checkpoint, workload);
    if (!json) console.error(showMemoryPlan(plan));
    assertFits(device, plan);
  } finally {
    checkpoint.close();
  }
}

/** How the model is to be loaded. */
function loadOptions({ dtype, quantize, group, verify, int8Activations, variant }: AskOptions): LoadOptions {
  if (group && !quantize) throw new UsageError('--group: expected --quantize with it, got none; leave it out');
  return {
    dtype,
    verify,
    int8Activations,
    variants: variant,
    quantize: quantize && (group ? { group: Number(group) } : {}),
  };
}

/** The sampling settings that were given. */
function definedOnly({ temperature, topK, topP, seed }: AskOptions) {
  return { temperature, seed, ...(topK !== undefined && { topK }), ...(topP !== undefined && { topP }) };
}

await main(() => {
  const program = new Command('ask')
    .description('Ask the model about pictures; without <image> in the question the pictures come first.')
    .argument('<question>', 'the question; <image> marks where a picture belongs, \\<image> is the text <image>')
    .requiredOption('--model <dir>', 'model folder')
    .option(
      '--image <file>',
      'a PNG or JPEG picture, with sharp also WebP, GIF, TIFF or AVIF; may be repeated',
      (file, all: string[]) => [...all, file],
      [],
    )
    .option('--upright', 'turn pictures that are stored sideways, as most phones do')
    .addOption(new Option('--mode <mode>', 'thinking').choices(['hybrid', 'think', 'nothink']).default('hybrid'))
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
    .option('--adapter <name>', 'part of the name of the adapter to use (also DAYBREAK_ADAPTER)')
    .addOption(
      new Option(
        '--dtype <type>',
        'storage of activations and KV cache (default: f16 on a GPU that has it, else f32)',
      ).choices(['f32', 'f16']),
    )
    .option(
      '--int8-activations',
      'feed int4 and int8 weights activations of 8 bits, for integer dot products (default: on a GPU)',
    )
    .option('--no-int8-activations', 'feed them activations as they are stored')
    .addOption(variantOption())
    .option('--no-tune', 'do not measure what is fastest on an adapter that is not known yet')
    .addOption(new Option('--quantize <format>', 'quantise the weights while they load').choices(['int4']))
    .addOption(new Option('--group <n>', 'columns that share a scale (default: 64)').choices(['32', '64', '128']))
    .option('--no-verify', 'do not compare a quantised model with its checksums')
    .option('--release-vision', 'free the weights that encode pictures before memory goes to the KV cache')
    .option('--json', 'print one JSON object at the end instead of text as it comes')
    .action(ask);
  return runCommands(program);
});
