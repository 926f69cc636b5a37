// tier: host
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ChatTemplate, type Message, type Mode, splitAnswer, Tokenizer } from '../model/index.ts';
import { CheckpointError, PromptError } from '../runtime/index.ts';
import { randomNumbers } from './fixtures/random_numbers.ts';

const TINY = fileURLToPath(new URL('../bench/reference/tiny', import.meta.url));
const EXPECTED = JSON.parse(
  readFileSync(fileURLToPath(new URL('fixtures/tokenizer_expected.json', import.meta.url)), 'utf8'),
);
const SEED = Number(process.env.SEED ?? 20261122);
const CASES = Number(process.env.CASES ?? 600);
const dir = mkdtempSync(join(tmpdir(), 'chat-'));
const path = join(dir, 'chat_template.jinja');
const tokenizer = Tokenizer.load(TINY);
const tiny = ChatTemplate.load(TINY, tokenizer);
const HELLO: Message[] = [{ role: 'user', content: 'Hello' }];

/** What a template makes of a greeting. */
function render(template: string | Uint8Array): string {
  rmSync(path, { recursive: true, force: true });
  writeFileSync(path, template);
  return ChatTemplate.load(dir, tokenizer).render(HELLO);
}

/** A check that an error is of a kind and says something. */
function says(kind: typeof CheckpointError | typeof PromptError, ...parts: (string | RegExp)[]) {
  return (error: unknown) => {
    assert.instance(error, kind, String(error));
    for (const part of parts) assert.ok(`${error}`.split(part).length > 1, `${error} lacks ${part}`);
    return true;
  };
}

const refusesTemplate = (template: string | Uint8Array, ...parts: (string | RegExp)[]) =>
  assert.throws(() => render(template), says(CheckpointError, `${path}: template: expected `, ...parts));

test('3 conversations of the reference', () => {
  assert.is(EXPECTED.chat.length, 3);
  for (const [messages, open, text] of EXPECTED.chat) {
    assert.is(tiny.render(messages, 'hybrid', open), text);
  }
});

test('modes', () => {
  const prompt = tiny.render(HELLO);
  assert.ok(prompt.endsWith('<|im_start|>assistant<|im_sep|>\n'));
  assert.is(tiny.render(HELLO, 'hybrid'), prompt);
  assert.is(tiny.render(HELLO, 'think'), `${prompt}<think>`);
  assert.is(tiny.render(HELLO, 'nothink'), `${prompt}<|dummy_84|>`);
  assert.is(tiny.render(HELLO, 'think', false), prompt.slice(0, prompt.indexOf('<|im_start|>assistant')));
  for (const mode of ['toString', null, {}] as unknown as Mode[]) {
    assert.throws(() => tiny.render(HELLO, mode), says(PromptError, 'mode: expected hybrid, think, nothink, got'));
  }
});

test('a mode whose token the tokenizer lacks', () => {
  const json = JSON.parse(readFileSync(join(TINY, 'tokenizer.json'), 'utf8'));
  const plain = (token: { content: string }) => !/think>|dummy_84/.test(token.content);
  writeFileSync(
    join(dir, 'tokenizer.json'),
    JSON.stringify({ ...json, added_tokens: json.added_tokens.filter(plain) }),
  );
  const template = ChatTemplate.load(TINY, Tokenizer.load(dir));
  assert.is(template.render(HELLO), tiny.render(HELLO));
  assert.throws(() => template.render(HELLO, 'think'), says(PromptError, 'mode think: expected a token <think>'));
  assert.throws(() => template.render(HELLO, 'nothink'), says(PromptError, 'expected a token <|dummy_84|>'));
});

