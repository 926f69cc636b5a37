import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readObject } from '../model/checkpoint/json.ts';
import { Checkpoint, expectedTensors, loadConfig, Processor, readTokenizerFile, type Taps } from '../model/index.ts';
import { LARGEST_F16 } from '../model/quantize/rows.ts';
import { type Device, widen } from '../runtime/index.ts';
import { loadModel, modelName } from './load.ts';
import { openAdapter } from './open.ts';
import { rainbow } from './rainbow.ts';
import { digits, environment, JsonLines, mebibytes, Table } from './report.ts';

/** Options of `bench doctor`. */
export interface DoctorOptions {
  model: string;
  adapter?: string;
  /** Whether to load the model and look at its activations. */
  run: boolean;
  json?: string;
}

const MARKS = ['<|im_start|>', '<|im_sep|>', '<|im_end|>', '<|endoftext|>', '<think>', '</think>', '<|dummy_84|>'];
const PUBLISHED = fileURLToPath(new URL('../model/shapes/15b', import.meta.url));
const QUESTION = 'What is in this picture, and what is 17 times 23?';

/**
 * Prints what a model folder really holds where documents disagree or are silent: special tokens and their flags, the
 * configuration beside the published one, tensors by dtype, and the largest activation of each layer against f16's range.
 * Returns the exit code: 0, or 1 where a tensor is missing or an activation is not finite.
 */
export async function doctor({ model, adapter, run, json: file }: DoctorOptions): Promise<number> {
  const json = new JsonLines(file);
  const device = run ? await openAdapter(adapter) : undefined;
  const folder = await examineFolder(model, device);
  json.write({ bench: 'doctor', ...environment(device), ...folder });
  return folder.ill ? 1 : 0;
}

/** What a model folder holds, and with a device what it computes. */
async function examineFolder(dir: string, device: Device | undefined) {
  const tokens = examineTokens(dir);
  const config = examineConfig(dir);
  const tensors = examineTensors(dir);
  const activations = device && (await examineActivations(device, dir));
  const finite = activations?.every(({ largest }) => Number.isFinite(largest)) ?? true;
  const ill = tensors.missing.length > 0 || !finite;
  return { model: modelName({ model: dir }), tokens, config, tensors, activations, ill };
}

/** Ids and flags of the tokens that prompts are made of, and whether a line break after one of them survives. */
function examineTokens(dir: string) {
  const { added } = readTokenizerFile(dir);
  const { tokenizer } = Processor.load(dir);
  console.log('Special tokens');
  const table = new Table({ token: 14, id: 7, special: 8, lstrip: 7, rstrip: 7, normalized: 11 });
  const found = MARKS.map((content) => added.find((token) => token.content === content) ?? { content, id: undefined });
  for (const token of found) {
    const flags = 'special' in token ? [token.special, token.lstrip, token.rstrip, token.normalized].map(String) : [];
    table.row([token.content, token.id ?? 'absent', ...flags]);
  }
  const separator = '<|im_sep|>';
  const newlineSurvives = tokenizer.encode(`${separator}\n`).length > tokenizer.encode(separator).length;
  console.log(`A line break after ${separator} ${newlineSurvives ? 'survives' : 'is swallowed'}.\n`);
  return { found, newlineSurvives };
}

/** The values in which config.json differs from the published configuration, by key. */
function examineConfig(dir: string) {
  const read = (folder: string) => flatten(readObject(join(folder, 'config.json')));
  const config = loadConfig(dir);
  const [ours, published] = [read(dir), read(PUBLISHED)];
  const differing = [...published].filter(([key, value]) => ours.get(key) !== value);
  const differences = Object.fromEntries(
    differing.map(([key, value]) => [key, { published: value, here: ours.get(key) ?? null }]),
  );
  console.log('Configuration: published value, then the one here, where they differ');
  const table = new Table({ key: 32, published: 12, here: 12 });
  for (const [key, { published, here }] of Object.entries(differences)) table.row([key, published, here ?? 'absent']);
  const limit = ours.get('tokenizer_model_max_length') ?? 'absent';
  const unknown = config.unknownKeys.join(', ') || 'none';
  console.log(
    `tokenizer_model_max_length: ${limit}; context used here: ${config.contextLimit}; unknown keys: ${unknown}\n`,
  );
  return {
    differences,
    tokenizerModelMaxLength: limit,
    contextLimit: config.contextLimit,
    unknown: config.unknownKeys,
  };
}

