import { Random } from '../kernels/spec.ts';
import { type DecodedToken, decode, expectedTensors, type Phi4Vision, type Session } from '../model/index.ts';
import { CapabilityError, type Device, elements, OutOfMemoryError, PromptError } from '../runtime/index.ts';
import { loadAndExplain, type ModelOptions, modelName, showActivations } from './load.ts';
import { median, sum } from './measure.ts';
import { openAdapter } from './open.ts';
import { progressBar } from './progress.ts';
import { digits, environment, JsonLines, Table } from './report.ts';
import { tuneOnce } from './tune.ts';

/** Options of `bench speed`; the first three are those of llama-bench. */
export interface SpeedOptions extends ModelOptions {
  /** Prompt lengths; by default SIZES. */
  nPrompt?: number[];
  /** Tokens to generate; 0 for none. */
  nGen: number;
  /** Positions that the context holds before tokens are generated; by default SIZES. */
  nDepth?: number[];
  adapter?: string;
  repeats: number;
  json?: string;
}

const SIZES = {
  gpu: { prompts: [512, 1024, 3856], depths: [0, 4096, 16384] },
  cpu: { prompts: [512], depths: [0, 1024] },
};

/** Positions beyond which no test fits: the model's own limit. */
const LONGEST = 2 ** 15;

/** One row: a prompt that is processed, or tokens that are generated behind `depth` positions. */
interface Test {
  name: string;
  prompt: number;
  generated: number;
  depth: number;
}

/** Tokens per second of each repeat, or why there are none. */
interface Speed {
  samples: number[];
  problem?: string;
  /** Whether the problem is a wrong result, and not that the test does not fit. */
  wrong?: boolean;
}

/**
 * Times prefill and decode of random tokens in llama-bench's terms, and prints tokens per second and a table that can stand
 * beside its own. Returns the exit code: 0, or 1 where logits are not finite, which shows no time.
 */
export async function speed(options: SpeedOptions): Promise<number> {
  const { repeats } = options;
  const device = await openAdapter(options.adapter);
  await tuneOnce(device, options);
  const json = new JsonLines(options.json);
  const tests = listTests(device, options);
  const model = await loadAndExplain(device, { ...options, context: contextOf(tests) });
  model.releaseVision();
  console.log(
    `Tokens per second on the wall clock, ${repeats} repeats after one that warms up. pp: from the prompt's ids to its first token; tg: from one token to the last. ` +
      'Loading and making the KV cache come before. One sequence; random tokens.',
  );
  const table = new Table({ test: 16, 'tokens/s': 9, 'of repeats': 18, 'ms/token': 9 });
  const bar = progressBar('speed');
  const lines: string[] = [];
  let wrong = 0;
  try {
    for (const [i, test] of tests.entries()) {
      const advance = (done: number) => bar.update(i * (repeats + 1) + done, tests.length * (repeats + 1));
      const result = await timeTest(model, test, repeats, advance);
      const { samples, problem } = result;
      if (result.wrong) wrong++;
      bar.above(() => table.row([test.name, ...(problem ? [problem] : figures(samples))]));
      if (!problem) lines.push(markdownRow(model, options, test, samples));
      const { variant } = options;
      const { dtype } = model;
      const how = { model: modelName(options), dtype, activations: showActivations(model), variant };
      json.write({ ...environment(device), bench: 'speed', ...how, ...test, samples, problem });
    }
  } finally {
    bar.stop();
    model.dispose();
  }
  if (lines.length > 0) console.log(['', ...HEAD, ...lines].join('\n'));
  return wrong === 0 ? 0 : 1;
}

function listTests(device: Device, { nPrompt, nGen, nDepth }: SpeedOptions): Test[] {
  const { prompts, depths } = device.onCpu ? SIZES.cpu : SIZES.gpu;
  const at = (depth: number) => (depth > 0 ? ` @ d${depth}` : '');
  return [
    ...(nPrompt ?? prompts).map((prompt) => ({ name: `pp${prompt}`, prompt, generated: 0, depth: 0 })),
    ...(nDepth ?? depths).map((depth) => ({ name: `tg${nGen}${at(depth)}`, prompt: 0, generated: nGen, depth })),
  ].filter(({ prompt, generated }) => prompt + generated > 0);
}