test('the thinking of earlier answers is left out', () => {
  const conversation = (answer: string): Message[] => [
    { role: 'user', content: 'Why?' },
    { role: 'assistant', content: answer },
    { role: 'user', content: 'And <think> this </think>?' },
  ];
  const plain = tiny.render(conversation('Because.'));
  for (const answer of [
    '<think>hm\nhm</think>\n\nBecause.',
    'hm</think>Because.',
    '<|dummy_84|>Because.',
    ' <think></think> Because. ',
  ]) {
    assert.is(tiny.render(conversation(answer)), plain, answer);
  }
  assert.is(tiny.render(conversation('<think>cut sh')), tiny.render(conversation('')));
  assert.ok(plain.includes('And <think> this </think>?'));
});

test('answers', () => {
  const cases: [string, Mode, string, string][] = [
    ['<think>a b</think>c', 'hybrid', 'a b', 'c'],
    ['<think>\na\n</think>\n\nc\n', 'hybrid', 'a', 'c'],
    ['c', 'hybrid', '', 'c'],
    ['<|dummy_84|>c', 'hybrid', '', 'c'],
    ['<|dummy_84|>\n<think>a</think>c', 'hybrid', 'a', 'c'],
    ['<think>a', 'hybrid', 'a', ''],
    ['', 'hybrid', '', ''],
    ['c </think> d', 'hybrid', '', 'c </think> d'],
    ['a</think>c', 'think', 'a', 'c'],
    ['a</think>c</think>d', 'think', 'a', 'c</think>d'],
    ['<think>a</think>c', 'think', 'a', 'c'],
    ['a', 'think', 'a', ''],
    ['', 'think', '', ''],
    ['c', 'nothink', '', 'c'],
    ['<think>a</think>c', 'nothink', 'a', 'c'],
    ['see <think>', 'nothink', '', 'see <think>'],
  ];
  for (const [text, mode, reasoning, answer] of cases) {
    assert.equal(splitAnswer(text, mode), { reasoning, answer }, `${mode}: ${text}`);
  }
});

test('messages that are refused', () => {
  const refuses = (messages: unknown, ...parts: string[]) =>
    assert.throws(() => tiny.render(messages as Message[]), says(PromptError, ...parts));
  refuses([], 'messages: expected one at least');
  for (const role of ['tool', 'User', '', undefined, null, 1]) {
    refuses([...HELLO, { role, content: 'x' }], 'messages[1].role: expected user, assistant or system');
  }
  for (const content of [[{ type: 'text', text: 'x' }], undefined, null, 1, { text: 'x' }]) {
    refuses([{ role: 'user', content }], 'messages[0].content: expected a string');
    refuses([...HELLO, { role: 'assistant', content }], 'messages[1].content: expected a string');
  }
  for (const content of ['', ' \n\t'])
    refuses([{ role: 'user', content }], 'messages[0].content: expected text or a picture');
  refuses([{ role: 'user', content: 'a'.repeat(2 ** 22 + 1) }], 'at most 4194304 characters, got 4194305');
});

test('text of messages is not part of the template', () => {
  const content = '{{ 1 }}{% if %}{# x #} <|im_end|>\r\n\\n "\' \u2028 </s>';
  assert.ok(tiny.render([{ role: 'user', content }]).includes(`<|im_sep|>${content}<|im_end|>`));
});

test('templates as the reference reads them', () => {
  assert.is(
    render('a\n{% for m in messages %}\n  {{ m.role }}: {{ m["content"] | trim }}\n{% endfor %}\nb\n'),
    'a\n  user: Hello\nb',
  );
  assert.is(render('a\n  {% if true %}\nb\n  {% endif %}\nc'), 'a\nb\nc');
  assert.is(render('a\r\n{% if true %}\r\nb\r\n{% endif %}\r\n'), 'a\nb\n');
  assert.is(render('{% if add_generation_prompt and not tools and True and none is none %}yes{% endif %}'), 'yes');
  assert.is(
    render('{% for i in range(3) %}{{ i }}{% endfor %}{{ range(5, 0, -2)[1] }}{{ range(2, 1)|length }}'),
    '01230',
  );
  assert.is(
    render('{% set ns = namespace(n=0) %}{% for i in range(1, 4) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}'),
    '6',
  );
});

