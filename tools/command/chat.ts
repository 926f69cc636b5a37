import { createInterface } from 'node:readline';
import type { Chat, ContentPart, Picture, Result } from '../../model/api/index.ts';
import { Model } from '../../model/api/model.ts';
import { readPicture } from '../../model/api/picture.ts';
import { Processor } from '../../model/index.ts';
import { DaybreakError, DeviceLostError, openDevice, orAborted } from '../../runtime/index.ts';
import { AnswerView, statistics } from './answer_view.ts';
import { INTERRUPTED, onInterrupt } from './interrupt.ts';
import { type AnswerCommand, introduce, loadOptions, loadPlanned, modeOf, samplingOf } from './loading.ts';
import { say } from './terminal.ts';

const HELP = `A line is a message, and its answer knows all that came before. A line that begins with / is one of these:
  /image PATH               show a picture with the next message; may be repeated
  /mode think|nothink|auto  whether the model thinks before it answers
  /reset                    forget what was said and shown
  /help                     this text
  /exit                     end, as the end of the input does (Ctrl-D)
Ctrl-C stops an answer, which counts as far as it came; twice, it ends the program.`;

const MODES: readonly string[] = ['auto', 'think', 'nothink'] satisfies AnswerCommand['mode'][];

/** A conversation line by line, on a terminal or from a pipe. Returns 0, 1 where a line of a pipe failed, or 130. */
export async function chat(options: AnswerCommand): Promise<number> {
  let running = new AbortController();
  let idle = false;
  const { press } = onInterrupt(() => {
    if (running.signal.aborted) process.exit(INTERRUPTED);
    running.abort();
    if (idle) say('Ctrl-C again ends, as does /exit');
  });
  const { signal } = running;
  const model = await orAborted(open(options, signal), signal).catch((error) => {
    if (!signal.aborted) throw error;
  });
  if (!model) return INTERRUPTED;
  const onTerminal = Boolean(process.stdin.isTTY && process.stdout.isTTY);
  const conversation = new Conversation(model, options);
  const output = onTerminal ? process.stdout : undefined;
  const lines = createInterface({ input: process.stdin, output, terminal: onTerminal, prompt: '> ' });
  lines.on('SIGINT', press); // of a terminal, which readline keeps from sending signals
  if (onTerminal) say('/help tells what there is beside messages');
  let failed = false;
  const wait = () => {
    idle = true;
    if (onTerminal) lines.prompt();
  };
  wait();
  try {
    for await (const line of lines) {
      idle = false;
      running = new AbortController();
      const done = await conversation.take(line.trim(), running.signal);
      if (done === 'end') break;
      failed ||= done === 'failed';
      wait();
    }
  } finally {
    lines.close(); // it would wait for more
    await model.dispose();
  }
  return failed && !onTerminal ? 1 : 0;
}

async function open(options: AnswerCommand, signal: AbortSignal): Promise<Model> {
  const load = { ...loadOptions(options), context: options.context, signal };
  const processor = Processor.load(options.model);
  const sampled = samplingOf(processor.config, options).temperature > 0;
  const device = await openDevice({ adapter: options.adapter });
  await introduce(device, options);
  const vision = await loadPlanned(device, processor.config, options, { load, sampled });
  return new Model(processor, vision, true);
}

/** The messages and commands of a user. */
class Conversation {
  #chat: Chat;
  #mode: AnswerCommand['mode'];
  #upright: boolean | undefined;
  #pictures: Picture[] = [];

  constructor(model: Model, options: AnswerCommand) {
    const { maxTokens, mode, upright } = options;
    this.#chat = model.chat({ maxTokens, ...samplingOf(model.config, options) });
    this.#mode = mode;
    this.#upright = upright;
  }

  /** Does what a line says; an error of its own is told, and the conversation goes on. */
  async take(line: string, signal: AbortSignal): Promise<'done' | 'failed' | 'end'> {
    if (line === '') return 'done';
    if (line === '/exit') return 'end';
    try {
      await (line.startsWith('/') ? this.#obey(line) : this.#answer(line, signal));
      return 'done';
    } catch (error) {
      if (!(error instanceof DaybreakError) || error instanceof DeviceLostError) throw error;
      say(`error: ${error.message}`);
      return 'failed';
    }
  }

  async #obey(line: string): Promise<void> {
    const [, command, value = ''] = /^(\/\S*)\s*(.*)$/.exec(line)!;
    if (command === '/help') return say(HELP);
    if (command === '/image') return this.#show(value);
    if (command === '/reset') {
      this.#chat.reset();
      this.#pictures = [];
      return;
    }
    if (command !== '/mode') throw new DaybreakError(`chat: expected a command that /help lists, got ${command}`);
    if (!MODES.includes(value)) throw new DaybreakError(`chat: /mode: expected ${MODES.join(', ')}, got '${value}'`);
    this.#mode = value as AnswerCommand['mode'];
  }

  async #show(path: string): Promise<void> {
    const picture = await readPicture(path, { upright: this.#upright });
    this.#pictures.push(picture);
    const sideways = picture.orientation === 1 ? '' : ', stored sideways; --upright turns it';
    say(`${path}: ${picture.width} x ${picture.height}${sideways}`);
  }

  async #answer(text: string, signal: AbortSignal): Promise<void> {
    const view = new AnswerView();
    const shown = this.#pictures.map((image): ContentPart => ({ type: 'image', image }));
    let computed = 0;
    const onProgress: AnswerView['onProgress'] = (phase, done, total) => {
      if (phase === 'prompt') computed = total;
      view.onProgress(phase, done, total);
    };
    let result: Result | undefined;
    try {
      const content = [...shown, { type: 'text', text } as const];
      for await (const part of this.#chat.send(content, { mode: modeOf(this.#mode), signal, onProgress })) {
        view.add(part);
        result = part.end;
      }
    } finally {
      view.end();
    }
    this.#pictures = [];
    const { usage, timing, finishReason } = result!;
    say(statistics({ ...usage, ...timing, finishReason, computed }));
  }
}
