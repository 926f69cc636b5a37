// tier: any
// nopt
// bench accuracy: how many questions of a file a model answers right.
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { interval, isRight } from '../bench/accuracy/judge.ts';
import { readTasks } from '../bench/accuracy/tasks.ts';
import { load } from '../model/api/index.ts';
import { generate, Phi4Vision, Processor, readImage } from '../model/index.ts';
import { UsageError } from '../runtime/index.ts';
import { fails, runBench, runDaybreak, TINY } from './bench.ts';
import { testDevice } from './gpu.ts';

const near = (got: number, wanted: number) => assert.ok(Math.abs(got - wanted) < 5e-5, `${got}, not ${wanted}`);

test('an answer is right word for word, or where its box or point has its centre in the box that was asked for', () => {
  assert.ok(isRight({ judge: 'exact', answer: '42' }, ' 42\n'));
  assert.not(isRight({ judge: 'exact', answer: '42' }, '42.'));
  const find = (got: string) => isRight({ judge: 'centre', answer: '[0.20, 0.40, 0.60, 0.50]' }, got);
  assert.ok(find('[0.10, 0.42, 0.50, 0.46]'));
  assert.ok(find('It is at [0.6, 0.5].'));
  assert.not(find('[0.50, 0.42, 0.90, 0.46]'));
  assert.not(find('[0.20, 0.55, 0.60, 0.65]'));
  assert.not(find('nowhere'));
});

test('intervals are those of Wilson', () => {
  for (const [right, all, low, high] of [
    [48, 50, 0.8654, 0.989],
    [0, 10, 0, 0.2775],
    [10, 10, 0.7225, 1],
    [1, 2, 0.0945, 0.9055],
  ] as const) {
    near(interval(right, all).low, low);
    near(interval(right, all).high, high);
  }
});

test('an interval ends at 0 and 1 exactly', () => {
  for (let all = 1; all < 40; all++) {
    assert.is(interval(0, all).low, 0);
    assert.is(interval(all, all).high, 1);
  }
});

