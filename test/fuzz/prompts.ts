import type { Random } from '../../kernels/spec.ts';
import {
  generate,
  type Message,
  type Mode,
  Phi4Vision,
  Processor,
  type Prompt,
  type RgbImage,
} from '../../model/index.ts';
import { openDevice } from '../../runtime/index.ts';
import { TINY } from '../bench.ts';
import { outcome, pick, type RunCase } from './target.ts';

const MARKS = [
  '<image>',
  '<think>',
  '</think>',
  '<|im_start|>',
  '<|im_end|>',
  '<|im_sep|>',
  '<|dummy_84|>',
  '<|endoftext|>',
];
const TEXTS = [
  '',
  ' ',
  '\n',
  '\r\n',
  'a',
  'Was ist das?',
  '日本語',
  '👩‍👩‍👧',
  'e\u0301',
  '\u0000',
  '\ud800',
  '\u{10ffff}',
  '\ufeff',
  '{{ 1 }}',
  '\u2028',
];
const ROLES = ['user', 'user', 'user', 'assistant', 'system'];
const WRONG = [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, 2 ** 53, null, 'x', undefined, {}];
/** Every so many cases are answered too. */
const ANSWERED = 8;

/** Conversations of all kinds, with pictures, modes and contexts. */
export async function prompts(): Promise<RunCase> {
  const processor = Processor.load(TINY);
  const device = await openDevice();
  const model = await Phi4Vision.load(device, TINY);
  const image = { width: 9, height: 9, data: new Uint8Array(243) };
  const first = await processor.prepare([{ role: 'user', content: '<image>' }], [image], { mode: 'nothink' });
  await generate(model, processor, first, { maxTokens: 2 }); // what the first request makes stays
  return async (random, note) => {
    const messages = Array.from({ length: random.below(5) }, () => message(random));
    const marks = messages.map(({ content }) => `${content}`.split('<image>').length - 1).reduce((a, b) => a + b, 0);
    const images = Array.from({ length: random.below(8) ? Math.min(marks, 6) : random.below(3) }, () =>
      picture(random),
    );
    const context = random.below(2)
      ? undefined
      : random.below(4)
        ? 1 + random.below(3000)
        : (pick(random, WRONG) as number);
    const mode = (random.below(10) ? pick(random, ['hybrid', 'think', 'nothink']) : pick(random, WRONG)) as Mode;
    note(
      JSON.stringify({ messages, images: images.map(({ width, height }) => [width, height]), context, mode }).slice(
        0,
        2000,
      ),
    );
    const before = device.memory.current;
    const result = await outcome(async () => {
      const prompt = await processor.prepare(messages, images, { mode, context });
      checkPrompt(prompt, processor);
      if (prompt.ids.length < 1200 && random.below(ANSWERED) === 0)
        await generate(model, processor, prompt, { maxTokens: random.below(4) });
    });
    device.guard('after the case', () => {});
    if (device.memory.current !== before) throw new Error(`${device.memory.current - before} device bytes are lost`);
    return result;
  };
}

/** Every position is a token or the next row of a picture, and all of them fit. */
function checkPrompt({ ids, pictures, context }: Prompt, { config, tokenizer }: Processor): void {
  const { vocab, maxPositions } = config.decoder;
  const rows = pictures.reduce((sum, { grid }) => sum + grid.rows * grid.cols, 0);
  const features = ids.filter((id) => id >= vocab);
  if (features.length !== rows || features.some((id, i) => id !== vocab + i))
    throw new Error('wrong picture positions');
  if (!(Number.isInteger(context) && ids.length <= context && context <= maxPositions)) {
    throw new Error(`${ids.length} positions in a context of ${context}`);
  }
  tokenizer.decode(ids);
}

function message(random: Random): Message {
  const content = random.below(40) === 0 ? pick(random, WRONG) : text(random);
  return { role: random.below(40) ? pick(random, ROLES) : pick(random, WRONG), content } as Message;
}

function text(random: Random): string {
  const parts = Array.from({ length: random.below(12) }, () => {
    switch (random.below(4)) {
      case 0:
        return pick(random, MARKS);
      case 1:
        return String.fromCodePoint(random.below(random.below(2) ? 0x110000 : 0x800));
      case 2:
        return pick(random, TEXTS).repeat(1 + random.below(random.below(10) ? 3 : 2000));
      default:
        return pick(random, TEXTS);
    }
  });
  return parts.join('');
}

/** A small picture, now and then one whose data do not fit its size. */
function picture(random: Random): RgbImage {
  const [width, height] = [1 + random.below(60), 1 + random.below(60)];
  if (random.below(20) === 0)
    return { width: pick(random, WRONG) as number, height, data: new Uint8Array(random.below(100)) };
  return { width, height, data: new Uint8Array(width * height * 3).fill(random.below(256)) };
}
