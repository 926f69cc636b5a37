// tier: any
// nopt
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AnswerText } from '../model/answer_text.ts';
import {
  boxes,
  ImageError,
  load,
  type Model,
  type Part,
  type PictureSource,
  type Result,
  readPicture,
} from '../model/api/index.ts';
import { generate, Phi4Vision, Processor, processImage, readImage, splitAnswer, Tokenizer } from '../model/index.ts';
import { CheckpointError, DaybreakError, PromptError } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { testDevice } from './gpu.ts';

const slow = process.env.DAYBREAK_SLOW === '1';
const picture = join(TINY, 'images/img1.png');
const question = [{ role: 'user', content: 'What is this?' }] as const;
const greedy = { temperature: 0, maxTokens: 12 } as const;

async function partsOf(parts: AsyncIterable<Part>): Promise<{ parts: Part[]; end: Result }> {
  const all: Part[] = [];
  for await (const part of parts) all.push(part);
  return { parts: all, end: all.at(-1)!.end! };
}

const joined = (parts: readonly Part[], key: 'text' | 'reasoning') => parts.map((part) => part[key]).join('');

const reasonOf = (work: Promise<unknown>): Promise<Error> =>
  work.then(
    () => new Error('expected an error, got none'),
    (error: Error) => error,
  );

test('reasoning and answer come apart, and what came is the whole, however the text is cut into tokens', () => {
  const tokenizer = Tokenizer.load(TINY);
  const texts = [
    '<think> so\n\n then </think>\n Done. ',
    'no tag <think> here</think>, < or <thin',
    '<|dummy_84|> At once <',
    ' <think>cut short <',
    ' on and on </think>',
    '',
  ];
  for (const mode of ['hybrid', 'think', 'nothink'] as const) {
    for (const text of texts) {
      const taken = { reasoning: '', answer: '' };
      const answer = new AnswerText(tokenizer, mode, {});
      const take = () => {
        const part = answer.take();
        taken.reasoning += part.reasoning;
        taken.answer += part.text;
      };
      for (const character of text) {
        for (const id of tokenizer.encode(character)) answer.push(id);
        take();
      }
      answer.end();
      take();
      assert.is(answer.whole, text);
      assert.equal(taken, splitAnswer(text, mode), `${mode}: ${text}`);
    }
  }
});

test('boxes and points of an answer are in pixels of the picture', () => {
  const size = { width: 960, height: 540 };
  const found = boxes('The icon is at [0.174, 0.868, 0.224, 0.977].', size);
  const [box] = found.boxes;
  assert.equal(found.points, []);
  const rounded = Object.values(box!).map((value) => Math.round(value * 100) / 100);
  assert.equal(rounded, [167.04, 468.72, 215.04, 527.58]);
  const text = 'First (0.5, 0.25), then [0,0,1,1] and click(x=0.1, y=1.0); [x1=.25, y1=0.5, x2=0.75, y2=1]';
  assert.equal(boxes(text, { width: 100, height: 200 }), {
    boxes: [
      { left: 0, top: 0, right: 100, bottom: 200 },
      { left: 25, top: 100, right: 75, bottom: 200 },
    ],
    points: [
      { x: 50, y: 50 },
      { x: 10, y: 200 },
    ],
  });
  const none = 'f(1, 0), [2, 3], (0.5, 1.5), [0.5, 0.5, 0.4, 0.9], [0.1, 0.2, 0.3], (a, 0.5), [12, 0.5]';
  assert.equal(boxes(none, size), { boxes: [], points: [] });
  assert.throws(() => boxes('', { width: 0, height: 3 }), /boxes: picture: expected its width and height, got 0 x 3/);
});

test('a picture from each source is the same picture', async () => {
  const bytes = readFileSync(picture);
  const expected = await readImage(picture);
  const base64 = bytes.toString('base64');
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
  shared.set(bytes);
  const sources: PictureSource[] = [
    picture,
    pathToFileURL(picture),
    pathToFileURL(picture).href,
    bytes,
    new Uint8Array(bytes),
    shared,
    new Blob([bytes]),
    `data:image/png;base64,${base64}`,
    `data:image/png;base64,${encodeURIComponent(base64)}`,
    new URL(`data:image/png;base64,${base64}`),
    `data:,${[...bytes].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')}`,
    expected,
    { ...expected, data: new Uint8ClampedArray(expected.data) },
  ];
  for (const [i, source] of sources.entries()) assert.equal(await readPicture(source), expected, `source ${i}`);
  const reused = new Uint8Array(bytes);
  const reading = readPicture(reused);
  reused.fill(0); // the caller's again as soon as the call is made
  assert.equal(await reading, expected);
  const sideways = fileURLToPath(new URL('fixtures/pictures/orientation_6.png', import.meta.url));
  const upright = await readPicture(readFileSync(sideways), { upright: true });
  assert.equal(upright, await readImage(sideways, { upright: true }));
});

