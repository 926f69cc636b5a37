// tier: any
// The command: what each of its parts prints and where, how it ends, and what Ctrl-C does. The files that quantize, synthesize
// and tune make are tested beside these; test/package.test.ts runs the command from the installed package.
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mock } from 'node:test';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Checkpoint, loadConfig, planMemory } from '../model/index.ts';
import { OutOfMemoryError, openDevice } from '../runtime/index.ts';
import { AnswerView } from '../tools/command/answer_view.ts';
import { onInterrupt } from '../tools/command/interrupt.ts';
import { type AnswerCommand, loadPlanned } from '../tools/command/loading.ts';
import { printable, wantsColour } from '../tools/command/terminal.ts';
import { fails, runDaybreak, TINY } from './bench.ts';
import { testDevice } from './gpu.ts';
import { rejects } from './rejects.ts';

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const picture = join(TINY, 'images/img1.png');
const COMMANDS = ['ask', 'chat', 'info', 'quantize', 'synthesize', 'tune'];
const NODE = ['--import', 'tsx', '--import', path('../tools/software_vulkan.ts'), path('../tools/command/main.ts')];

/** Runs a command with this standard input and environment. */
function daybreak(args: readonly string[], { input = '', env = {} }: { input?: string; env?: NodeJS.ProcessEnv } = {}) {
  const options = { input, env: { ...process.env, ...env }, encoding: 'utf8', timeout: 300_000 } as const;
  return spawnSync(process.execPath, [...NODE, ...args], options);
}

/** Starts a command. */
const start = (...args: string[]) => watch(spawn(process.execPath, [...NODE, ...args]));

/** A command line that runs a command on a terminal of its own; script (bsdutils) makes it. */
const onTerminal = (...args: string[]): [string, string[]] => {
  const quoted = [process.execPath, ...NODE, ...args].map((word) => `'${word}'`).join(' ');
  return ['script', ['-qec', quoted, '/dev/null']];
};
const terminals = !spawnSync('script', ['--version']).error;
if (!terminals) console.log('SKIP cli: script (bsdutils) is not there to make a terminal');

/** What a process shows; `seen` resolves once one of its streams has shown a text. */
function watch(child: ChildProcessWithoutNullStreams) {
  test.after(() => void child.kill('SIGKILL')); // where a test failed
  const shown = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text) => {
      shown[name] += text;
      child.emit('shown');
    });
  }
  const seen = async (name: keyof typeof shown, text: RegExp) => {
    while (!text.test(shown[name])) await once(child, 'shown', { signal: AbortSignal.timeout(120_000) });
  };
  return { child, shown, seen, ended: once(child, 'close').then(([code]) => code) };
}

const wait = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis));

test('help, of all and of each command, names what there is and has examples', () => {
  const { status, stdout, stderr } = runDaybreak('--help');
  assert.is(status, 0, stderr);
  for (const name of COMMANDS) assert.match(stdout, new RegExp(`^  ${name} `, 'm'));
  assert.match(stdout, /Exit codes: 0 .*, 1 .*2 .*130/s);
  for (const name of COMMANDS) {
    const help = runDaybreak(name, '--help');
    assert.is(help.status, 0);
    assert.match(help.stdout, new RegExp(`^Examples:\n  .*npx daybreak ${name}\\b`, 'm'));
    assert.match(help.stdout, /--verbose/);
  }
  const { version } = JSON.parse(readFileSync(path('../package.json'), 'utf8'));
  assert.is(runDaybreak('--version').stdout, `${version}\n`);
});

test('a command line that cannot be ends in one line and exit code 2, which names what is near', () => {
  fails(runDaybreak('aks'), /^error: unknown command 'aks' \(Did you mean ask\?\)$/);
  fails(runDaybreak('info', '--adaptor', 'x'), /^error: unknown option '--adaptor' \(Did you mean --adapter\?\)$/);
  fails(runDaybreak('chat'), /required option '--model <dir>'/);
  fails(runDaybreak('chat', '--model', TINY, '--temperature', '-1'), /temperature: expected a finite number >= 0/);
  assert.is(runDaybreak().status, 2);
});

