import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { statFile } from '../../model/checkpoint/json.ts';
import type { Mode } from '../../model/index.ts';
import { UsageError } from '../../runtime/index.ts';

const NAME = v.pipe(v.string(), v.regex(/^[\w -]+$/, 'letters, digits, spaces, _ and -'));
const PART = v.variant('type', [
  v.strictObject({ type: v.literal('text'), text: v.string() }),
  v.strictObject({ type: v.literal('image'), image: v.string() }),
]);
const TASK = v.strictObject({
  task: NAME,
  messages: v.pipe(
    v.array(
      v.strictObject({
        role: v.picklist(['system', 'user', 'assistant']),
        content: v.union([v.string(), v.array(PART)]),
      }),
    ),
    v.nonEmpty('one at least'),
  ),
  answer: v.string(),
  judge: v.optional(v.picklist(['exact', 'centre']), 'exact'),
  mode: v.optional(v.picklist(['hybrid', 'think', 'nothink'] satisfies Mode[]), 'hybrid'),
  reference: v.optional(v.strictObject({ text: v.string(), tokens: v.optional(v.array(v.number())) })),
});

/** A question, and how its answer is judged: see bench/accuracy/README.md. */
export interface Task extends v.InferOutput<typeof TASK> {
  /** Where it stands: `<file>:<line>`. */
  readonly place: string;
}

/** Reads a file of JSON lines, each a Task, whose pictures are beside it; UsageError names the line and what is wrong. */
export function readTasks(file: string): Task[] {
  const tasks = readText(file)
    .split('\n')
    .flatMap((line, i) => (line.trim() === '' ? [] : [parseTask(line, `${file}:${i + 1}`, dirname(file))]));
  if (tasks.length === 0) throw wrong(file, 'a task in each line', 'an empty file');
  return tasks;
}

function parseTask(line: string, place: string, folder: string): Task {
  const { success, output, issues } = v.safeParse(TASK, parseJson(line, place), { abortEarly: true });
  if (!success) {
    const { kind, expected, received, message } = issues[0];
    const wanted = kind === 'validation' ? message : expected === 'never' ? 'no such field' : expected!;
    throw wrong(`${place}: ${v.getDotPath(issues[0]) ?? 'task'}`, wanted, received);
  }
  const messages = output.messages.map((message) => {
    if (typeof message.content === 'string') return message;
    return { ...message, content: message.content.map((part) => located(part, place, folder)) };
  });
  return { ...output, messages, place };
}

/** A part whose picture has the path from here. */
function located(part: v.InferOutput<typeof PART>, place: string, folder: string): v.InferOutput<typeof PART> {
  if (part.type === 'text') return part;
  const image = join(folder, part.image);
  if (!existsSync(image)) throw wrong(`${place}: image`, 'a picture that there is', image);
  return { type: 'image', image };
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