test('a bad picture is refused in few words and without its bytes', async () => {
  const bytes = readFileSync(picture);
  const base64 = bytes.toString('base64');
  const short = Buffer.from('89504e470d0a1a0a0000000d49484452000000010000000108', 'hex').toString('base64').repeat(3);
  const bad: [unknown, RegExp][] = [
    [base64, /expected a path, got \d+ characters that are none; for base64, pass Buffer/],
    [short, /expected a path, got \d+ characters that are none/],
    [`data:image/png;base64,${base64}%`, /expected a data: URL of base64 after ;base64,/],
    [`data:image/png;base64,${base64}!`, /expected a data: URL of base64 after ;base64,/],
    ['data:image/png', /a comma before its data/],
    [`data:image/png;base64,${base64.slice(0, 400)}`, /picture of \d+ bytes: expected /],
    [bytes.subarray(0, 100), /picture of 100 bytes: expected /],
    [Buffer.from('SECRET of no kind'), /expected a PNG.* picture, got a file of another kind/],
    [new Blob([]), /picture of 0 bytes: .*got an empty file/],
    ['https://user:SECRET@example.org/SECRET.png', /got https:\/\/example.org; nothing is fetched/],
    [new URL('http://example.org/a.png'), /nothing is fetched/],
    ['file://server/a.png', /nothing is fetched/],
    ['', /expected a path, got an empty or broken one/],
    ['a\0SECRET', /expected a path, got an empty or broken one/],
    [undefined, /expected a path, .*, got undefined/],
    [null, /got null/],
    [{ width: 2, height: 2 }, /got object/],
    [`/nowhere/${'x'.repeat(250)}.png`, /^\.\.\.x+\.png: expected a readable picture file/],
  ];
  for (const [source, message] of bad) {
    const error = await reasonOf(readPicture(source as PictureSource));
    assert.instance(error, ImageError);
    assert.match(error.message, message);
    assert.ok(error.message.length < 600, error.message);
    for (const part of ['SECRET', base64.slice(0, 16), base64.slice(40, 56), short.slice(0, 16)])
      assert.not(error.message.includes(part), error.message);
  }
});

const device = await testDevice();
if (device) {
  const model = await load(TINY, { device });
  withModel(model);
  test.after(() => model.dispose());
}

test.run();

