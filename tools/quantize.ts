import { Command, Option } from 'commander';
import { timed } from '../bench/measure.ts';
import { digits, main, printDevice, progressBar, runCommands, Table } from '../bench/report.ts';
import { DEFAULT_FORMATS, quantizeCheckpoint, quantizeOnDevice, type TensorReport } from '../model/index.ts';
import { openDevice } from '../runtime/index.ts';

const FORMAT_OF = { int4: 'q4', int8: 'q8', f16: 'f16', bf16: 'bf16' } as const;
const NAMES = { q4: 'int4', q8: 'int8', f16: 'f16', bf16: 'bf16' } as const;
const WORST = 10;

interface Options {
  model: string;
  out: string;
  group: string;
  lmHead: 'int4' | 'int8' | 'bf16';
  embedding: 'int4' | 'int8' | 'bf16';
  vision: keyof typeof FORMAT_OF;
  adapter?: string;
  host?: boolean;
}

/** Quantises a checkpoint and prints how its tensors came out. */
async function quantize({ model, out, adapter, host, ...options }: Options): Promise<void> {
  const formats = {
    group: Number(options.group),
    decoder: DEFAULT_FORMATS.decoder,
    head: FORMAT_OF[options.lmHead],
    embedding: FORMAT_OF[options.embedding],
    vision: FORMAT_OF[options.vision],
  };
  const device = host ? undefined : await openDevice({ adapter });
  if (device) printDevice(device);
  const bar = progressBar('quantising');
  let read = 0;
  const progress = (done: number, total: number) => {
    read = done;
    bar.update(done, total);
  };
  try {
    const run = () =>
      quantizeCheckpoint(model, out, { formats, progress, quantize: device && quantizeOnDevice(device) });
    const { result, millis } = await timed(run);
    bar.stop();
    report(result);
    const rate = digits(read / 1e3 / millis);
    console.log(`${out}: ${megabytes(read)} MB of the source in ${digits(millis / 1000)} s, ${rate} MB/s`);
  } finally {
    bar.stop();
    device?.dispose();
  }
}

function report(tensors: readonly TensorReport[]): void {
  const formats = new Table({ format: 8, tensors: 8, 'MB before': 10, 'MB after': 10, 'mean error': 10, largest: 10 });
  for (const format of [...new Set(tensors.map((tensor) => tensor.format)), 'all']) {
    const some = tensors.filter((tensor) => format === 'all' || tensor.format === format);
    const sum = (key: 'bytesBefore' | 'bytesAfter' | 'error') => some.reduce((total, tensor) => total + tensor[key], 0);
    const errors = [sum('error') / some.length, Math.max(...some.map(({ error }) => error))];
    formats.row([
      format,
      some.length,
      ...[sum('bytesBefore'), sum('bytesAfter')].map(megabytes),
      ...errors.map(digits),
    ]);
  }
  const worst = tensors.filter(({ error }) => error > 0).toSorted((a, b) => b.error - a.error);
  console.log('Errors are the root mean square error over the root mean square of the weights. The largest:');
  for (const { name, format, error } of worst.slice(0, WORST)) console.log(`  ${digits(error)}  ${format}  ${name}`);
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

await main(() => {
  const choice = (flags: string, description: string, choices: string[], fallback: string) =>
    new Option(flags, description).choices(choices).default(fallback);
  const { group, head, embedding, vision } = DEFAULT_FORMATS;
  const program = new Command('quantize')
    .description('Write a checkpoint with 4-bit weights; run it again after an interruption and it goes on.')
    .requiredOption('--model <dir>', 'model folder')
    .requiredOption('--out <dir>', 'new folder for the quantised model')
    .addOption(choice('--group <n>', 'columns that share a scale', ['32', '64', '128'], String(group)))
    .addOption(choice('--lm-head <format>', 'format of lm_head', ['int4', 'int8', 'bf16'], NAMES[head]))
    .addOption(choice('--embedding <format>', 'format of the embedding', ['int4', 'int8', 'bf16'], NAMES[embedding]))
    .addOption(
      choice(
        '--vision <format>',
        'format of vision tower and projector',
        ['int4', 'int8', 'f16', 'bf16'],
        NAMES[vision],
      ),
    )
    .option('--adapter <name>', 'part of the name of the adapter to use (also DAYBREAK_ADAPTER)')
    .option('--host', 'quantise without a device: the same files, slowly')
    .action(quantize);
  return runCommands(program);
});
