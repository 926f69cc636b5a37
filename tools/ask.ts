import { Command, InvalidArgumentError, Option } from 'commander';
import { waitGently } from '../bench/gentle.ts';
import { digits, main, printDevice, progressBar, runCommands } from '../bench/report.ts';
import { checkSampling, generate, type Mode, Phi4Vision, Processor, readImage } from '../model/index.ts';
import { openDevice } from '../runtime/index.ts';

interface AskOptions {
  model: string;
  image: string[];
  mode: Mode;
  context?: number;
  maxTokens?: number;
  temperature: number;
  topK?: number;
  topP?: number;
  seed: number;
  adapter?: string;
  dtype: 'f32' | 'f16';
  json?: boolean;
}

/** Answers one question about any number of pictures and prints the answer as it comes. */
async function ask(question: string, options: AskOptions): Promise<void> {
  const processor = Processor.load(options.model);
  const images = await Promise.all(options.image.map(readImage));
  const content = question.includes('<image>') ? question : '<image>\n'.repeat(images.length) + question;
  const sampling = { ...processor.config.sampling, ...definedOnly(options) };
  checkSampling(sampling);
  const prompt = processor.prepare([{ role: 'user', content }], images, options);
  const device = await openDevice({ adapter: options.adapter });
  if (!options.json) printDevice(device);
  waitGently(device);
  const bar = progressBar('loading');
  const load = Phi4Vision.load(device, options.model, { dtype: options.dtype, progress: bar.update });
  const model = await load.finally(bar.stop);
  const onText = options.json ? undefined : (text: string) => process.stdout.write(text);
  const answer = await generate(model, processor, prompt, { maxTokens: options.maxTokens, sampling, onText });
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

/** The sampling settings that were given. */
function definedOnly({ temperature, topK, topP, seed }: AskOptions) {
  return { temperature, seed, ...(topK !== undefined && { topK }), ...(topP !== undefined && { topP }) };
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('expected an integer from 1 on');
  return value;
}

await main(() => {
  const program = new Command('ask')
    .description('Ask the model about pictures; without <image> in the question the pictures come first.')
    .argument('<question>', 'the question; <image> marks where a picture belongs')
    .requiredOption('--model <dir>', 'model folder')
    .option('--image <file>', 'a PNG or JPEG picture, may be repeated', (file, all: string[]) => [...all, file], [])
    .addOption(new Option('--mode <mode>', 'thinking').choices(['hybrid', 'think', 'nothink']).default('hybrid'))
    .option('--context <n>', 'positions of prompt and answer together (default: 16384 or what the model has)', positive)
    .option('--max-tokens <n>', 'longest answer (default: 4096)', positive)
    .option('--temperature <t>', 'above 0: draw tokens by chance', Number, 0)
    .option('--top-k <n>', 'draw from the n likeliest only, 0: all (default: as generation_config.json says)', Number)
    .option('--top-p <p>', 'draw from the likeliest that reach p (default: as generation_config.json says)', Number)
    .option('--seed <n>', 'the same seed gives the same answer', Number, 0)
    .option('--adapter <name>', 'part of the name of the adapter to use (also DAYBREAK_ADAPTER)')
    .addOption(
      new Option('--dtype <type>', 'storage of activations and KV cache').choices(['f32', 'f16']).default('f32'),
    )
    .option('--json', 'print one JSON object at the end instead of text as it comes')
    .action(ask);
  return runCommands(program);
});
