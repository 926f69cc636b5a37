import { join } from 'node:path';
import { decode, expandImages, joinFeatures, openSynthetic, Phi4Vision, type SyntheticFormat } from '../model/index.ts';
import { type Device, openDevice } from '../runtime/index.ts';
import { reportCeilings } from './ceilings.ts';
import { choosePrompts, type PromptSet } from './e2e/prompts.ts';
import { type PromptResult, printProfile, printPrompt, promptTable, summarise } from './e2e/result.ts';
import { type PromptRun, type RunOptions, runPrompt } from './e2e/run.ts';
import { writeHtmlReport } from './html.ts';
import { timed } from './measure.ts';
import { openAdapter } from './open.ts';
import { assertWritable, digits, environment, JsonLines, mebibytes, progressBar, type Table } from './report.ts';
import { traced } from './trace.ts';
import { HALF_REFERENCE_BOUNDS } from './verify.ts';

/** Options of `bench e2e`. */
export interface E2eOptions {
  model: string;
  reference?: string;
  /** Whether to run the cases of bench/cases. */
  cases?: boolean;
  prompts?: string;
  /** A shape to fill with random weights in place of a model folder, their format and seed. */
  synthetic?: string;
  format: SyntheticFormat;
  seed: number;
  /** Whether to compare quantised files with their checksums. */
  verify: boolean;
  adapter?: string;
  dtype: 'f32' | 'f16';
  repeats: number;
  json?: string;
  html?: string;
  trace?: string;
}

/**
 * Runs prompts end to end, teacher-forced where there is a reference, and prints per prompt how tokens, logits and stages
 * compare and how long each part took; every repeat loads the model anew on a device of its own. Returns the exit code:
 * 0 all match, 1 a mismatch.
 */
export async function e2e(options: E2eOptions): Promise<number> {
  const { adapter, repeats } = options;
  const first = await openAdapter(adapter);
  const json = new JsonLines(options.json);
  if (options.html) assertWritable('--html', options.html);
  await reportCeilings(first, json);
  const set = choosePrompts({ ...options, folder: options.synthetic ? undefined : options.model });
  explain(set);
  const model = options.synthetic ? `synthetic ${options.synthetic} ${options.format}` : options.model;
  const env = { bench: 'e2e', model, dtype: options.dtype, ...environment(first) };
  const suite = new Suite(options, set, (result) => json.write({ ...env, ...result }));
  for (let repeat = 0; repeat < repeats; repeat++) {
    const device = repeat === 0 ? first : await openDevice({ adapter });
    await traced(device, repeat === 0 ? options.trace : undefined, () => suite.run(device));
    device.dispose();
  }
  set.close();
  printProfile(suite.results);
  if (options.html) writeHtmlReport(options.html, json.rows);
  return conclude(suite.results);
}

/** Says how many prompts match; returns the exit code. */
function conclude(results: readonly PromptResult[]): number {
  const checked = results.filter(({ ok }) => ok !== undefined).length;
  const failed = results.filter(({ ok }) => ok === false).length;
  if (failed > 0) console.log(`${failed} of ${checked} prompts do not match`);
  else console.log(checked > 0 ? `all ${checked} prompts match` : 'nothing was compared: there is no reference');
  return failed === 0 ? 0 : 1;
}

function explain({ check }: PromptSet): void {
  const dtype = check?.expected.dtype;
  if (dtype && HALF_REFERENCE_BOUNDS.has(dtype))
    console.log(`The reference was computed in ${dtype} and tells large errors only; one in float32 tells all.`);
  console.log(
    'Times are wall milliseconds. TTFT: from the prepared prompt to the first token, with encoder, KV cache and prefill; loading, compiling and reading pictures come before.',
  );
}

/** The prompts of a bench, run once per repeat; rows appear as the last repeat gets to them. */
class Suite {
  readonly results: PromptResult[] = [];
  #options: E2eOptions;
  #set: PromptSet;
  #runs: PromptRun[][];
  #repeat = 0;
  #table: Table | undefined;
  #finish: (result: PromptResult) => void;

  constructor(options: E2eOptions, set: PromptSet, finish: (result: PromptResult) => void) {
    this.#options = options;
    this.#set = set;
    this.#runs = set.prompts.map(() => []);
    this.#finish = finish;
  }

  /** One repeat on a device of its own. */
  async run(device: Device): Promise<void> {
    const { repeats } = this.#options;
    const { prompts, picture } = this.#set;
    const model = await load(device, this.#options, this.#repeat === 0);
    await warmUp(model);
    this.#repeat++;
    const last = this.#repeat === repeats;
    if (last) this.#table = promptTable(repeats);
    const bar = progressBar(repeats > 1 ? `repeat ${this.#repeat} of ${repeats}` : 'prompts');
    let done = 0;
    try {
      for (const [i, prompt] of prompts.entries()) {
        const runs = this.#runs[i]!;
        runs.push(await runPrompt(model, prompt, picture, this.#runOptions()));
        if (last) bar.above(() => this.#report(summarise(prompt, runs)));
        bar.update(++done, prompts.length);
      }
    } finally {
      bar.stop();
    }
    model.dispose();
  }

  /** The first repeat is compared and, where somebody will read it, profiled. */
  #runOptions(): RunOptions {
    const { json, html } = this.#options;
    if (this.#repeat > 1) return { profile: false };
    return { check: this.#set.check, profile: (json ?? html) !== undefined };
  }

  #report(result: PromptResult): void {
    this.results.push(result);
    this.#finish(result);
    printPrompt(this.#table!, result);
  }
}

async function load(device: Device, options: E2eOptions, verbose: boolean): Promise<Phi4Vision> {
  const { model: dir, dtype, verify, synthetic, format, seed } = options;
  const bar = progressBar('loading');
  const settings = { dtype, progress: bar.update };
  const open = () => {
    if (!synthetic) return Phi4Vision.load(device, dir, { ...settings, verify });
    const { config, source } = openSynthetic(synthetic, format, seed);
    return Phi4Vision.fromSource(device, config, source, settings);
  };
  const { result, millis } = await timed(() => open().finally(bar.stop));
  if (!verbose) return result;
  for (const key of result.config.unknownKeys) console.log(`warning: ${join(dir, 'config.json')}: unknown key ${key}`);
  for (const name of result.unknownTensors) console.log(`warning: ${dir}: unknown tensor ${name}`);
  const name = synthetic ? `synthetic ${synthetic}, ${format}, seed ${seed}` : dir;
  const bytes = `${mebibytes(device.memory.current)} MiB on the device`;
  console.log(`model: ${name}, ${dtype}, ${bytes}, loaded in ${digits(millis / 1000)} s`);
  return result;
}

/** Runs a tiny picture and two tokens, so that no prompt's time contains the compilation of a kernel. */
async function warmUp(model: Phi4Vision): Promise<void> {
  const { patch, channels } = model.config.vision;
  const shape = [4, patch * patch * channels];
  const pixels = { shape, dtype: 'f32', data: new Float32Array(shape[0]! * shape[1]!) } as const;
  const image = await model.encodeImage({ grid: { rows: 2, cols: 2 }, pixels });
  const session = await model.session({ capacity: 16 });
  await session.prefill(expandImages(Int32Array.of(0, -200), [4], model.config.decoder.vocab), joinFeatures([image]));
  for await (const _ of decode(session, { steps: 2 }));
  session.dispose();
  image.dispose();
}
