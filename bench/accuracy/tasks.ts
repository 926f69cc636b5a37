import * as v from 'valibot';
import { countImageMarks } from '../../model/index.ts';
import { type Kind, MESSAGE, MODE, parseAs, picturesBeside, readText, wrong } from '../parse.ts';

const KIND: Kind = { text: 'a line of JSON', root: 'task', hint: 'see bench/accuracy/README.md' };
const NAME = v.pipe(v.string(), v.regex(/^[\w -]+$/, 'letters, digits, spaces, _ and -'));
const TASK = v.pipe(
  v.strictObject({
    name: NAME,
    task: NAME,
    family: v.optional(NAME),
    messages: v.pipe(v.array(MESSAGE), v.nonEmpty('one at least')),
    images: v.optional(v.array(v.string()), []),
    answer: v.string(),
    judge: v.optional(v.picklist(['exact', 'centre']), 'exact'),
    mode: MODE,
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
  return messages.reduce((count, { content }) => count + countImageMarks(content), 0);
}

/** Reads a file of JSON lines, each a Task, whose pictures are beside it; UsageError names the line and what is wrong. */
export function readTasks(file: string): Task[] {
  const tasks = readLines(file, TASK).map(({ line, place }) => {
    return { ...line, images: picturesBeside(file, line.images, `${place}: images`, KIND), place };
  });
  if (tasks.length === 0) throw wrong(file, 'a task in each line', 'an empty file', KIND);
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
  if (twice) throw wrong(`${file}: name`, 'every name once', twice, KIND);
}

/** The lines of a file that are not empty, and where they stand. */
function readLines<S extends v.GenericSchema>(file: string, schema: S) {
  return readText(file, 'a file of JSON lines', KIND)
    .split('\n')
    .map((line, i) => ({ line, place: `${file}:${i + 1}` }))
    .filter(({ line }) => line.trim() !== '')
    .map(({ line, place }) => ({ line: parseAs(schema, line, place, KIND), place }));
}