test('an error is one sentence; where it comes from is shown on demand', () => {
  fails(runDaybreak('ask', '--model', '/nowhere', 'Hello'), /^error: \/nowhere\/.*: expected a readable file/, 1);
  const stack = /^ +at .*\.ts:\d+/m;
  assert.match(runDaybreak('ask', '--model', '/nowhere', '--verbose', 'Hello').stderr, stack);
  const debugged = daybreak(['ask', '--model', '/nowhere', 'Hello'], { env: { DAYBREAK_DEBUG: '1' } });
  assert.match(debugged.stderr, stack);
  assert.is(debugged.status, 1);
});

test('NO_COLOR takes colours away, FORCE_COLOR brings them where there is no terminal', () => {
  const error = (env: NodeJS.ProcessEnv) => {
    const { NO_COLOR, FORCE_COLOR, ...others } = process.env;
    const args = [...NODE, 'ask', '--model', '/nowhere', 'Hello'];
    return spawnSync(process.execPath, args, { env: { ...others, ...env }, encoding: 'utf8' }).stderr;
  };
  const red = '\x1b[31merror: \x1b[39m';
  assert.ok(error({}).startsWith('error: '));
  assert.ok(error({ FORCE_COLOR: '1' }).startsWith(red));
  assert.not(error({ FORCE_COLOR: '1', NO_COLOR: '1' }).includes('\x1b'));
  assert.is(wantsColour({ isTTY: true }, {}), true);
  assert.is(wantsColour({ isTTY: true }, { NO_COLOR: '1' }), false);
  assert.is(wantsColour({ isTTY: true }, { FORCE_COLOR: '0' }), false);
  assert.is(wantsColour({ isTTY: true }, { TERM: 'dumb' }), false);
});

test('a text for a terminal has no character that the terminal obeys', () => {
  assert.is(
    printable('a\x1b[31m\r\n\tb\x07\x7f\u009b\u202ec é 猫 👍'),
    'a\\u001b[31m\\u000d\n\tb\\u0007\\u007f\\u009b\\u202ec é 猫 👍',
  );
});

test('signals that come together are one press of Ctrl-C', async () => {
  let presses = 0;
  onInterrupt(() => presses++);
  process.emit('SIGINT');
  process.emit('SIGINT');
  assert.is(presses, 1);
  await wait(300);
  process.emit('SIGINT');
  assert.is(presses, 2);
  process.removeAllListeners('SIGINT');
});