function withModel(model: Model): void {
  test('the parts of an answer are what generate() answers, with its tokens, counts and times', async () => {
    const processor = Processor.load(TINY);
    const below = await Phi4Vision.load(device!, TINY);
    const prompt = await processor.prepare(
      [{ role: 'user', content: '<image>\nWhat is this?' }],
      [await readImage(picture)],
    );
    const expected = await generate(below, processor, prompt, { maxTokens: 12, logProbs: 2 });
    below.dispose();
    const content = [
      { type: 'image_url', image_url: { url: picture } },
      { type: 'text', text: 'What is this?' },
    ] as const;
    const { parts, end } = await partsOf(
      model.generate({ messages: [{ role: 'user', content }], ...greedy, logProbs: 2 }),
    );
    assert.is(joined(parts, 'text'), expected.answer);
    assert.is(joined(parts, 'reasoning'), expected.reasoning);
    assert.is(end.text, expected.answer);
    assert.is(end.reasoning, expected.reasoning);
    assert.equal(
      parts.flatMap(({ tokenIds }) => tokenIds),
      expected.tokenIds,
    );
    assert.equal(end.tokenIds, expected.tokenIds);
    assert.equal(
      parts.flatMap(({ logProbs = [] }) => logProbs),
      expected.logProbs,
    );
    assert.equal(end.logProbs, expected.logProbs);
    assert.is(end.logProbs![0]![0]!.token, end.tokenIds[0]);
    assert.is(end.finishReason, expected.finishReason);
    assert.equal(end.usage, { promptTokens: prompt.ids.length, imageTokens: 255, newTokens: 12 });
    assert.ok(
      end.timing.ttftMillis > 0 && end.timing.ttftMillis <= end.timing.millis && end.timing.tokensPerSecond > 0,
    );
    assert.ok(parts.slice(0, -1).every((part) => part.end === undefined));
  });

  test('reasoning has its budget and its own text', async () => {
    const options = { messages: question, ...greedy, mode: 'think', thinkingBudget: 4 } as const;
    const { parts, end } = await partsOf(model.generate(options));
    assert.ok(end.reasoning.length > 0 && end.text.length > 0, JSON.stringify(end));
    assert.is(joined(parts, 'reasoning'), end.reasoning);
    assert.is(joined(parts, 'text'), end.text);
  });

  test('what is not told of sampling is as generation_config.json has it, and the seed is told', async () => {
    assert.equal(model.config.sampling, { temperature: 0.8, topP: 0.95, topK: 50, doSample: true });
    const draw = (options: object) => model.generate({ messages: question, maxTokens: 8, ...options }).result();
    const first = await draw({});
    const told = await draw({ seed: first.seed, temperature: 0.8, topK: 50, topP: 0.95 });
    assert.equal(told.tokenIds, first.tokenIds);
    const seeds = await Promise.all([draw({}), draw({}), draw({})]);
    assert.is(new Set(seeds.map(({ seed }) => seed)).size, 3);
    assert.is.not(new Set(seeds.map(({ text }) => text)).size, 1);
    const errors: [object, RegExp][] = [
      [{ temperature: -1 }, /sampling: temperature: expected a finite number/],
      [{ topP: 0 }, /sampling: topP: expected/],
      [{ topK: 1.5 }, /sampling: topK: expected/],
      [{ seed: 2 ** 32 }, /sampling: seed: expected/],
      [{ maxTokens: 0 }, /generate: maxTokens: expected an integer from 1 on/],
      [{ logProbs: 21 }, /logProbs: expected an integer from 0 to 20/],
      [{ mode: 'maybe' }, /chat: mode: expected hybrid, think, nothink/],
    ];
    for (const [options, message] of errors) {
      const error = await reasonOf(draw(options));
      assert.instance(error, PromptError);
      assert.match(error.message, message);
      assert.not.match(error.message, /--/);
    }
  });

  test("messages are OpenAI's: parts in order on lines of their own, and a mark in a text is text", async () => {
    const processor = Processor.load(TINY);
    const text = async (content: unknown, expected: string) => {
      const messages = [{ role: 'user', content }] as never;
      const end = await model.generate({ messages, ...greedy, maxTokens: 1 }).result();
      const images = expected.match(/(?<!\\)<image>/g) ?? [];
      const prompt = await processor.prepare(
        [{ role: 'user', content: expected }],
        await Promise.all(images.map(() => readImage(picture))),
      );
      assert.is(end.usage.promptTokens, prompt.ids.length, expected);
    };
    const image = { type: 'image', image: picture };
    const say = (words: string) => ({ type: 'text', text: words });
    await text('What is <image>?', 'What is \\<image>?');
    await text([image, say('What?')], '<image>\nWhat?');
    await text([say('One '), image, say(' or '), image, say('?')], 'One <image> or <image>\n?');
    await text([say('a\\<image>'), say('b')], 'a\\\\<image>\nb');
    const bad: [unknown, RegExp][] = [
      [[], /expected one at least, got none/],
      ['hello', /chat: messages: expected an array .*, got string/],
      [[null], /messages\[0\]: expected \{ role, content \}, got object/],
      [[{ role: 'robot', content: 'a' }], /messages\[0\]\.role: expected user/],
      [[{ role: 'user', content: 3 }], /messages\[0\]\.content: expected a string or an array of parts, got number/],
      [[{ role: 'user', content: [{ type: 'video' }] }], /content\[0\]: expected .*, got type "video"/],
      [[{ role: 'user', content: [null] }], /content\[0\]: expected/],
      [[{ role: 'user', content: '' }], /expected text or a picture, got neither/],
    ];
    for (const [messages, message] of bad) {
      const error = await reasonOf(model.generate({ messages: messages as never }).result());
      assert.instance(error, PromptError);
      assert.match(error.message, message);
    }
  });

  test('an abort ends an answer with what there is: at once, in the pictures, after three tokens', async () => {
    const ended = await model.generate({ messages: question, signal: AbortSignal.abort() }).result();
    assert.is(ended.finishReason, 'abort');
    assert.is(ended.usage.newTokens, 0);
    const stop = new AbortController();
    const messages = [{ role: 'user', content: [{ type: 'image', image: picture }] }] as const;
    const reading = model.generate({ messages, ...greedy, signal: stop.signal }).result();
    stop.abort();
    assert.is((await reading).finishReason, 'abort');
    const later = new AbortController();
    const whole = await model.generate({ messages: question, ...greedy }).result();
    const parts: Part[] = [];
    for await (const part of model.generate({ messages: question, ...greedy, signal: later.signal })) {
      parts.push(part);
      if (parts.length === 3) later.abort();
    }
    const { end } = parts.at(-1)!;
    assert.is(end!.finishReason, 'abort');
    assert.equal(end!.tokenIds, whole.tokenIds.slice(0, 3));
    assert.is(joined(parts, 'text'), end!.text);
  });

  test('an answer is whole once: after its parts, or after its loop was left, there is no other', async () => {
    const answer = model.generate({ messages: question, ...greedy });
    for await (const part of answer) if (part.tokenIds.length > 0) break;
    assert.match((await reasonOf(answer.result())).message, /generation: expected one that has not ended/);
  });

  test('a second turn computes its new tokens and answers as all messages at once', async () => {
    const chat = model.chat({ ...greedy, mode: 'nothink' });
    const unseen = join(mkdtempSync(join(tmpdir(), 'daybreak-')), 'picture.png');
    copyFileSync(join(TINY, 'images/img2.png'), unseen);
    const say = [
      [
        { type: 'image', image: unseen },
        { type: 'text', text: 'What is this?' },
      ],
      'And what is written on it?',
      'Sure?',
    ] as const;
    let before = 0;
    for (const content of say) {
      const asked = [...chat.messages, { role: 'user', content }] as const;
      let [computed, encoded] = [0, false];
      const onProgress = (phase: string, _: number, total: number) => {
        if (phase === 'prompt') computed = total;
        else encoded = true;
      };
      const { text, tokenIds, usage } = await chat.send(content, { onProgress }).result();
      const alone = await model.generate({ messages: asked, ...greedy, mode: 'nothink' }).result();
      assert.equal(tokenIds, alone.tokenIds);
      assert.equal(chat.messages.at(-1), { role: 'assistant', content: text });
      assert.is(encoded, before === 0);
      if (before > 0) assert.ok(computed <= usage.promptTokens - before + 1, `${computed} of ${usage.promptTokens}`);
      before = usage.promptTokens;
    }
    rmSync(dirname(unseen), { recursive: true });
    assert.is((await chat.send('Once more?').result()).usage.newTokens, 12); // the picture is kept
    chat.reset();
    assert.equal(chat.messages, []);
    chat.dispose();
  });

  test('turns draw with their own seeds, as generate() does', async () => {
    const chat = model.chat({ maxTokens: 8, mode: 'nothink' });
    for (const seed of [7, 8, 7]) {
      const messages = [...chat.messages, { role: 'user', content: 'More?' }] as const;
      const alone = await model.generate({ messages, maxTokens: 8, mode: 'nothink', seed }).result();
      assert.equal((await chat.send('More?', { seed }).result()).tokenIds, alone.tokenIds);
    }
    chat.dispose();
  });

  test('a turn counts as far as it was read, and one that fails leaves the conversation as it was', async () => {
    const chat = model.chat({ ...greedy, mode: 'nothink' });
    let said = '';
    for await (const { text } of chat.send('Hello')) {
      said += text;
      if (said.length > 2) break;
    }
    assert.equal(chat.messages, [
      { role: 'user', content: 'Hello' },
      { role: 'assistant', content: said },
    ]);
    const kept = chat.messages;
    await reasonOf(chat.send([{ type: 'image', image: '/nowhere.png' }]).result());
    await chat.send('Stop', { signal: AbortSignal.abort() }).result();
    assert.equal(chat.messages, kept);
    const stop = new AbortController();
    const abort = { signal: stop.signal, onProgress: () => stop.abort() };
    const other = join(TINY, 'images/img0.png');
    await chat.send([{ type: 'image', image: other }], abort).result();
    assert.equal(chat.messages, kept);
    const asked = [...kept, { role: 'user', content: [{ type: 'image', image: picture }] }] as const;
    const seen = await chat.send(asked.at(-1)!.content).result();
    const alone = await model.generate({ messages: asked, ...greedy, mode: 'nothink' }).result();
    assert.equal(seen.tokenIds, alone.tokenIds);
    assert.is(seen.usage.promptTokens, alone.usage.promptTokens);
    const first = chat.send('One')[Symbol.asyncIterator]();
    await first.next();
    assert.match((await reasonOf(chat.send('Two').result())).message, /chat: send: expected no answer on its way/);
    await first.return(undefined);
    assert.is((await chat.send('Three').result()).usage.newTokens, 12);
    chat.dispose();
  });

  test("embedImage gives the encoder's features, from any source", async () => {
    const below = await Phi4Vision.load(device!, TINY);
    const limits = { ...below.config.image, patch: below.config.vision.patch };
    const features = await below.encodeImage(processImage(await readImage(picture), limits));
    const expected = await device!.download(features.features);
    below.dispose();
    const { data, shape, grid } = await model.embedImage(readFileSync(picture));
    assert.equal({ data, shape }, { data: expected.data, shape: expected.shape });
    assert.is(grid.rows * grid.cols, shape[0]);
    const memory = device!.memory.current;
    await model.embedImage(picture);
    assert.is(device!.memory.current, memory);
  });

  test('loading tells its progress, can be stopped, and frees what it took', async () => {
    const before = device!.memory.current;
    const told: [string, number, number][] = [];
    const other = await load(TINY, { device: device!, onProgress: (...progress) => told.push(progress) });
    const last = (phase: string) => told.filter(([name]) => name === phase).at(-1)!;
    for (const phase of ['weights', 'kernels']) assert.is(last(phase)[1], last(phase)[2], phase);
    await other.dispose();
    await other.dispose();
    assert.is(device!.memory.current, before);
    assert.match(
      (await reasonOf(other.generate({ messages: question }).result())).message,
      /got one that was disposed/,
    );
    assert.instance(await reasonOf(other.embedImage(picture)), DaybreakError);
    for (const phase of ['weights', 'kernels']) {
      const stop = new AbortController();
      const onProgress = (name: string) => name === phase && stop.abort();
      assert.is(await reasonOf(load(TINY, { device: device!, signal: stop.signal, onProgress })), stop.signal.reason);
      await device!.idle();
      assert.is(device!.memory.current, before, phase);
    }
    assert.instance(await reasonOf(load('/nowhere', { device: device! })), CheckpointError);
  });

  test('disposing ends answers on their way, in whatever they are', async () => {
    for (const after of [0, 1, 20, 60]) {
      const other = await load(TINY, { device: device! });
      const messages = [{ role: 'user', content: [{ type: 'image', image: picture }] }] as const;
      const answers = [
        other.generate({ messages, ...greedy, maxTokens: 400 }).result(),
        other.generate({ messages: question, ...greedy, maxTokens: 400 }).result(),
      ];
      const paused = other.generate({ messages: question, ...greedy })[Symbol.asyncIterator]();
      await paused.next();
      await new Promise((resolve) => setTimeout(resolve, after));
      await other.dispose();
      for (const { finishReason } of await Promise.all(answers)) assert.is(finishReason, 'abort');
      let last: Part | undefined;
      for (let next = await paused.next(); !next.done; next = await paused.next()) last = next.value;
      assert.is(last!.end!.finishReason, 'abort');
    }
  });

  test(`${slow ? 200 : 12} chats of three turns leave memory as it was`, async () => {
    const chats = slow ? 200 : 12;
    const converse = async () => {
      const chat = model.chat({ ...greedy, mode: 'nothink' });
      await chat
        .send([
          { type: 'image', image: picture },
          { type: 'text', text: `${Math.random()}` },
        ])
        .result();
      for (const text of ['More?', 'And?']) await chat.send(text).result();
      chat.dispose();
    };
    for (let i = 0; i < chats / 2; i++) await converse();
    const [memory, resident] = [device!.memory.current, process.memoryUsage.rss()];
    for (let i = 0; i < chats / 2; i++) await converse();
    assert.is(device!.memory.current, memory);
    const grown = process.memoryUsage.rss() - resident;
    assert.ok(grown < 64 * 2 ** 20, `${grown} bytes more`);
  });

  test('a conversation, too, can be left to the language: await using', async () => {
    let freed: Model | undefined;
    const before = device!.memory.current;
    const script = async () => {
      await using other = await load(TINY, { device: device! });
      freed = other;
      using chat = other.chat(greedy);
      assert.is((await chat.send('Hello').result()).usage.newTokens, 12);
    };
    await script();
    assert.is(device!.memory.current, before);
    assert.match((await reasonOf(freed!.embedImage(picture))).message, /disposed/);
  });
}
