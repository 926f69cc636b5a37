import { DEFAULT_FORMATS, Phi4Vision, type StoredFormats } from '../model/index.ts';
import type { Device } from '../runtime/index.ts';
import { capacityOf, encodeAll, feed, preparePrompt } from './e2e/inputs.ts';
import { choosePrompts, type PromptSet } from './e2e/prompts.ts';
import type { ExpectedPrompt } from './expected.ts';
import { modelName } from './load.ts';
import { openAdapter } from './open.ts';
import { progressBar } from './progress.ts';
import { digits, environment, JsonLines, mebibytes, Table } from './report.ts';

/** Options of `bench quality`. */
export interface QualityOptions {
  model: string;
  reference?: string;
  prompts?: string;
  groups: readonly number[];
  adapter?: string;
  json?: string;
}

type Activations = 'f32' | 'int8';

/** A way to store the weights and to feed the int4 ones. */
interface Variant {
  label: string;
  formats: StoredFormats;
  activations: Activations;
}

/** How far next-token distributions are from those of the unquantised weights. */
export interface Quality {
  steps: number;
  /** Kullback-Leibler divergence D(p || q) = sum p ln(p / q) in nats, p of the unquantised weights. */
  meanKl: number;
  maxKl: number;
  /** Share of steps whose likeliest token is the same. */
  top1: number;
}

/**
 * Runs the prompts of a reference teacher-forced with the checkpoint as it is and with int4 weights in several ways, and prints
 * how far the distributions of the next token move. Returns the exit code 0.
 */
export async function quality(options: QualityOptions): Promise<number> {
  const device = await openAdapter(options.adapter);
  const json = new JsonLines(options.json);
  const set = choosePrompts({ ...options, folder: options.model, dtype: 'f32' });
  const exact = await logitsOf(device, options.model, set, undefined);
  console.log(
    'Next-token distributions of int4 weights against the weights as they are: mean and largest Kullback-Leibler divergence (nats), equal likeliest tokens.',
  );
  const table = new Table({ weights: 40, activations: 11, MiB: 8, 'mean KL': 9, 'max KL': 9, 'top-1': 7 });
  for (const variant of variants(options.groups)) {
    const { rows, bytes } = await logitsOf(device, options.model, set, variant);
    const result = compareRows(exact.rows, rows);
    const { meanKl, maxKl, top1 } = result;
    const share = `${digits(100 * top1)} %`;
    table.row([variant.label, variant.activations, mebibytes(bytes), digits(meanKl), digits(maxKl), share]);
    json.write({
      bench: 'quality',
      ...environment(device),
      model: modelName(options),
      ...variant,
      bytes,
      ...result,
    });
  }
  console.log(`${exact.rows.length} steps; the weights as they are: ${mebibytes(exact.bytes)} MiB`);
  set.close();
  return 0;
}

/** Every group with both kinds of activations, then lm_head and embedding in other formats. */
function variants(groups: readonly number[]): Variant[] {
  const all = groups.flatMap((group) =>
    (['f32', 'int8'] as const).map((activations) => ({ formats: { ...DEFAULT_FORMATS, group }, activations })),
  );
  const others = [{ head: 'q4' }, { embedding: 'q4' }, { head: 'bf16', embedding: 'bf16' }, { decoder: 'q8' }] as const;
  const rest = others.map((change) => ({ formats: { ...DEFAULT_FORMATS, ...change }, activations: 'f32' as const }));
  return [...all, ...rest].map((variant) => ({ label: show(variant.formats), ...variant }));
}

function show({ group, decoder, head, embedding }: StoredFormats): string {
  return `${decoder} g${group}, head ${head}, embedding ${embedding}`;
}

/** The logits of every step of every continuation, and the bytes of the weights. */
async function logitsOf(device: Device, dir: string, set: PromptSet, variant: Variant | undefined) {
  const before = device.memory.current;
  const bar = progressBar(variant ? `${variant.label}, ${variant.activations}` : 'as it is');
  try {
    const quantize = variant && { quantize: variant.formats, int8Activations: variant.activations === 'int8' };
    const model = await Phi4Vision.load(device, dir, { ...quantize, dtype: 'f32', reuse: false, progress: bar.update });
    const bytes = device.memory.current - before;
    const rows: Float32Array[] = [];
    for (const [i, prompt] of set.prompts.entries()) {
      rows.push(...(await promptLogits(model, prompt, set.picture)));
      bar.update(i + 1, set.prompts.length);
    }
    model.dispose();
    return { rows, bytes };
  } finally {
    bar.stop();
  }
}

async function promptLogits(
  model: Phi4Vision,
  prompt: ExpectedPrompt,
  picture: PromptSet['picture'],
): Promise<Float32Array[]> {
  const inputs = await preparePrompt(model, prompt, picture);
  const images = await encodeAll(model, inputs.patches);
  const session = await model.session({ capacity: capacityOf(inputs, prompt) });
  await session.prefill(inputs.ids, { images });
  const rows: Float32Array[] = [];
  for (const run of prompt.runs) {
    const { logits } = await feed(session, run, true);
    for (let at = 0; at < logits!.length; at += session.vocab) rows.push(logits!.subarray(at, at + session.vocab));
  }
  session.dispose();
  for (const image of images) image.dispose();
  return rows;
}

/** Compares rows of logits with those of the unquantised weights. */
export function compareRows(exact: readonly Float32Array[], got: readonly Float32Array[]): Quality {
  const divergences = exact.map((row, i) => divergence(row, got[i]!));
  const same = exact.filter((row, i) => largest(row) === largest(got[i]!)).length;
  const steps = exact.length;
  const meanKl = divergences.reduce((sum, value) => sum + value, 0) / steps;
  return { steps, meanKl, maxKl: Math.max(...divergences), top1: same / steps };
}

/** D(softmax(p) || softmax(q)) in nats, in float64. */
function divergence(p: Float32Array, q: Float32Array): number {
  const [logP, logQ] = [logSoftmax(p), logSoftmax(q)];
  return logP.reduce((sum, value, i) => sum + Math.exp(value) * (value - logQ[i]!), 0);
}

function logSoftmax(logits: Float32Array): Float64Array {
  const most = logits[largest(logits)]!;
  const total = logits.reduce((sum, value) => sum + Math.exp(value - most), 0);
  return Float64Array.from(logits, (value) => value - most - Math.log(total));
}

function largest(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}