test('templates that are missing, too long or broken', () => {
  rmSync(path, { force: true });
  const places = 'a chat_template in tokenizer_config.json or chat_template.json, got none';
  assert.throws(() => ChatTemplate.load(dir, tokenizer), says(CheckpointError, path, places));
  assert.throws(() => ChatTemplate.load(join(path, 'x'), tokenizer), says(CheckpointError, path));
  for (const broken of ['{{', '{% for %}', '{% endfor %}', '{{ "a }}', '{# a', '{% foo %}', `{{${'('.repeat(1e5)}`]) {
    refusesTemplate(broken);
  }
  refusesTemplate(Uint8Array.of(0x61, 0xff), 'encoded data was not valid');
  refusesTemplate('a'.repeat(2 ** 20 + 1), 'got 1048577 bytes');
  refusesTemplate('{{ raise_exception("roles must alternate") }}', 'roles must alternate');
  refusesTemplate('{{ messages.constructor.constructor("return process")() }}', 'constructor is undefined');
});

test('variables as transformers gives them', () => {
  const given = '{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token }}|{{ sep_token is defined }}';
  assert.is(render(given), '<|endoftext|>|<|im_end|>|<|dummy_85|>|<|endoftext|>|False');
  assert.is(render('{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}'), 'TrueTrueTrue');
  assert.is(render('{% for m in messages %}{{ m.content }}{% break %}{% endfor %}'), 'Hello');
  const folder = mkdtempSync(join(tmpdir(), 'chat-roles-'));
  copyFileSync(join(TINY, 'tokenizer.json'), join(folder, 'tokenizer.json'));
  writeFileSync(
    join(folder, 'chat_template.jinja'),
    '{{ bos_token }}{{ additional_special_tokens }}{{ eos_token is defined }}',
  );
  const rendered = (config: object) => {
    writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(config));
    return ChatTemplate.load(folder, Tokenizer.load(folder)).render(HELLO);
  };
  const special = { additional_special_tokens: ['<think>', { content: '</think>' }], eos_token: null };
  assert.is(
    rendered({ bos_token: { content: '<|im_start|>' }, ...special }),
    "<|im_start|>['<think>', '</think>']False",
  );
  assert.throws(() => rendered({ bos_token: 7 }), says(CheckpointError, 'bos_token: expected a token'));
  rmSync(folder, { recursive: true });
});

test('a template is found where transformers finds it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'chat-places-'));
  const put = (name: string, text: string) => writeFileSync(join(folder, name), text);
  const found = () => ChatTemplate.load(folder, tokenizer).render(HELLO);
  const refuses = (...parts: string[]) =>
    assert.throws(() => ChatTemplate.load(folder, tokenizer), says(CheckpointError, ...parts));
  put('chat_template.json', JSON.stringify({ chat_template: 'processor' }));
  assert.is(found(), 'processor');
  put('tokenizer_config.json', JSON.stringify({ chat_template: null }));
  assert.is(found(), 'processor');
  put('tokenizer_config.json', JSON.stringify({ chat_template: 'a\r\n{{ messages[0].content }}\n' }));
  assert.is(found(), 'a\nHello');
  const list = [
    { name: 'tool_use', template: 'tools' },
    { name: 'default', template: 'listed' },
  ];
  put('tokenizer_config.json', JSON.stringify({ chat_template: list }));
  assert.is(found(), 'listed');
  for (const bad of [list.slice(0, 1), 7, {}, 'x'.repeat(2 ** 20 + 1)]) {
    put('tokenizer_config.json', JSON.stringify({ chat_template: bad }));
    refuses(join(folder, 'tokenizer_config.json'), 'chat_template: expected a text');
  }
  put('tokenizer_config.json', JSON.stringify({ chat_template: '{% for %}' }));
  refuses(join(folder, 'tokenizer_config.json'), 'template: expected a Jinja chat template');
  mkdirSync(join(folder, 'additional_chat_templates'));
  put('additional_chat_templates/tool_use.jinja', 'tools');
  refuses('additional_chat_templates', 'expected a default.jinja, got tool_use.jinja');
  put('chat_template.jinja', 'file');
  assert.is(found(), 'file');
  put('additional_chat_templates/default.jinja', 'named default');
  assert.is(found(), 'named default');
  put('additional_chat_templates/default.jinja', 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n');
  refuses('default.jinja: file: expected its contents, got a Git LFS pointer; run git lfs pull');
  rmSync(folder, { recursive: true });
});