const device = await testDevice();
if (device) {
  device.dispose();

  test('info says what there is, what would be used, and why', () => {
    const { status, stdout, stderr } = runDaybreak('info');
    assert.is(status, 0, stderr);
    for (const line of [/^daybreak \d/, /^adapter: /, /^Adapters: /, /^Features of /, /^Matrix units: /, /^Limits: /])
      assert.match(stdout, new RegExp(line.source, 'm'));
    assert.match(stdout, /^matmul 1 f32 q4 +(project|default|measured here) +matmul\//m);
    const found = JSON.parse(runDaybreak('info', '--json').stdout);
    assert.is(found.node, process.version);
    assert.is(found.adapter, device.name);
    assert.ok(found.adapters.some(({ name }: { name: string }) => name === device.name));
    assert.ok(found.limits.maxBufferSize > 0 && found.features.length + found.lacking.length === 5);
    assert.ok(found.variants.chosen.length > 10 && Array.isArray(found.unusable));
    fails(
      runDaybreak('info', '--adapter', 'nobody'),
      /^error: device: adapter: expected a name containing 'nobody'/,
      1,
    );
  });

  const hello = ['ask', '--model', TINY, '--max-tokens', '8'];
  test('a question may come from standard input', () => {
    const asked = daybreak([...hello, 'Hello']);
    assert.is(asked.status, 0, asked.stderr);
    assert.ok(asked.stdout.length > 3);
    assert.is(daybreak([...hello, '-'], { input: 'Hello\n' }).stdout, asked.stdout);
    fails(daybreak([...hello, '-']), /expected text or a picture, got neither/);
  });

  test('who reads standard error no further gets the answer all the same', () => {
    const quoted = [process.execPath, ...NODE, ...hello, '--verbose', 'Hello'].map((word) => `'${word}'`).join(' ');
    const line = `set -o pipefail; { ${quoted} 2>&1 >&3 | true; } 3>&1`;
    const { status, stdout, stderr } = spawnSync('bash', ['-c', line], { encoding: 'utf8' });
    assert.is(status, 0, stderr);
    assert.is(stdout, daybreak([...hello, 'Hello']).stdout);
  });

  test('a first token that takes long, as where a driver has yet to compile kernels, is explained', () => {
    const cache = mkdtempSync(join(tmpdir(), 'daybreak-cli-'));
    for (const _ of ['a driver that kept nothing', 'one that did']) {
      const { stderr } = daybreak([...hello, 'Hello'], { env: { XDG_CACHE_HOME: cache } });
      const millis = Number(/TTFT ([\d.]+) ms/.exec(stderr)![1]);
      if (millis < 3500 || millis > 4500) assert.is(/^note: no token yet; /m.test(stderr), millis > 4000, stderr);
    }
    rmSync(cache, { recursive: true });
  });

  test('with --json nobody is told why there is no token yet', () => {
    const { write } = process.stderr;
    let said = '';
    process.stderr.write = (text: string | Uint8Array) => {
      said += text;
      return true;
    };
    mock.timers.enable({ apis: ['setTimeout'] });
    try {
      const views = [new AnswerView(true), new AnswerView()];
      mock.timers.tick(4100);
      for (const view of views) view.end();
    } finally {
      mock.timers.reset();
      process.stderr.write = write;
    }
    assert.is(said.match(/^note: no token yet; /gm)?.length, 1, said);
  });

  test('the memory table is shown where memory is tight', async () => {
    const tight = await openDevice();
    const { write } = process.stderr;
    let said = '';
    process.stderr.write = (text: string | Uint8Array) => {
      said += text;
      return true;
    };
    try {
      const config = loadConfig(TINY);
      const workload = { load: { context: 64 }, grids: [] };
      const checkpoint = Checkpoint.open(TINY);
      const { peak } = await planMemory(tight, config, checkpoint, workload);
      checkpoint.close();
      for (const [free, shown] of [
        [2 * peak, false],
        [1.1 * peak, true],
      ] as const) {
        said = '';
        Object.defineProperty(tight, 'available', { value: free, configurable: true });
        (await loadPlanned(tight, config, { model: TINY } as AnswerCommand, workload)).dispose();
        assert.is(/^memory on /m.test(said), shown, said);
      }
      Object.defineProperty(tight, 'available', { value: peak / 2 });
      await rejects(
        loadPlanned(tight, config, { model: TINY } as AnswerCommand, workload),
        OutOfMemoryError,
        /lm_head/,
      );
    } finally {
      process.stderr.write = write;
      tight.dispose();
    }
  });

  test('reasoning is no answer: it goes to standard error', () => {
    const args = ['ask', '--model', TINY, '--max-tokens', '400', '--mode', 'think'];
    const { reasoning, answer } = JSON.parse(daybreak([...args, '--json', 'Hello']).stdout);
    assert.ok(reasoning.length > 100);
    const { stdout, stderr } = daybreak([...args, 'Hello']);
    assert.is(stdout.trim(), answer);
    assert.ok(stderr.includes(reasoning));
  });

  test('control characters of an answer reach a file and no terminal', () => {
    const piped = daybreak([...hello, 'Hello']).stdout.trim();
    const escaped = printable(piped);
    assert.is.not(escaped, piped, 'the tiny checkpoint answers with a control character');
    if (!terminals) return;
    const { stdout } = spawnSync(...onTerminal(...hello, 'Hello'), { encoding: 'utf8' });
    assert.ok(stdout.includes(escaped) && !stdout.includes(piped), stdout);
  });

  test('Ctrl-C ends an answer with counts, and with --json the object', async () => {
    const long = ['ask', '--model', TINY, '--max-tokens', '2000', '--temperature', '0'];
    const told = start(...long, 'Hello');
    await told.seen('stdout', /./);
    told.child.kill('SIGINT');
    assert.is(await told.ended, 130);
    assert.match(told.shown.stderr, /^42 prompt tokens .*, finish reason abort, /m);
    const json = start(...long, '--json', '--verbose', 'Hello');
    await json.seen('stderr', /^memory on /m);
    json.child.kill('SIGINT');
    assert.is(await json.ended, 130, json.shown.stderr);
    assert.is(JSON.parse(json.shown.stdout).finishReason, 'abort');
  });

  test('chat: a turn computes what is new in it, and what is wrong with a line is told', () => {
    const lines = [
      `/image ${picture}`,
      'What is this?',
      '/mode nothink',
      'And that?',
      '/image /nowhere',
      '/mode loud',
      '/foo',
    ];
    const input = [...lines, '/reset', 'Hello', '/help', '/exit', 'Never read'].join('\n');
    const { status, stdout, stderr } = daybreak(['chat', '--model', TINY, '--max-tokens', '8'], { input });
    assert.is(status, 1, stderr);
    const turns = [
      ...stderr.matchAll(/^(\d+) prompt tokens \((\d+) of pictures\), (\d+) of them computed, 8 new tokens/gm),
    ];
    const counts = turns.map((turn) => turn.slice(1).map(Number));
    assert.is(counts.length, 3, stderr);
    const [first, second, third] = counts as [number[], number[], number[]];
    assert.equal([first[1], second[1], third[1]], [255, 255, 0]);
    assert.is(first[2], first[0]);
    assert.ok(second[2]! <= second[0]! - first[0]! + 1, stderr);
    assert.ok(third[0]! < first[0]!);
    assert.match(stderr, /^error: \/nowhere: expected a readable picture/m);
    assert.match(stderr, /^error: chat: \/mode: expected auto, think, nothink, got 'loud'/m);
    assert.match(stderr, /^error: chat: expected a command that \/help lists, got \/foo/m);
    assert.match(stderr, /^ {2}\/reset +forget/m);
    assert.ok(stdout.length > 10 && !stdout.includes('> '), 'no prompts where there is no terminal');
    const well = daybreak(['chat', '--model', TINY, '--max-tokens', '2'], { input: 'Hello\n' });
    assert.is(well.status, 0, well.stderr);
  });

  test('chat: Ctrl-C stops the answer, and the next line is taken; twice, it ends', async () => {
    const { child, shown, seen, ended } = start('chat', '--model', TINY, '--max-tokens', '2000');
    child.stdin.write('Hello\n');
    await seen('stdout', /./);
    child.kill('SIGINT');
    await seen('stderr', /finish reason abort/);
    child.stdin.write('/mode nothink\n/foo\n');
    await seen('stderr', /got \/foo/);
    await wait(300);
    child.kill('SIGINT');
    await seen('stderr', /Ctrl-C again ends/);
    await wait(300);
    child.kill('SIGINT');
    assert.is(await ended, 130, shown.stderr);
  });

  if (terminals) {
    test('chat: a terminal has prompts, and its Ctrl-C stops the answer too', async () => {
      const { child, seen, shown, ended } = watch(
        spawn(...onTerminal('chat', '--model', TINY, '--max-tokens', '2000')),
      );
      await seen('stdout', /> /);
      child.stdin.write('Hello\r');
      await seen('stdout', /Hello[\s\S]*\\u0/);
      child.stdin.write('\x03');
      await seen('stdout', /finish reason abort[\s\S]*> /);
      child.stdin.write('/exit\r');
      assert.is(await ended, 0, shown.stdout);
    });
  }
}

test.run();
