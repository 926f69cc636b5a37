import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { statFile } from '../../model/checkpoint/json.ts';
import type { Mode } from '../../model/index.ts';
import { UsageError } from '../../runtime/index.ts';

const NAME = v.pipe(v.string(), v.regex(/^[\w -]+$/, 'letters, digits, spaces, _ and -'));
const MESSAGE = v.strictObject({ role: v.picklist(['system', 'user', 'assistant']), content: v.string() });
const TASK = v.pipe(
  v.strictObject({
    name: NAME,
    task: NAME,
    family: v.optional(NAME),
    messages: v.pipe(v.array(MESSAGE), v.nonEmpty('one at least')),
    images: v.optional(v.array(v.string()), []),
    answer: v.string(),
    judge: v.optional(v.picklist(['exact', 'centre']), 'exact'),
    mode: v.optional(v.picklist(['hybrid', 'think', 'nothink'] satisfies Mode[]), 'hybrid'),
    steps: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1))),
  }),
  v.check(({ messages, images }) => marksIn(messages) === images.length, 'as many images as there are <image> marks'),
);
const ANSWER = v.object({
  name: NAME,
  ids: v.array(v.number()),
  text: v.string(),
  lead: v.number(),
  right: v.boolean(),
});

/** A question, and how its answer is judged: see bench/accuracy/README.md. */
export interface Task extends v.InferOutput<typeof TASK> {
  /** Where it stands: `<file>:<line>`. */
  readonly place: string;
}

/** What another implementation answered to the task of this name. */
export type ReferenceAnswer = v.InferOutput<typeof ANSWER>;

function marksIn(messages: readonly v.InferOutput<typeof MESSAGE>[]): number {
  return messages.reduce((count, { content }) => count + content.split('<image>').length - 1, 0);
}

/** Reads a file of JSON lines, each a Task, whose pictures are beside it; UsageError names the line and what is wrong. */
export function readTasks(file: string): Task[] {
  const tasks = readLines(file, TASK).map(({ line, place }) => {
    const images = line.images.map((image) => join(dirname(file), image));
    const missing = images.find((image) => !existsSync(image));
    if (missing) throw wrong(`${place}: images`, 'pictures that there are', missing);
    return { ...line, images, place };
  });
  if (tasks.length === 0) throw wrong(file, 'a task in each line', 'an empty file');
  assertOnce(file, tasks);
  return tasks;
}

/** Reads the answers of another implementation, by the names of tasks. */
export function readAnswers(file: string): Map<string, ReferenceAnswer> {
  const answers = readLines(file, ANSWER).map(({ line }) => line);
  assertOnce(file, answers);
  return new Map(answers.map((answer) => [answer.name, answer]));
}

function assertOnce(file: string, lines: readonly { name: string }[]): void {
  const names = lines.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice) throw wrong(`${file}: name`, 'every name once', twice);
}

/** The lines of a file that are not empty, and where they stand. */
function readLines<S extends v.GenericSchema>(file: string, schema: S) {
  return readText(file)
    .split('\n')
    .map((line, i) => ({ line, place: `${file}:${i + 1}` }))
    .filter(({ line }) => line.trim() !== '')
    .map(({ line, place }) => ({ line: parse(schema, line, place), place }));
}

function parse<S extends v.GenericSchema>(schema: S, line: string, place: string): v.InferOutput<S> {
  const { success, output, issues } = v.safeParse(schema, parseJson(line, place), { abortEarly: true });
  if (success) return output;
  const { kind, expected, received, message } = issues[0];
  const wanted = kind === 'validation' ? message : expected === 'never' ? 'no such field' : expected!;
  throw wrong(`${place}: ${v.getDotPath(issues[0]) ?? 'task'}`, wanted, received);
}

function readText(file: string): string {
  try {
    statFile(file);
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw wrong(file, 'a file of JSON lines', (error as Error).message);
  }
}

function parseJson(line: string, place: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw wrong(place, 'a line of JSON', (error as Error).message);
  }
}

function wrong(where: string, expected: string, got: string): UsageError {
  const hint = 'see bench/accuracy/README.md';
  return new UsageError(`${where}: expected ${expected}, got ${got.slice(0, 200)}; ${hint}`.replace(/\p{Cc}/gu, '?'));
}
