// tier: host
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { caseFiles, readCases } from '../bench/cases.ts';
import { Expected } from '../bench/expected.ts';
import { expandImages, Processor, readImage } from '../model/index.ts';
import { UsageError } from '../runtime/index.ts';

const TINY = fileURLToPath(new URL('../bench/reference/tiny', import.meta.url));
const PICTURES = fileURLToPath(new URL('../bench/cases/pictures', import.meta.url));
const { cases, reference } = caseFiles();
const processor = Processor.load(TINY);

/** Runs `body` with a temporary folder. */
async function inFolder(body: (dir: string) => Promise<void> | void): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'daybreak-cases-'));
  try {
    await body(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** Size and first half of the SHA-256 of the RGB values of every picture. */
const PIXELS: Record<string, string> = {
  'small.png': '150x100 a35b38e53bdbd93be5dc8a384e69536b',
  'screenshot.png': '1280x720 92035028ee2d383e288d845cbb3e6b06',
  'page.png': '700x906 d277405005e0e0c61ef3824dc1450292',
  'chart.png': '620x410 1e60a736d591daa5734627f125e91427',
  'morning.png': '400x300 1e2b7d9c667234982972293fc830cb2f',
  'noon.png': '320x320 108ba446e51a9e6359f83b8236b99241',
  'night.png': '290x410 1b47937de10b3b2f861a3c22459202f8',
  'receipt.png': '96x3200 4db58dcad7b39765be37d6079fba1eb1',
  'timeline.png': '3200x96 cb051a66c9c3e488c75b78dc95b71e30',
  'poster.png': '1600x1600 20d8d7f8197602a7322086d4df529a0b',
};

test('the pictures have the pixels that the reference was made of', async () => {
  const read = readdirSync(PICTURES).map(async (name) => {
    const { width, height, data } = await readImage(join(PICTURES, name));
    return [name, `${width}x${height} ${createHash('sha256').update(data).digest('hex').slice(0, 32)}`];
  });
  assert.equal(Object.fromEntries(await Promise.all(read)), PIXELS);
});

/** Positions of every case, and the patches of its pictures: rows x columns. */
const SIZES: Record<string, [number, ...string[]]> = {
  text: [85],
  small: [306, '13x19'],
  screenshot: [3712, '45x80'],
  page: [2479, '56x43'],
  chart: [1024, '25x38'],
  three: [1373, '18x24', '20x20', '25x18'],
  tall: [1256, '200x6'],
  wide: [1271, '6x200'],
  largest: [3669, '60x60'],
  long: [7919],
};

test('template, tokenizer and image processor make of the cases what the reference has', async () => {
  const expected = Expected.open(reference);
  const { decoder, image, contextLimit } = processor.config;
  const sizes: typeof SIZES = {};
  for (const { name, messages, images, mode } of cases) {
    const pictures = await Promise.all(images.map((path) => readImage(path)));
    const prompt = await processor.prepare(messages, pictures, { mode });
    const { ids, images: indices, length, runs } = expected.prompt(name);
    const grids = prompt.pictures.map(({ grid }) => grid);
    sizes[name] = [prompt.ids.length, ...grids.map(({ rows, cols }) => `${rows}x${cols}`)];
    const patches = grids.map(({ rows, cols }) => rows * cols);
    assert.equal(prompt.ids, expandImages(ids, patches, decoder.vocab), name);
    assert.is(prompt.ids.length, length, name);
    assert.ok(length + Math.max(...runs.map(({ tokens }) => tokens.length)) <= contextLimit, name);
    for (const [i, { pixels }] of prompt.pictures.entries()) {
      const rows = expected.stage(`img${indices[i]}.pixel_values`)!;
      assert.equal((pixels.data as Float32Array).subarray(0, rows.length), rows, images[i]);
      assert.is(expected.picture(indices[i]!, TINY), images[i]);
    }
  }
  assert.equal(expected.promptNames().sort(), cases.map(({ name }) => name).sort());
  expected.close();
  assert.equal(sizes, SIZES);
  assert.is(image.maxPatches, 60 * 60);
});

test('every picture is asked about', () => {
  const asked = cases.flatMap(({ images }) => images.map((path) => basename(path)));
  assert.equal(asked.sort(), Object.keys(PIXELS).sort());
  assert.ok(cases.find(({ name }) => name === 'long')!.messages.length > 2);
});

test('malformed cases are refused, by name', async () => {
  await inFolder((dir) => {
    const path = join(dir, 'cases.json');
    const read = (json: unknown) => {
      writeFileSync(path, typeof json === 'string' ? json : JSON.stringify(json));
      return readCases(path);
    };
    const good = { name: 'a', text: 'Hello' };
    const message = { role: 'user', content: 'Hello' };
    assert.equal(read([good]), [{ name: 'a', messages: [message], images: [], mode: 'hybrid' }]);
    assert.equal(read([{ name: 'a', messages: [message] }]), read([good]));
    const bad: [unknown, RegExp][] = [
      ['[', /cases\.json: expected a JSON list of cases/],
      ['{"\u009b\u0007', /expected a JSON list of cases, got [^\p{Cc}]*$/u],
      [[], /file: expected one at least, got 0/],
      [{}, /file: expected Array, got Object/],
      [[good, null], /: 1: expected Object, got null/],
      [[{ ...good, image: [] }], /: 0\.image: expected no such field, got "image"/],
      [[{ ...good, steps: 4 }], /: 0\.steps: expected no such field, got "steps"/],
      [[{ ...good, name: 'a.b' }], /: 0\.name: expected letters, digits, _ and -, got "a\.b"/],
      [[good, good], /file: expected every name once, got/],
      [[{ name: 'a' }], /: 0: expected either text or messages, got/],
      [[{ ...good, messages: [message] }], /: 0: expected either text or messages/],
      [[{ name: 'a', text: 1 }], /: 0\.text: expected .*string.*, got 1/],
      [[{ name: 'a', messages: [] }], /: 0\.messages: expected one at least, got 0/],
      [[{ name: 'a', messages: [{ ...message, image: 'a.png' }] }], /: 0\.messages\.0\.image: expected no such field/],
      [[{ ...good, images: [1] }], /: 0\.images\.0: expected string, got 1/],
      [[{ ...good, images: ['no.png'] }], /: 0\.images: expected pictures that there are, got .*no\.png/],
      [[{ ...good, mode: 'loud' }], /: 0\.mode: expected .*"hybrid".*, got "loud"/],
    ];
    for (const [json, pattern] of bad) {
      assert.throws(
        () => read(json),
        (error: unknown) => error instanceof UsageError && pattern.test(error.message),
        `${JSON.stringify(json)}`,
      );
    }
    rmSync(path);
    assert.throws(() => readCases(path), /ENOENT/);
  });
});

test.run();
