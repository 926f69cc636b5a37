import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import { timed } from '../bench/measure.ts';
import { digits, integerFrom, main, progressBar, runCommands } from '../bench/report.ts';
import { type SyntheticFormat, synthesizeCheckpoint } from '../model/index.ts';

interface Options {
  shape: string;
  format: SyntheticFormat;
  out: string;
  seed: number;
}

const TINY = fileURLToPath(new URL('../bench/reference/tiny', import.meta.url));

/** Writes a synthetic checkpoint and prints how fast. */
async function synthesize({ out, ...options }: Options): Promise<void> {
  const bar = progressBar('writing', { bytes: true });
  const write = () => synthesizeCheckpoint(out, { ...options, textSide: TINY, progress: bar.update });
  const { result, millis } = await timed(write).finally(bar.stop);
  const bytes = result.reduce((sum, info) => sum + info.bytes, 0);
  const rate = digits(bytes / 1e3 / millis);
  console.log(`${out}: ${result.length} tensors, ${bytes} bytes in ${digits(millis / 1000)} s, ${rate} MB/s`);
}

await main(() => {
  const formats: SyntheticFormat[] = ['bf16', 'int4'];
  const program = new Command('synthesize')
    .description('Write a checkpoint of random weights, the same bytes for the same seed on every machine.')
    .requiredOption('--shape <shape>', '15b for the published sizes, or a folder with a config.json')
    .addOption(new Option('--format <format>', 'as published, or quantised').choices(formats).makeOptionMandatory())
    .requiredOption('--out <dir>', 'a new or empty folder')
    .option('--seed <n>', 'from 0 to 2^32 - 1', integerFrom(0), 0)
    .action(synthesize);
  return runCommands(program);
});
