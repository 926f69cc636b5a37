import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { encodePrompt, Processor } from '../../model/index.ts';
import { UsageError } from '../../runtime/index.ts';
import { caseFiles } from '../cases.ts';
import { Expected, type ExpectedPrompt } from '../expected.ts';
import { BOUNDS, type Bounds, HALF_REFERENCE_BOUNDS } from '../verify.ts';

/** The trained checkpoint in the repository, and the one of random weights, whose reference tells every stage. */
export const SPARK = fileURLToPath(new URL('../reference/spark', import.meta.url));
export const TINY = fileURLToPath(new URL('../reference/tiny', import.meta.url));

/** Where prompts come from. */
export interface PromptOptions {
  /** The model's folder; undefined for a synthetic model, which has none. */
  folder: string | undefined;
  reference?: string;
  cases?: boolean;
  prompts?: string;
  dtype: 'f32' | 'f16';
}

/** The prompts of a bench, and what to compare them with; without a reference nothing is compared. */
export interface PromptSet {
  prompts: readonly ExpectedPrompt[];
  /** The path of a picture by its index. */
  picture(index: number): string;
  check: { expected: Expected; bounds: Bounds; folder: string } | undefined;
  close(): void;
}

/**
 * The prompts of the reference that is given or lies in the model's folder. The cases of bench/cases have a reference on the
 * checkpoint TINY; another model runs them through its own tokenizer, and a synthetic one with the ids of TINY, unchecked.
 */
export function choosePrompts(options: PromptOptions): PromptSet {
  const { folder, reference, cases } = options;
  if (cases && reference) throw new UsageError('--cases: expected no --reference beside it, got both; choose one');
  const own = folder === undefined || resolve(folder) === TINY;
  if (cases && !own) return pick(casePrompts(folder), options.prompts);
  const path = reference ?? (cases ? caseFiles().reference : join(folder ?? TINY, 'expected.safetensors'));
  return pick(
    referencePrompts(path, folder ?? TINY, folder === undefined ? undefined : options.dtype),
    options.prompts,
  );
}

/** The prompts of a reference file, compared where there is a dtype to compare in. */
function referencePrompts(path: string, folder: string, dtype: 'f32' | 'f16' | undefined): PromptSet {
  const expected = Expected.open(path);
  return {
    prompts: expected.promptNames().map((name) => expected.prompt(name)),
    picture: (index) => expected.picture(index, folder),
    check: dtype && { folder, expected, bounds: HALF_REFERENCE_BOUNDS.get(expected.dtype) ?? BOUNDS[dtype] },
    close: () => expected.close(),
  };
}

/** The cases as a model's own tokenizer and template have them, to be answered freely. */
function casePrompts(folder: string): PromptSet {
  const { cases } = caseFiles();
  const { tokenizer, template } = Processor.load(folder);
  const pictures = cases.flatMap(({ images }) => images);
  const prompts = cases.map(({ name, messages, images, mode }) => ({
    name,
    ids: encodePrompt(tokenizer, template.render(messages, mode), images.length),
    images: images.map((path) => pictures.indexOf(path)),
    length: 0,
    runs: [{ name: 'greedy', tokens: new Uint32Array(), steps: [] }] as const,
  }));
  return { prompts, picture: (index) => pictures[index]!, check: undefined, close() {} };
}

function pick(set: PromptSet, wanted: string | undefined): PromptSet {
  if (!wanted) return set;
  const prompts = wanted.split(',').map((name) => {
    const prompt = set.prompts.find((candidate) => candidate.name === name);
    if (prompt) return prompt;
    const names = set.prompts.map((candidate) => candidate.name).join(', ');
    throw new UsageError(`--prompts: expected some of ${names}, got '${name}'`);
  });
  return { ...set, prompts };
}