test('templates that never end, or grow, are stopped', () => {
  const double = (value: string, operator: string) =>
    `{% set ns = namespace(a=${value}) %}{% for i in range(99) %}{% set ns.a = ns.a ${operator} ns.a %}{% endfor %}`;
  const grown = /a value of size|more than 2000 ms/; // a busy machine stops it by its time
  const bad = [
    ['{% for i in range(1000000000) %}x{% endfor %}', 'range() of 1000000000'],
    ['{% for i in range(0, 1, 0) %}x{% endfor %}', 'range() of Infinity'],
    ['{{ range("x") }}', 'range() of NaN'],
    ['{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}', 'more than 2000 ms'],
    [double('"x"', '~'), grown],
    [double('[1]', '+'), grown],
    [double('"x"', '|replace("x", "xxxxxxxxxx") ~'), grown],
    ['{{ "a\nb"|indent(1000000000) }}', 'Invalid string length'],
    ['{% macro f() %}{{ g() }}{% endmacro %}{% set g = f %}{{ f() }}', ''],
  ] as const;
  for (const text of [`${' '.repeat(2e5)}x`, `x${'\n '.repeat(2e5)}`]) assert.is(render(text), text);
  for (const [template, got] of bad) {
    const started = performance.now();
    refusesTemplate(template, got);
    assert.ok(performance.now() - started < 10_000, template.slice(0, 100));
  }
});

test(`fuzz: ${CASES} damaged templates, seed ${SEED}`, () => {
  console.log(`  fuzz seed ${SEED} (set SEED and CASES to change it)`);
  const random = randomNumbers(SEED);
  const pick = (n: number) => Math.floor(random() * n);
  const original = readFileSync(join(TINY, 'chat_template.jinja'));
  const parts = [
    '{%',
    '%}',
    '{{',
    '}}',
    '{#',
    ' - ',
    "'",
    '(',
    '[0]',
    '|tojson',
    ' in range(9)',
    'set x = messages',
    '\n',
    '{% else %}',
    ' ~ ',
    '*',
    '\0',
  ];
  const outcomes = { rendered: 0, refused: 0 };
  for (let i = 0; i < CASES; i++) {
    const at = pick(original.length);
    const inserted = i % 2 ? Buffer.from(parts[pick(parts.length)]!) : Uint8Array.of(pick(256));
    const damaged = Buffer.concat([original.subarray(0, at), inserted, original.subarray(at + pick(6))]);
    const started = performance.now();
    try {
      assert.type(render(damaged), 'string');
      outcomes.rendered++;
    } catch (error) {
      if (!(error instanceof CheckpointError)) assert.unreachable(`${damaged.toString('base64')}: ${error}`);
      outcomes.refused++;
    }
    assert.ok(performance.now() - started < 10_000, `case ${i}`);
  }
  assert.ok(outcomes.rendered > CASES / 10 && outcomes.refused > CASES / 10, JSON.stringify(outcomes));
  copyFileSync(join(TINY, 'chat_template.jinja'), path);
  assert.is(ChatTemplate.load(dir, tokenizer).render(HELLO), tiny.render(HELLO));
});

test.after(() => rmSync(dir, { recursive: true }));
test.run();
