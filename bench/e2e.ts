import { decode, expandImages, type Phi4Vision } from '../model/index.ts';
import { type Device, openDevice } from '../runtime/index.ts';
import { reportCeilings } from './ceilings.ts';
import { choosePrompts, type PromptSet } from './e2e/prompts.ts';
import { type PromptResult, printProfile, printPrompt, promptTable, summarise } from './e2e/result.ts';
import { type PromptRun, type RunOptions, runPrompt } from './e2e/run.ts';
import { writeHtmlReport } from './html.ts';
import { loadAndExplain, loadModel, type ModelOptions, modelName, showActivations, withActivations } from './load.ts';
import { openAdapter } from './open.ts';
import { progressBar } from './progress.ts';
import { assertWritable, environment, JsonLines, type Table } from './report.ts';
import { traced } from './trace.ts';
import { tuneOnce } from './tune.ts';
import { HALF_REFERENCE_BOUNDS } from './verify.ts';

/** Options of `bench e2e`. */
export interface E2eOptions extends ModelOptions {
  reference?: string;
  /** Whether to run the cases of bench/cases. */
  cases?: boolean;
  prompts?: string;
  adapter?: string;
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
export async function e2e(given: E2eOptions): Promise<number> {
  const { adapter, repeats } = given;
  const first = await openAdapter(adapter);
  const options = withActivations(first, given);
  await tuneOnce(first, options);
  const json = new JsonLines(options.json);
  if (options.html) assertWritable('--html', options.html);
  await reportCeilings(first, json);
  const set = choosePrompts({ ...options, folder: options.synthetic ? undefined : options.model });
  explain(set);
  const { dtype, variant } = options;
  const env = { bench: 'e2e', model: modelName(options), dtype, variant, ...environment(first) };
  const suite = new Suite(options, set, (result, activations) => json.write({ ...env, activations, ...result }));
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

/** Told a result, and how the model stores activations. */
type Finish = (result: PromptResult, activations: string) => void;

/** The prompts of a bench, run once per repeat; rows appear as the last repeat gets to them. */
class Suite {
  readonly results: PromptResult[] = [];
  #options: E2eOptions;
  #set: PromptSet;
  #runs: PromptRun[][];
  #repeat = 0;
  #table: Table | undefined;
  #finish: Finish;

  constructor(options: E2eOptions, set: PromptSet, finish: Finish) {
    this.#options = options;
    this.#set = set;
    this.#runs = set.prompts.map(() => []);
    this.#finish = finish;
  }

  /** One repeat on a device of its own. */
  async run(device: Device): Promise<void> {
    const { repeats } = this.#options;
    const { prompts, picture } = this.#set;
    const model = await (this.#repeat === 0 ? loadAndExplain : loadModel)(device, this.#options);
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
        if (last) bar.above(() => this.#report(summarise(prompt, runs), showActivations(model)));
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

  #report(result: PromptResult, activations: string): void {
    this.results.push(result);
    this.#finish(result, activations);
    printPrompt(this.#table!, result);
  }
}

/** Runs a tiny picture and two tokens, so that no prompt's time contains the compilation of a kernel. */
export async function warmUp(model: Phi4Vision): Promise<void> {
  const { patch, channels } = model.config.vision;
  const shape = [4, patch * patch * channels];
  const pixels = { shape, dtype: 'f32', data: new Float32Array(shape[0]! * shape[1]!) } as const;
  const image = await model.encodeImage({ grid: { rows: 2, cols: 2 }, pixels, digest: 'zeros' });
  const session = await model.session();
  await session.prefill(expandImages(Int32Array.of(0, -200), [4], model.config.decoder.vocab), { images: [image] });
  for await (const _ of decode(session, { steps: 2 }));
  session.dispose();
  image.dispose();
}