/** Positions that the tests need, those past LONGEST left out. */
function contextOf(tests: readonly Test[]): number {
  const sizes = tests.map(({ prompt, generated, depth }) => Math.max(prompt, depth, 1) + generated);
  return Math.max(1, ...sizes.filter((size) => size <= LONGEST));
}

async function timeTest(
  model: Phi4Vision,
  test: Test,
  repeats: number,
  advance: (done: number) => void,
): Promise<Speed> {
  try {
    const samples: number[] = [];
    for await (const { tokensPerSecond, finite } of test.prompt > 0 ? prefills(model, test) : decodes(model, test)) {
      if (!finite) return { samples: [], problem: 'WRONG: logits that are not finite', wrong: true };
      samples.push(tokensPerSecond);
      advance(samples.length);
      if (samples.length > repeats) break;
    }
    return { samples: samples.slice(1) };
  } catch (error) {
    if (![OutOfMemoryError, CapabilityError, PromptError].some((kind) => error instanceof kind)) throw error;
    return { samples: [], problem: `does not fit: ${(error as Error).message}` };
  }
}

/** Prompts of random ids, each in a session of its own, up to the first token. */
async function* prefills(model: Phi4Vision, { prompt }: Test) {
  const ids = randomIds(model, prompt);
  for (;;) {
    const session = await model.session({ capacity: prompt });
    try {
      const start = performance.now();
      await session.prefill(ids);
      const [first] = await tokensOf(session, 1);
      yield { tokensPerSecond: (1000 * prompt) / (first!.at - start), finite: await hasFiniteLogits(session) };
    } finally {
      session.dispose();
    }
  }
}

/** Tokens behind a context, again and again from its end. */
async function* decodes(model: Phi4Vision, { generated, depth }: Test) {
  const ids = randomIds(model, Math.max(depth, 1));
  const session = await model.session({ capacity: ids.length + generated });
  try {
    await session.prefill(ids);
    for (;;) {
      const tokens = await tokensOf(session, generated + 1);
      const millis = tokens.at(-1)!.at - tokens[0]!.at;
      yield { tokensPerSecond: (1000 * generated) / millis, finite: await hasFiniteLogits(session) };
    }
  } finally {
    session.dispose();
  }
}

async function tokensOf(session: Session, steps: number): Promise<DecodedToken[]> {
  const tokens: DecodedToken[] = [];
  for await (const token of decode(session, { steps })) tokens.push(token);
  return tokens;
}

async function hasFiniteLogits({ device, logits }: Session): Promise<boolean> {
  return (await device.download(logits)).data.every(Number.isFinite);
}

function randomIds({ config }: Phi4Vision, length: number): Uint32Array {
  const random = new Random(1);
  return Uint32Array.from({ length }, () => random.below(config.decoder.vocab));
}

function figures(samples: readonly number[]): string[] {
  const middle = median(samples);
  const spread = `${digits(Math.min(...samples))} to ${digits(Math.max(...samples))}`;
  return [digits(middle), spread, digits(1000 / middle)];
}

const HEAD = [
  '| model | size | params | backend | ngl | test | t/s |',
  '| --- | ---: | ---: | --- | --: | ---: | ---: |',
];

/** A row as llama-bench writes it: of the language model, with the mean and the standard deviation over the repeats. */
function markdownRow(model: Phi4Vision, options: SpeedOptions, { name }: Test, samples: readonly number[]): string {
  const { device, config } = model;
  const shapes = [...expectedTensors(config)].filter(([tensor]) => !/vision|mm_projector/.test(tensor));
  const params = sum(shapes.map(([, shape]) => elements(shape)));
  const mean = sum(samples) / samples.length;
  const deviation = Math.sqrt(sum(samples.map((sample) => (sample - mean) ** 2)) / Math.max(samples.length - 1, 1));
  const speed = `${mean.toFixed(2)} ± ${deviation.toFixed(2)}`;
  const bytes = device.memory.current;
  const size = bytes < 2 ** 30 ? `${(bytes / 2 ** 20).toFixed(2)} MiB` : `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  const count = params < 1e9 ? `${(params / 1e6).toFixed(2)} M` : `${(params / 1e9).toFixed(2)} B`;
  const backend = `WebGPU ${device.name}, ${showActivations(model)}`;
  return `| ${[modelName(options), size, count, backend, 99, name, speed].join(' | ')} |`;
}
