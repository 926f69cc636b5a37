import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { timed } from '../../bench/measure.ts';
import { progressBar } from '../../bench/progress.ts';
import { digits } from '../../bench/report.ts';
import { type SyntheticFormat, synthesizeCheckpoint } from '../../model/index.ts';

/** Options of `synthesize`. */
export interface SynthesizeCommand {
  shape: string;
  format: SyntheticFormat;
  out: string;
  seed: number;
}

/** Where the tokenizer of shapes without one is: beside the command in the package, in a checkout that of the tiny checkpoint. */
const TEXT_SIDE = ['text_side', '../../bench/reference/tiny'].map((path) =>
  fileURLToPath(new URL(path, import.meta.url)),
);

/** Writes a synthetic checkpoint and says how fast. */
export async function synthesize({ shape, format, out, seed }: SynthesizeCommand): Promise<number> {
  const textSide = TEXT_SIDE.find((folder) => existsSync(folder))!;
  const bar = progressBar('writing', { bytes: true });
  const write = () => synthesizeCheckpoint(out, { shape, format, seed, textSide, progress: bar.update });
  const { result, millis } = await timed(write).finally(bar.stop);
  const bytes = result.reduce((sum, info) => sum + info.bytes, 0);
  const rate = digits(bytes / 1e3 / millis);
  console.log(`${out}: ${result.length} tensors, ${bytes} bytes in ${digits(millis / 1000)} s, ${rate} MB/s`);
  return 0;
}
