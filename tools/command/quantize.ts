import { timed } from '../../bench/measure.ts';
import { progressBar } from '../../bench/progress.ts';
import { deviceLine, digits, Table } from '../../bench/report.ts';
import { DEFAULT_FORMATS, quantizeCheckpoint, quantizeOnDevice, type TensorReport } from '../../model/index.ts';
import { openDevice } from '../../runtime/index.ts';
import { say, write } from './terminal.ts';

const FORMAT_OF = { int4: 'q4', int8: 'q8', f16: 'f16', bf16: 'bf16' } as const;
const WORST = 10;

/** Options of `quantize`. */
export interface QuantizeCommand {
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
export async function quantize({ model, out, adapter, host, ...options }: QuantizeCommand): Promise<number> {
  const formats = {
    group: Number(options.group),
    decoder: DEFAULT_FORMATS.decoder,
    head: FORMAT_OF[options.lmHead],
    embedding: FORMAT_OF[options.embedding],
    vision: FORMAT_OF[options.vision],
  };
  const device = host ? undefined : await openDevice({ adapter });
  if (device) say(deviceLine(device));
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
    return 0;
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
  for (const { name, format, error } of worst.slice(0, WORST))
    write(process.stdout, `  ${digits(error)}  ${format}  ${name}\n`);
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
