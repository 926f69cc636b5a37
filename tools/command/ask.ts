import { text as readAll } from 'node:stream/consumers';
import { NOTHING } from '../../model/api/model.ts';
import { answerSteps, countImageMarks, generateParts, Processor, readImage } from '../../model/index.ts';
import { openDevice, orAborted } from '../../runtime/index.ts';
import { AnswerView, statistics } from './answer_view.ts';
import { INTERRUPTED } from './interrupt.ts';
import { type AnswerCommand, introduce, loadOptions, loadPlanned, modeOf, samplingOf } from './loading.ts';
import { say, write } from './terminal.ts';

/** Options of `ask`. */
export interface AskCommand extends AnswerCommand {
  image?: string[];
  releaseVision?: boolean;
}

/** Answers one question about any number of pictures: the answer on standard output, all else on standard error. */
export async function ask(question: string, options: AskCommand, signal: AbortSignal): Promise<number> {
  const known: { adapter?: string } = {};
  const { json } = options;
  const answer = await orAborted(begin(question, options, signal, known), signal)
    .then((begun) => stream(begun, options, signal))
    .catch((error) => {
      if (!signal.aborted) throw error;
      return NOTHING;
    });
  if (json) write(process.stdout, `${JSON.stringify({ adapter: known.adapter, ...answer })}\n`);
  else say(statistics(answer));
  return answer.finishReason === 'abort' ? INTERRUPTED : 0;
}

/** Everything up to the model's first step. */
async function begin(question: string, options: AskCommand, signal: AbortSignal, known: { adapter?: string }) {
  const load = loadOptions(options);
  const text = question === '-' ? (await readAll(process.stdin)).trim() : question;
  const processor = Processor.load(options.model);
  const sampling = samplingOf(processor.config, options);
  const opening = openDevice({ adapter: options.adapter }); // while threads decode the pictures
  const [device, prompt] = await Promise.all([opening, prepare(text, processor, options, signal)]);
  known.adapter = device.name;
  await introduce(device, options);
  const steps = answerSteps(prompt, options.maxTokens);
  Object.assign(load, { context: prompt.ids.length + steps - 1, pictureRows: 0, signal });
  const grids = prompt.pictures.map(({ grid }) => grid);
  const { releaseVision } = options;
  const workload = { load, sampled: sampling.temperature > 0, grids, releaseVision };
  const model = await loadPlanned(device, processor.config, options, workload);
  return { model, processor, prompt, sampling };
}

/** The question as a prompt; pictures that it does not place come first. */
async function prepare(question: string, processor: Processor, options: AskCommand, signal: AbortSignal) {
  const { image: paths = [], upright, mode, context } = options;
  const images = await Promise.all(paths.map((path) => readImage(path, { upright, signal })));
  const sideways = new Set(paths.filter((_, i) => images[i]!.orientation !== 1));
  if (sideways.size) say(`note: ${[...sideways].join(', ')}: stored sideways; --upright turns it`);
  const content = countImageMarks(question) > 0 ? question : '<image>\n'.repeat(images.length) + question;
  return processor.prepare([{ role: 'user', content }], images, { mode: modeOf(mode), context, signal });
}

type Begun = Awaited<ReturnType<typeof begin>>;

/** Answers, and shows the answer as it comes unless only JSON is to be printed. */
async function stream({ model, processor, prompt, sampling }: Begun, options: AskCommand, signal: AbortSignal) {
  const { maxTokens, releaseVision, json } = options;
  const view = new AnswerView(json);
  const { onProgress } = view;
  const parts = generateParts(model, processor, prompt, { maxTokens, sampling, releaseVision, signal, onProgress });
  try {
    for (;;) {
      const { done, value } = await parts.next();
      view.add(value);
      if (done) return value.answer;
    }
  } finally {
    view.end();
  }
}
