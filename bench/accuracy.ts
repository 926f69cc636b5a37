import { existsSync, readFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { generate, type LoadOptions, Phi4Vision, Processor, readImage } from '../model/index.ts';
import { type Device, NotFiniteError, UsageError } from '../runtime/index.ts';
import { interval, isRight } from './accuracy/judge.ts';
import { type ReferenceAnswer, readAnswers, readTasks, type Task } from './accuracy/tasks.ts';
import { groupBy } from './html/plot.ts';
import { writeHtmlReport } from './html.ts';
import { showActivations } from './load.ts';
import { openAdapter } from './open.ts';
import { progressBar } from './progress.ts';
import { assertWritable, digits, environment, folderName, JsonLines, mebibytes, Table } from './report.ts';
import { tuneOnce } from './tune.ts';

/** Options of `bench accuracy`. */
export interface AccuracyOptions {
  model: string;
  /** A file of JSON lines; by default tasks.jsonl in the model folder. */
  tasks?: string;
  /** What another implementation answered; by default answers.jsonl beside the tasks, if there is one. */
  reference?: string;
  /** Ways to store the weights; each is a run of its own. */
  quantize: readonly WeightsOf[];
  int8Activations?: boolean;
  dtype?: 'f32' | 'f16';
  only?: readonly string[];
  maxTokens: number;
  variant?: LoadOptions['variants'];
  tune?: boolean;
  adapter?: string;
  json?: string;
  html?: string;
}

/** A name, and what of the weights is quantised. */
export interface WeightsOf {
  name: string;
  quantize: LoadOptions['quantize'];
}

/** An answer beside the one that was asked for. */
interface Judged {
  task: Task;
  text: string;
  right: boolean;
  /** What the reference answered, and whether its tokens are the same, or only a tie of its likeliest two apart. */
  reference?: { right: boolean; same: 'same' | 'tie' | 'other' };
}

/** Questions, what makes prompts of them, and what the reference answered. */
interface Asked {
  processor: Processor;
  tasks: readonly Task[];
  answers: ReturnType<typeof readAnswers>;
}

/** Logits of the reference that are closer than this are a tie. */
const TIE = 1e-3;
/** Of wrong answers so many stand in a row, with pictures of at most so many bytes. */
const SHOWN = { answers: 12, pictureBytes: 65536 };

/**
 * Asks a model the questions of a file, with its weights stored in several ways, and prints how many answers are right by task and
 * mode, with 95 % confidence intervals, beside the reference's. Returns the exit code 0.
 */
export async function accuracy(options: AccuracyOptions): Promise<number> {
  const { model: dir, tasks: file = join(dir, 'tasks.jsonl'), only, html } = options;
  const processor = Processor.load(dir);
  const tasks = chosen(readTasks(file), only);
  const asked = { processor, tasks, answers: referenceOf(file, options.reference) };
  const json = new JsonLines(options.json);
  if (html) assertWritable('--html', html);
  const device = await openAdapter(options.adapter);
  try {
    for (const { quantize } of options.quantize) await tuneOnce(device, { ...options, quantize });
    console.log(
      `${tasks.length} questions of ${file}, answered greedily; in brackets the 95 % confidence interval (Wilson), then the reference's share, and how many answers have its tokens.`,
    );
    for (const weights of options.quantize) {
      const { judged, ...stored } = await answerAll(device, options, weights, asked);
      const { activations, bytes } = stored;
      console.log(`\nweights ${weights.name}, activations ${activations}, ${mebibytes(bytes)} MiB on the device`);
      printTable(judged);
      printWrong(judged);
      json.write({
        bench: 'accuracy',
        ...environment(device),
        ...{ model: folderName(dir), tasks: folderName(file), weights: weights.name, ...stored },
        groups: groupsOf(judged).map(({ name, ...group }) => ({ name, ...tally(group.judged) })),
        wrong: judged
          .filter(({ right }) => !right)
          .slice(0, SHOWN.answers)
          .map(wrongRow),
      });
    }
  } finally {
    device.dispose();
  }
  if (html) writeHtmlReport(html, json.rows);
  return 0;
}

/** The answers of the reference, none where no file was named and none is there. */
function referenceOf(tasks: string, named: string | undefined): ReturnType<typeof readAnswers> {
  const file = named ?? join(dirname(tasks), 'answers.jsonl');
  return named || existsSync(file) ? readAnswers(file) : new Map();
}

/** The questions of these tasks, or all; UsageError for a task that there is none of. */
function chosen(tasks: readonly Task[], only: AccuracyOptions['only']): readonly Task[] {
  const names = new Set(tasks.map(({ task }) => task));
  const unknown = only?.find((name) => !names.has(name));
  if (unknown)
    throw new UsageError(`--only: expected some of ${[...names].join(', ')}, got ${unknown}; choose from these`);
  return only ? tasks.filter(({ task }) => only.includes(task)) : tasks;
}

async function answerAll(
  device: Device,
  { model: dir, dtype, int8Activations, variant: variants, maxTokens }: AccuracyOptions,
  { name, quantize }: WeightsOf,
  { processor, tasks, answers }: Asked,
): Promise<{ judged: Judged[]; activations: string; bytes: number }> {
  const before = device.memory.current;
  const model = await Phi4Vision.load(device, dir, { dtype, quantize, int8Activations, variants });
  const bytes = device.memory.current - before;
  const bar = progressBar(`weights ${name}`);
  const judged: Judged[] = [];
  try {
    for (const task of tasks) {
      judged.push(await judge(model, processor, task, answers.get(task.name), maxTokens));
      bar.update(judged.length, tasks.length);
    }
    return { judged, activations: showActivations(model), bytes };
  } finally {
    bar.stop();
    model.dispose();
  }
}

/** Asks one question; logits that are not finite make a wrong answer that says so. */
async function judge(
  model: Phi4Vision,
  processor: Processor,
  task: Task,
  expected: ReferenceAnswer | undefined,
  maxTokens: number,
): Promise<Judged> {
  const { messages, images, mode, steps = maxTokens } = task;
  const pictures = await Promise.all(images.map((image) => readImage(image)));
  const prompt = await processor.prepare(messages, pictures, { mode });
  try {
    const { answer: text, tokenIds, finishReason } = await generate(model, processor, prompt, { maxTokens: steps });
    const ids = finishReason === 'stop' ? tokenIds.slice(0, -1) : tokenIds;
    const reference = expected && { right: expected.right, same: compareTokens(expected, ids) };
    return { task, text, right: isRight(task, text), reference };
  } catch (error) {
    if (!(error instanceof NotFiniteError)) throw error;
    return { task, text: error.message, right: false, reference: expected && { right: expected.right, same: 'other' } };
  }
}

/** Whether an answer has the reference's tokens, both without the one that ends it. */
function compareTokens({ ids, lead }: ReferenceAnswer, got: readonly number[]): 'same' | 'tie' | 'other' {
  if (got.join() === ids.join()) return 'same';
  return lead < TIE ? 'tie' : 'other';
}

/** Answers by task, family and mode, and all of them. */
function groupsOf(judged: readonly Judged[]): { name: string; judged: readonly Judged[] }[] {
  const groups = groupBy(judged, ({ task: { task, family, mode } }) => [task, family, mode].filter(Boolean).join(', '));
  return [...[...groups].map(([name, own]) => ({ name, judged: own })), { name: 'all', judged }];
}

/** Counts of answers: all, right ones, and where there is a reference its right ones, equal ones and ties. */
function tally(judged: readonly Judged[]) {
  const right = judged.filter((each) => each.right).length;
  const compared = judged.flatMap(({ reference }) => (reference ? [reference] : []));
  const count = (which: 'same' | 'tie') => compared.filter(({ same }) => same === which).length;
  return {
    ...{ all: judged.length, right, ...interval(right, judged.length), compared: compared.length },
    ...{ referenceRight: compared.filter((each) => each.right).length, same: count('same'), ties: count('tie') },
  };
}

function printTable(judged: readonly Judged[]): void {
  const table = new Table({ task: 28, right: 9, '%': 6, '95 %': 14, 'reference %': 11, same: 9, ties: 4 });
  for (const group of groupsOf(judged)) {
    const { all, right, low, high, compared, referenceRight, same, ties } = tally(group.judged);
    const percent = (share: number) => digits(100 * share);
    const reference = compared > 0 ? [percent(referenceRight / compared), `${same}/${compared}`, ties] : [];
    table.row([
      group.name,
      `${right}/${all}`,
      percent(right / all),
      `[${percent(low)}, ${percent(high)}]`,
      ...reference,
    ]);
  }
}

function printWrong(judged: readonly Judged[]): void {
  for (const { task, text } of judged.filter(({ right }) => !right).slice(0, 5)) {
    console.log(`  wrong: ${task.place}: ${questionOf(task)} expected ${show(task.answer)}, got ${show(text)}`);
  }
}

/** A text on one line of its own, in quotes. */
function show(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text);
}

/** What the last message asks. */
function questionOf({ messages }: Task): string {
  return messages.at(-1)!.content.replaceAll('<image>', '').trim();
}

function wrongRow({ task, text }: Judged) {
  const { mode, answer, images } = task;
  return { task: task.task, mode, question: questionOf(task), answer, text, pictures: images.flatMap(dataUrl) };
}

const TYPES: Record<string, string> = {
  '.png': 'png',
  '.jpg': 'jpeg',
  '.jpeg': 'jpeg',
  '.webp': 'webp',
  '.gif': 'gif',
};

/** A picture as a data: URL, or none where a page cannot show it or it is large. */
function dataUrl(file: string): string[] {
  const type = TYPES[extname(file).toLowerCase()];
  const bytes = readFileSync(file);
  return type && bytes.length <= SHOWN.pictureBytes ? [`data:image/${type};base64,${bytes.toString('base64')}`] : [];
}