/** Leaf values of an object by their dotted path. */
function flatten(object: object, prefix = ''): Map<string, string> {
  return new Map(
    Object.entries(object).flatMap(([key, value]): [string, string][] =>
      value !== null && typeof value === 'object' && !Array.isArray(value)
        ? [...flatten(value, `${prefix}${key}.`)]
        : [[prefix + key, JSON.stringify(value)]],
    ),
  );
}

/** Numbers of tensors by dtype, and which are missing or unknown. */
function examineTensors(dir: string) {
  const checkpoint = Checkpoint.open(dir);
  checkpoint.close();
  const expected = expectedTensors(loadConfig(dir));
  const infos = [...checkpoint.tensors.values()];
  const missing = [...expected.keys()].filter((name) => !checkpoint.tensors.has(name));
  const unknown = [...checkpoint.tensors.keys()].filter((name) => !expected.has(name));
  const dtypes: Record<string, number> = {};
  for (const { dtype } of infos) dtypes[dtype] = (dtypes[dtype] ?? 0) + 1;
  const bytes = infos.reduce((sum, info) => sum + info.bytes, 0);
  const counts = Object.entries(dtypes).map(([dtype, count]) => `${count} ${dtype}`);
  const count = infos.length + checkpoint.unsupported.size;
  console.log(`Tensors: ${count} of ${expected.size} expected (${counts.join(', ')}), ${mebibytes(bytes)} MiB`);
  console.log(
    `missing: ${missing.slice(0, 8).join(', ') || 'none'}; unknown: ${unknown.slice(0, 8).join(', ') || 'none'}\n`,
  );
  return { count, expected: expected.size, dtypes, bytes, missing, unknown };
}

interface Activation {
  stage: string;
  largest: number;
}

/** The largest magnitude of every stage for a picture and a question, computed in f32. */
export async function examineActivations(device: Device, dir: string): Promise<Activation[]> {
  const processor = Processor.load(dir);
  const prompt = await processor.prepare(
    [{ role: 'user', content: `<image>${QUESTION}` }],
    [rainbow({ width: 256, height: 256 })],
  );
  const model = await loadModel(device, { model: dir, dtype: 'f32', int8Activations: false });
  const largest = new Map<string, number>();
  const taps: Taps = {
    wants: () => true,
    take(name, { dtype, data }) {
      const stage = name === 'vis_sel' ? 'vision.last' : name;
      for (const value of widen(dtype, data)) {
        const size = Number.isNaN(value) ? Number.POSITIVE_INFINITY : Math.abs(value);
        if (size > (largest.get(stage) ?? 0)) largest.set(stage, size);
      }
    },
  };
  const image = await model.encodeImage(prompt.pictures[0]!, taps);
  const session = await model.session({ capacity: prompt.ids.length });
  await session.prefill(prompt.ids, { images: [image], taps });
  const activations = Array.from(largest, ([stage, size]) => ({ stage, largest: size }));
  printActivations(activations);
  return activations;
}

/** The three largest of each kind of stage: vision layers, what fc1 puts out in them, decoder layers. */
function printActivations(activations: readonly Activation[]): void {
  console.log(`Largest activations (f32) of a picture and a question; f16 ends at ${LARGEST_F16}`);
  const table = new Table({ stage: 28, 'largest |x|': 11, 'of f16': 8 });
  const kindOf = ({ stage }: Activation) => stage.replace(/\d+/, '*');
  for (const kind of new Set(activations.map(kindOf))) {
    const rows = activations.filter((row) => kindOf(row) === kind).sort((a, b) => b.largest - a.largest);
    for (const { stage, largest } of rows.slice(0, 3))
      table.row([stage, digits(largest), `${digits((100 * largest) / LARGEST_F16)} %`]);
  }
}