test('a file that is wrong is refused with its line', () => {
  const dir = mkdtempSync(join(tmpdir(), 'daybreak-accuracy-'));
  try {
    const file = join(dir, 'tasks.jsonl');
    const good = { name: 'a-1', task: 'a', messages: [{ role: 'user', content: 'Hi' }], answer: 'Hello' };
    const picture = [{ role: 'user', content: '<image>' }];
    const cases: [string, RegExp][] = [
      ['', /expected a task in each line, got an empty file/],
      ['{', /tasks\.jsonl:2: expected a line of JSON/],
      [JSON.stringify({ ...good, answer: 1 }), /:2: answer: expected string, got 1/],
      [JSON.stringify({ ...good, answr: '' }), /:2: answr: expected no such field/],
      [JSON.stringify({ ...good, judge: 'near' }), /:2: judge: expected .*exact.*got "near"/],
      [JSON.stringify({ ...good, messages: [] }), /:2: messages: expected one at least/],
      [JSON.stringify({ ...good, messages: picture }), /:2: task: expected as many images as there are <image> marks/],
      [JSON.stringify({ ...good, messages: picture, images: ['none.png'] }), /:2: images: expected pictures that/],
      [`${JSON.stringify(good)}\n${JSON.stringify(good)}`, /name: expected every name once, got a-1/],
    ];
    for (const [line, pattern] of cases) {
      writeFileSync(file, line && `\n${line}\n`);
      assert.throws(
        () => readTasks(file),
        (error: Error) => error instanceof UsageError && pattern.test(error.message),
        line,
      );
    }
    assert.throws(() => readTasks(join(dir, 'none.jsonl')), /expected a file of JSON lines, got ENOENT/);
    writeFileSync(file, `${JSON.stringify(good)}\n\n`);
    assert.equal(readTasks(file), [{ ...good, images: [], judge: 'exact', mode: 'hybrid', place: `${file}:1` }]);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

const device = await testDevice();
if (device) {
  test('right, wrong and equal answers are counted by task and mode, for each way to store the weights', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'daybreak-accuracy-'));
    try {
      copyFileSync(join(TINY, 'images/img1.png'), join(dir, 'seen.png'));
      const model = await load(TINY, { device });
      const ask = async (text: string, mode: 'nothink' | 'hybrid') => {
        const content = [
          { type: 'image' as const, image: join(dir, 'seen.png') },
          { type: 'text' as const, text },
        ];
        return model.generate({ messages: [{ role: 'user', content }], mode, temperature: 0, maxTokens: 6 }).result();
      };
      const first = await ask('What is this?', 'nothink');
      const second = await ask('And that?', 'hybrid');
      await model.dispose();
      const see = { task: 'see', mode: 'nothink', messages: [{ role: 'user', content: '<image>\nWhat is this?' }] };
      const look = { task: 'look', family: 'new', messages: [{ role: 'user', content: '<image>\nAnd that?' }] };
      const lines = [
        { name: 'see-1', ...see, images: ['seen.png'], answer: first.text },
        { name: 'see-2', ...see, images: ['seen.png'], answer: 'no such answer' },
        { name: 'look-1', ...look, images: ['seen.png'], answer: second.text, steps: 6 },
      ];
      const file = join(dir, 'tasks.jsonl');
      writeFileSync(file, lines.map((line) => JSON.stringify(line)).join('\n'));
      const answers = [
        { name: 'see-1', ids: first.tokenIds, text: first.text, lead: 1, right: true },
        { name: 'see-2', ids: [1], text: 'other', lead: 1e-6, right: false },
        { name: 'look-1', ids: [1], text: 'other', lead: 1, right: false },
      ];
      writeFileSync(join(dir, 'answers.jsonl'), answers.map((line) => JSON.stringify(line)).join('\n'));
      const [json, html] = [join(dir, 'rows.jsonl'), join(dir, 'page.html')];
      const how = ['--model', TINY, '--tasks', file, '--max-tokens', '6', '--no-tune', '--no-int8-activations'];
      const { status, stdout, stderr } = runBench(
        'accuracy',
        ...how,
        '--quantize',
        'none,int4:32',
        '--json',
        json,
        '--html',
        html,
      );
      assert.is(status, 0, stdout + stderr);
      const row = (name: string, rest: string) => new RegExp(`^${name} +${rest}$`, 'm');
      assert.match(stdout, row('see, nothink', '1/2 +50 +\\[9\\.45, 90\\.5\\] +50 +1/2 +1'));
      assert.match(stdout, row('look, new, hybrid', '1/1 +100 +\\[20\\.7, 100\\] +0 +0/1 +0'));
      assert.match(stdout, /^ {2}wrong: .*tasks\.jsonl:2: What is this\? expected "no such answer", got "/m);
      assert.match(stdout, /^weights int4:32, activations f32, \d+ MiB/m);
      const rows = readFileSync(json, 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      assert.equal(
        rows.map(({ weights, tasks }) => [weights, tasks]),
        [
          ['as stored', 'tasks.jsonl'],
          ['int4:32', 'tasks.jsonl'],
        ],
      );
      const all = rows[0].groups.at(-1);
      assert.equal([all.name, all.right, all.all, all.same, all.ties, all.compared], ['all', 2, 3, 1, 1, 3]);
      assert.ok(rows[1].bytes < rows[0].bytes);
      const page = readFileSync(html, 'utf8');
      assert.match(page, /<h2>Accuracy<\/h2>/);
      assert.match(page, /<img src="data:image\/png;base64,/);
      assert.match(page, /img-src data:;/);
      const only = runBench('accuracy', ...how, '--only', 'look');
      assert.match(only.stdout, /^all +1\/1 /m);
      fails(runBench('accuracy', ...how, '--only', 'look,sea'), /--only: expected some of see, look, got sea/);
      const unwritable = runBench('accuracy', ...how, '--html', join(dir, 'no', 'page.html'));
      fails(unwritable, /--html: expected a file that can be written/);
      assert.is(unwritable.stdout, '', 'before a question is asked');

      const quantised = join(dir, 'int4');
      assert.is(runDaybreak('quantize', '--model', TINY, '--out', quantised).status, 0);
      for (const [option, activations] of [
        ['--int8-activations', 'f32, int8 activations'],
        ['--no-int8-activations', 'f32'],
      ] as const) {
        const asked = runBench('accuracy', ...how, '--model', quantised, '--only', 'look', option);
        assert.match(asked.stdout, new RegExp(`^weights as stored, activations ${activations}, \\d+ MiB`, 'm'));
      }
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test('a question is put as it stands: nothing is added around a mark, and an escaped one is text', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'daybreak-accuracy-'));
    try {
      copyFileSync(join(TINY, 'images/img1.png'), join(dir, 'seen.png'));
      const messages = [{ role: 'user' as const, content: 'Is this<image>? Or \\<image>?' }];
      const task = { name: 'a', task: 'a', mode: 'nothink', messages, images: ['seen.png'], answer: '' };
      writeFileSync(join(dir, 'tasks.jsonl'), JSON.stringify(task));
      const processor = Processor.load(TINY);
      const prompt = await processor.prepare(messages, [await readImage(join(dir, 'seen.png'))], { mode: 'nothink' });
      const model = await Phi4Vision.load(device, TINY);
      const { tokenIds: ids } = await generate(model, processor, prompt, { maxTokens: 8 });
      model.dispose();
      writeFileSync(join(dir, 'answers.jsonl'), JSON.stringify({ name: 'a', ids, text: '', lead: 1, right: true }));
      const how = ['--tasks', join(dir, 'tasks.jsonl'), '--max-tokens', '8', '--no-tune'];
      const { stdout, stderr } = runBench('accuracy', '--model', TINY, ...how);
      assert.match(stdout, /^all +\S+ +\S+ +\[.*\] +100 +1\/1 +0$/m, stderr);
    } finally {
      rmSync(dir, { recursive: true });
      device.dispose();
    }
  });

  test('what cannot be asked is refused before a device is opened', () => {
    fails(runBench('accuracy', '--model', '/nowhere'), /nowhere/);
    fails(runBench('accuracy', '--model', TINY), /tasks\.jsonl: expected a file of JSON lines, got ENOENT/);
    fails(runBench('accuracy', '--model', TINY, '--quantize', 'int3'), /expected some of none, int4, int8/);
  });
}

test.run();
