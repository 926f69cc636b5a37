// tier: host
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  ChatTemplate,
  checkLength,
  countImageMarks,
  encodePrompt,
  expandImages,
  IMAGE_ID,
  loadConfig,
  type ModelConfig,
  Processor,
  Tokenizer,
} from '../model/index.ts';
import { PromptError } from '../runtime/index.ts';

const TINY = fileURLToPath(new URL('../bench/reference/tiny', import.meta.url));
const EXPECTED = JSON.parse(
  readFileSync(fileURLToPath(new URL('fixtures/tokenizer_expected.json', import.meta.url)), 'utf8'),
);
const tokenizer = Tokenizer.load(TINY);
const config = loadConfig(TINY);

/** The body must throw a PromptError with this text. */
function refuses(body: () => unknown, text: string): void {
  assert.throws(body, (error: unknown) => {
    assert.instance(error, PromptError, String(error));
    assert.ok(`${error}`.includes(text), `${error} lacks ${text}`);
    return true;
  });
}

test('18 prompts of the reference', () => {
  const template = ChatTemplate.load(TINY, tokenizer);
  assert.is(EXPECTED.prompt_ids.length, 18);
  for (const [messages, mode, ids] of EXPECTED.prompt_ids) {
    const pictures = ids.filter((id: number) => id === IMAGE_ID).length;
    const got = encodePrompt(tokenizer, template.render(messages, mode), pictures);
    assert.instance(got, Int32Array);
    assert.equal([...got], ids);
  }
});

test('the texts beside a picture are encoded each on its own', () => {
  assert.equal([...encodePrompt(tokenizer, '<image>', 1)], [IMAGE_ID]);
  assert.equal([...encodePrompt(tokenizer, '<image><image>', 2)], [IMAGE_ID, IMAGE_ID]);
  assert.equal([...encodePrompt(tokenizer, ' <image> ', 1)], [220, IMAGE_ID, 220]);
  assert.equal([...encodePrompt(tokenizer, '<|im_sep|> \n<image>\n <|im_end|>', 1)], [505, IMAGE_ID, 508]);
  assert.equal([...encodePrompt(tokenizer, '<Image>', 0)], tokenizer.encode('<Image>'));
});

test('a backslash makes a mark the text <image>', () => {
  const encode = (text: string, pictures: number) => [...encodePrompt(tokenizer, text, pictures)];
  assert.equal(encode('a \\<image> b', 0), tokenizer.encode('a <image> b'));
  assert.equal(encode('\\\\<image>', 0), tokenizer.encode('\\<image>'));
  assert.equal(encode('<image>\\<image><image>', 2), [IMAGE_ID, ...tokenizer.encode('<image>'), IMAGE_ID]);
  assert.equal(['<image>', 'a', '\\<image>', '\\<image> <image>'].map(countImageMarks), [1, 0, 0, 1]);
  refuses(() => encode('\\<image><image>', 0), 'and write \\<image> for the text <image>');
});

test('as many marks as pictures, and something at all', () => {
  refuses(() => encodePrompt(tokenizer, 'a <image> b', 0), 'expected 1, one per <image>, got 0');
  refuses(() => encodePrompt(tokenizer, 'a', 1), 'expected 0, one per <image>, got 1');
  refuses(() => encodePrompt(tokenizer, '<image><image>', 3), 'expected 2, one per <image>, got 3');
  refuses(() => encodePrompt(tokenizer, '', 0), 'expected text or a picture, got neither');
});

test('pictures become positions past the vocabulary', () => {
  const ids = Int32Array.of(7, IMAGE_ID, 8, IMAGE_ID);
  assert.equal([...expandImages(ids, [2, 3], 512)], [7, 512, 513, 8, 514, 515, 516]);
  refuses(() => expandImages(ids, [2], 512), 'expected 2, one per <image>, got 1');
  refuses(() => expandImages(Int32Array.of(512), [], 512), 'expected 0 to 511, got 512');
  refuses(() => expandImages(Int32Array.of(-1), [], 512), 'expected 0 to 511, got -1');
});

test('a prompt fits the context, and the context the model', () => {
  const limits = (contextLimit: number, maxPositions: number): ModelConfig => ({
    ...config,
    contextLimit,
    decoder: { ...config.decoder, maxPositions },
  });
  checkLength(16384, undefined, config);
  checkLength(32768, 32768, config);
  checkLength(100, 100, config);
  checkLength(4096, undefined, limits(4096, 4096));
  refuses(() => checkLength(16385, undefined, config), 'expected at most 16384 positions, got 16385');
  refuses(() => checkLength(101, 100, config), 'expected at most 100 positions, got 101');
  refuses(() => checkLength(1, 32769, config), 'expected at most 32768 positions, got 32769');
  refuses(() => checkLength(1, Number.NaN, config), 'expected at most 32768 positions, got NaN');
  refuses(() => checkLength(1, 2.5, config), 'expected at most 32768 positions, got 2.5');
  refuses(() => checkLength(1, null as unknown as number, config), 'positions, got null');
  refuses(() => checkLength(4097, undefined, limits(4096, 4096)), 'expected at most 4096 positions, got 4097');
});

test('a picture of too many patches is refused before memory is taken for them', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'daybreak-prompt-'));
  for (const name of ['tokenizer.json', 'chat_template.jinja']) copyFileSync(join(TINY, name), join(dir, name));
  const json = JSON.parse(readFileSync(join(TINY, 'config.json'), 'utf8'));
  writeFileSync(
    join(dir, 'config.json'),
    JSON.stringify({ ...json, min_num_patches: 2 ** 31, max_num_patches: 2 ** 31 }),
  );
  const processor = Processor.load(dir);
  rmSync(dir, { recursive: true });
  const picture = { width: 1000, height: 1000, data: new Uint8Array(3_000_000) };
  const error = await processor.prepare([{ role: 'user', content: '<image>' }], [picture]).catch((e: Error) => e);
  refuses(() => {
    throw error;
  }, 'at most 16384 positions, got 3906');
});

test.run();
