// tier: host
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { caseRoofline, dispatchGroups, opsTable, slowestFigure } from '../bench/html/kernels.ts';
import { originsOf } from '../bench/html/names.ts';
import { reportPage } from '../bench/html/page.ts';
import { drawCharts, type Figure, type Point } from '../bench/html/plot.ts';
import { errorFigure, latencyFigure, memoryFigures, namedCases, tokenFigure } from '../bench/html/prompts.ts';
import { type E2eRow, type HostRow, parseRow, type Row } from '../bench/html/rows.ts';
import {
  ceilingsTable,
  fullTable,
  hostTable,
  originTable,
  peersTable,
  qualityTable,
  speedTable,
} from '../bench/html/tables.ts';
import { report, writeHtmlReport } from '../bench/html.ts';
import { folderName } from '../bench/report.ts';
import { UsageError } from '../runtime/index.ts';
import { runBench } from './bench.ts';
import {
  ceilingsRow,
  e2eRow,
  fullRow,
  hostRow,
  opsRow,
  peersRow,
  qualityRow,
  speedRow,
} from './fixtures/report_rows.ts';

const HOSTILE = `</script><script>pwned = 1</script><img src="http://x/" onerror='pwned = 1'>&lt;`;

const cases = (...rows: E2eRow[]) => namedCases(rows);
const places = (points: readonly Point[]) => points.map(({ x, y }) => [x, y]);

/** Runs `body` with a temporary folder. */
function inFolder(body: (dir: string) => void): void {
  const dir = mkdtempSync(join(tmpdir(), 'daybreak-html-'));
  try {
    body(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

test('cases are named by their prompt and by what tells equal prompts apart', () => {
  const names = (...changes: Partial<E2eRow>[]) => cases(...changes.map(e2eRow)).map(({ name }) => name);
  assert.equal(names({ prompt: 'a' }, { prompt: 'b', dtype: 'f16' }), ['a', 'b']);
  assert.equal(names({}, { dtype: 'f16' }), ['picture, f32', 'picture, f16']);
  assert.equal(names({ adapter: 'A' }, { adapter: 'B' }), ['picture, A', 'picture, B']);
  const two = [{ file: 'a' }, { file: 'a', commit: '2' }, { file: 'b' }, { file: 'c', prompt: 'other' }];
  assert.equal(names(...two), ['picture, abc1234, a', 'picture, 2', 'picture, abc1234, b', 'other']);
  assert.equal(names({}, {}), ['picture, #1', 'picture, #2']);
});

test('files, adapters and commits are told apart, in every section', () => {
  const name = (...rows: Row[]) => originsOf(rows).map((origin) => origin.name);
  assert.equal(name(hostRow(), opsRow()), ['']);
  assert.equal(name(hostRow(), hostRow({ adapter: 'B' })), ['Some GPU', 'B']);
  assert.equal(name(hostRow(), hostRow({ commit: 'def' })), ['abc1234', 'def']);
  const files = [hostRow({ file: 'a' }), hostRow({ file: 'b' }), hostRow({ file: 'b', commit: 'def' })];
  assert.equal(name(...files, opsRow({ file: 'c' })), ['a', 'b, abc1234', 'b, def', 'c']);
  const rows = [hostRow, speedRow, fullRow, qualityRow, peersRow, opsRow].flatMap((row) => [
    row(),
    row({ commit: 'def' }),
  ]);
  assert.is(reportPage(rows).match(/<h3>def<\/h3>/g)!.length, 6);
});

test('latency: each part is a median over repeats, the first token what is left of the TTFT', () => {
  const { bars, table } = latencyFigure(cases(e2eRow()));
  const parts = bars[0]!.parts.map(({ name, value }) => [name, value]);
  assert.equal(parts, [
    ['vision', 20],
    ['session', 5],
    ['prefill', 30],
    ['first token', 16],
  ]);
  assert.equal(table!.rows, [['picture', 20, 5, 30, 16, 71, 65, 77, 2]]);
});

test('time per token: a chart per case; repeats and continuations give a median', () => {
  const { charts } = tokenFigure(cases(e2eRow(), e2eRow({ prompt: 'other' })));
  assert.equal(
    charts.map(({ name }) => name),
    ['picture, 100 positions', 'other, 100 positions'],
  );
  // greedy has the steps 4 and 5 (8 and 9 in the second repeat), forced 6 (10)
  assert.equal(places(charts[0]!.series[0]!.points), [
    [2, 7],
    [3, 7],
  ]);
});

test('logit errors: a chart per case, a line per continuation without its zeros, and the tightest bound of each step', () => {
  const { charts } = errorFigure(cases(e2eRow(), e2eRow({ prompt: 'other' })));
  assert.equal(
    charts.map(({ name }) => name),
    ['picture', 'other'],
  );
  assert.equal(
    charts[0]!.series.map(({ name, points }) => [name, ...places(points)]),
    [
      ['greedy', [1, 4e-6], [3, 2e-6]],
      ['forced', [1, 1e-6], [2, 2e-6]],
      ['bound', [1, 4e-4], [2, 2e-4], [3, 5e-4]],
    ],
  );
});

test('a time that is missing spoils no other', () => {
  const repeats = [{ ...e2eRow().repeats[0]!, stepMillis: [4, Number.NaN, 6] }];
  const [svg] = drawCharts(tokenFigure(cases(e2eRow({ repeats }))));
  assert.not.match(svg!.text, /NaN|Infinity/);
  assert.match(svg!.text, '<circle');
});

test('device memory, a value since the sample before, is drawn in steps; resident memory, a sample, is not', () => {
  const [device, resident] = memoryFigures(
    e2eRow({ memory: [0, 50, 100].map((millis, i) => ({ millis, device: i * 2 ** 20, resident: 1 })) }),
  );
  const path = (figure: Figure) => /aria-label="line"><path d="([^"]*)"/.exec(drawCharts(figure)[0]!.text)![1]!;
  const [[x0, y0], [x1, y1], ...more] = path(device!)
    .slice(1)
    .split('L')
    .map((at) => at.split(',')) as [string[], string[]];
  assert.is(x1, x0, 'the second value holds from the first sample on');
  assert.is.not(y1, y0);
  assert.is(more.length, 3);
  assert.is(path(resident!).split('L').length, 3);
});

test('dispatches are summed over layers, with their share of the phase', () => {
  const groups = dispatchGroups(e2eRow()).map(({ phase, kernel, scope, dispatches, micros, share }) => [
    phase,
    kernel,
    scope,
    dispatches.length,
    micros,
    share,
  ]);
  assert.equal(groups, [
    ['prefill', 'matmul/tiled', 'layers.*.mlp', 1, 100, 1],
    ['decode', 'matmul/gemv', 'layers.*.mlp', 2, 90, 0.9],
    ['decode', 'kv_append/kv_append', 'layers.*.attn', 2, 10, 0.1],
  ]);
  const { bars, table } = slowestFigure(dispatchGroups(e2eRow()), ceilingsRow().ceilings);
  const ceilings = table!.rows.map((row) => Math.round(row.at(-1) as number));
  assert.equal(ceilings, [50, 44, 0]);
  assert.equal(
    bars.map(({ name, parts }) => [name, ...parts.map(({ name, value }) => `${name} ${value}`)]),
    [
      ['matmul/tiled', 'prefill 100'],
      ['matmul/gemv', 'decode 90'],
      ['kv_append/kv_append', 'decode 10'],
    ],
  );
});

test('roofline: intensity and rate of what has flops, under the measured roofs', () => {
  const groups = dispatchGroups(e2eRow());
  const { ceilings } = ceilingsRow({ f16Gflops: Number.NaN });
  const { charts } = caseRoofline(groups, ceilings);
  assert.equal(
    charts.map(({ name }) => name),
    ['prefill', 'decode'],
  );
  const [prefill, decode] = charts.map(({ series }) => new Map(series.map((own) => [own.name, places(own.points)])));
  assert.equal([...prefill!.keys()], ['memory 100 GB/s', '1000 f32 GFLOP/s', '4000 int8 GOP/s', 'kernel']);
  assert.equal(prefill!.get('kernel'), [[100, 500]]);
  assert.equal(decode!.get('kernel'), [[1, 4e6 / 90e3]]);
  const ends = (name: string) => prefill!.get(name)!;
  assert.equal(ends('memory 100 GB/s')[1], [40, 4000]);
  assert.is(ends('memory 100 GB/s')[0]![1]! / ends('memory 100 GB/s')[0]![0]!, 100);
  assert.equal(ends('1000 f32 GFLOP/s')[0], [10, 1000]);
  assert.ok(ends('1000 f32 GFLOP/s')[1]![0]! >= 100);
  assert.equal(
    caseRoofline(groups, undefined).charts.map(({ series }) => series.map(({ name }) => name)),
    [['kernel'], ['kernel']],
  );
});

test('ops: slowest first, medians of medians, share of what the ceilings allow', () => {
  const compute = { kernel: 'matmul/tiled', flops: 1e7, bytes: 10, repeats: [[20]] };
  const rows = [opsRow(), opsRow(compute)];
  const table = opsTable(rows, ceilingsRow().ceilings);
  assert.equal(table.rows, [
    ['matmul/tiled', 'K=512, dtype=f32', 2, 20, 20, 20, 1e6, 500, 0.0005, 50],
    ['matmul/gemv', 'K=512, dtype=f32', 2, 10, 8, 12, 2, 100, 50, 50],
  ]);
  assert.is(opsTable(rows, undefined).rows[0]!.at(-1), '');
});

test('host, peers, environments and ceilings have their tables', () => {
  assert.equal(hostTable([hostRow()]).rows, [['tokenise', 3, 3.7, 2, 4, 4]]);
  assert.equal(peersTable([peersRow()]).rows, [
    ['matmul', 'f16', 'K=512', 'matmul/gemv', 10, 20, 2, 'WRONG: not finite', ''],
  ]);
  const two = originsOf([e2eRow(), e2eRow({ date: '2027' }), opsRow({ adapter: 'Other', software: true })]);
  const { columns, rows } = originTable(two);
  assert.equal(columns, ['file', 'adapter', 'driver', 'cpu', 'commit', 'node', 'webgpu', 'date']);
  assert.equal(
    rows.map((row) => row[1]),
    ['Some GPU', 'Other (software)'],
  );
  assert.is(rows[0]!.at(-1), '2026-01-02 03:04 to 2027');
  const measured = [
    ceilingsRow({ readGBs: 1, f16Gflops: Number.NaN, passMicros: 3 }),
    ceilingsRow(),
    hostRow({ file: 'other' }),
  ];
  assert.equal(ceilingsTable(originsOf(measured)).rows, [['Some GPU', 'gpu', 90, 100, 1000, 2000, 4000, 2, 3]]);
});

test('speed, full and quality have their tables; a full one that is wrong shows no time', () => {
  assert.equal(speedTable([speedRow()]).rows, [['tiny', 'f16', 'pp512', 100, 90, 120, 3]]);
  assert.is(speedTable([speedRow({ activations: 'f16, int8 activations' })]).rows[0]![1], 'f16, int8 activations');
  const problem = 'WRONG: logits that are not finite';
  assert.equal(speedTable([speedRow({ samples: [], problem })]).rows[0]!.slice(3), [problem, '', '', 0]);
  assert.equal(qualityTable([qualityRow()]).rows, [['tiny', 'q4 g64', 'f32', 2, 0.05, 0.2, 62.5, 8]]);
  const stages = [{ stage: 'logits', relative: 0.1, ok: false }];
  const [right, wrong] = fullTable([fullRow(), fullRow({ stages })]).rows;
  assert.equal(right, ['DIR4', { text: 'right', mark: 'ok' }, 2e-6, 320, 1, 2, 4, 200, 100, 200, 954, 1024, 512]);
  assert.equal(wrong!.slice(1, 4), [{ text: 'WRONG from logits', mark: 'wrong' }, 0.1, 320]);
  assert.equal(wrong!.slice(4, 10), Array(6).fill(''));
});

test('a wrong case names where it diverges and shows no time', () => {
  const times = {
    imageMillis: 7777.1,
    visionMillis: 7777.2,
    sessionMillis: 7777.2,
    prefillMillis: 7777.3,
    ttftMillis: 7777.4,
  };
  const wrong = e2eRow({
    prompt: 'broken',
    ok: false,
    divergedAt: 'img0.proj',
    repeats: [{ ...times, stepMillis: [7777.5] }],
    kernels: [{ phase: 'decode', scope: 'a', kernel: 'b', micros: 7777_600, flops: 1, bytes: 1 }],
    profile: { decode: { gpuMicros: 7777_700, wallMicros: 7777_800 } },
  });
  const page = reportPage([ceilingsRow(), e2eRow(), wrong]);
  assert.match(page, 'WRONG from img0.proj');
  assert.match(page, '1 of 2 cases are WRONG');
  assert.not.match(page, /7777|7780/);
  assert.match(reportPage([e2eRow({ ok: true })]), '1 of 1 cases match');
  assert.match(reportPage([e2eRow({ ok: undefined })]), 'not compared');
});

test('text of rows stays text', () => {
  const texts = { adapter: HOSTILE, driver: HOSTILE, commit: HOSTILE, date: HOSTILE };
  const kernels = e2eRow().kernels.map((row) => ({ ...row, kernel: HOSTILE, scope: HOSTILE }));
  const runs = Object.fromEntries([
    [HOSTILE, e2eRow().runs.greedy!],
    ['__proto__', e2eRow().runs.forced!],
  ]);
  const stages = [{ stage: HOSTILE, relative: 0, ok: true }];
  const sides = { [HOSTILE]: { micros: [], waitMicros: [], error: HOSTILE } };
  const rows: Row[] = [
    { ...ceilingsRow(), ...texts },
    e2eRow({ ...texts, prompt: HOSTILE, model: HOSTILE, dtype: HOSTILE, kernels, runs, stages, divergedAt: HOSTILE }),
    e2eRow({ ...texts, prompt: 'wrong', ok: false, divergedAt: HOSTILE }),
    opsRow({ ...texts, kernel: HOSTILE, shape: { [HOSTILE]: HOSTILE } }),
    hostRow({ ...texts, task: HOSTILE }),
    peersRow({ ...texts, op: HOSTILE, dtype: HOSTILE, peers: sides }),
  ];
  const page = reportPage(rows);
  assert.is(page.match(/<script/g)!.length, 1);
  assert.is(page.match(/<\/script/g)!.length, 1);
  assert.not.match(page, '<img');
  assert.not.match(page.replace(/<title>[^<]*<\/title>/g, ''), /onerror='|src="/);
});

test('the page holds all it needs and may load nothing', () => {
  const page = reportPage([ceilingsRow(), e2eRow(), opsRow(), hostRow(), peersRow()]);
  assert.not.match(page, /https?:|\bsrc=|url\(|@import|<link|\bstyle=/);
  assert.ok([...page.matchAll(/href="([^"]*)"/g)].every(([, href]) => href!.startsWith('#')));
  const [, policy] = /Content-Security-Policy" content="([^"]*)"/.exec(page)!;
  assert.match(policy!, /^default-src &#39;none&#39;; /);
  const scripts = [...page.matchAll(/<(?:script|style)>(.*?)<\/(?:script|style)>/gs)].map(([, text]) => text!);
  assert.is(scripts.length, 2);
  for (const text of scripts) assert.ok(policy!.includes(createHash('sha256').update(text).digest('base64')));
});

test('a damaged line is named by file and line, whatever it holds', () => {
  inFolder((dir) => {
    const file = join(dir, 'rows.jsonl');
    const line = (row: object) => JSON.stringify(row);
    const fails = (text: string, pattern: RegExp) => {
      writeFileSync(file, `${line(e2eRow())}\n\n${text}`);
      const matches = (error: Error) =>
        error instanceof UsageError && error.message.startsWith(`${file}:3: `) && pattern.test(error.message);
      assert.throws(() => report([file], { html: join(dir, 'out.html') }), matches);
    };
    fails(line(e2eRow()).slice(0, 1000), /expected a line of JSON, got .*; run the bench again, or take the line out$/);
    fails('5', /row: expected Object, got 5/);
    fails('{"bench":5}', /:3: bench: expected string, got 5/);
    fails('['.repeat(100_000), /expected/);
    fails(`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`, /expected/);
    fails('{"bench":"\u009b31m\\u0007', /expected a line of JSON, got [^\p{Cc}]*$/u);
    for (const key of ['prompt', 'repeats', 'kernels', 'runs', 'commit'])
      fails(line({ ...e2eRow(), [key]: undefined }), new RegExp(`e2e: ${key}: expected .*, got undefined`));
    fails(
      line({ ...e2eRow(), kernels: [{ ...e2eRow().kernels[0], micros: '1' }] }),
      /kernels\.0\.micros: expected .*number.*, got "1"/,
    );
    fails(line({ ...opsRow(), repeats: [1] }), /ops: repeats\.0: expected Array, got 1/);
    fails(line({ ...peersRow(), peers: { x: { micros: 1 } } }), /peers: peers\.x\.micros: expected Array, got 1/);
  });
});

test('rows of other benches are named as not shown; NaN, which JSON writes as null, is no error', () => {
  for (const bench of ['trial', 'constructor', '__proto__'])
    assert.equal(parseRow(`{"bench":"${bench}"}`, ''), { other: bench });
  const { maxErrorStd } = parseRow(JSON.stringify(e2eRow({ maxErrorStd: Number.NaN })), '') as E2eRow;
  assert.ok(Number.isNaN(maxErrorStd));
  const { adapter } = parseRow(JSON.stringify(hostRow({ adapter: undefined })), '') as HostRow;
  assert.is(adapter, 'no adapter', 'tasks of the host need no device');
  inFolder((dir) => {
    const out = join(dir, 'out.html');
    const others = [{ bench: 'trial' }, { bench: HOSTILE }, { bench: 'trial' }];
    writeHtmlReport(out, [...others, e2eRow({ ok: undefined, maxErrorStd: Number.NaN })]);
    assert.match(readFileSync(out, 'utf8'), 'Not shown: rows of trial, &lt;/script&gt;');
    assert.throws(() => writeHtmlReport(out, [{ bench: 'trial' }]), /expected rows of ceilings, e2e, .*, got trial;/);
    assert.throws(() => writeHtmlReport(out, [{ bench: 'host' }]), /^row 1: host: commit: expected .*, got undefined/);
    assert.throws(() => writeHtmlReport(dir, [e2eRow()]), /^--html: expected a file that can be written, got/);
    assert.throws(
      () => report([dir], { html: out }),
      /: expected a file of JSON lines, got .*; write one with --json$/,
    );
  });
});

test('a model folder is a name, wherever its row comes from', () => {
  const model = (text: string) => (parseRow(JSON.stringify(fullRow({ model: text })), '') as E2eRow).model;
  for (const path of ['/home/me/DIR4', '/home/me/DIR4/', 'C:\\me\\DIR4', '../DIR4', 'DIR4'])
    assert.is(model(path), 'DIR4');
  assert.is(model('synthetic 15b int4, seed 1'), 'synthetic 15b int4, seed 1');
  assert.is(folderName('.'), basename(process.cwd()));
});

test('the command joins files into one page, which names each', () => {
  inFolder((dir) => {
    const files = ['a.jsonl', 'b.jsonl', 'c/a.jsonl'].map((name) => join(dir, name));
    mkdirSync(join(dir, 'c'));
    for (const file of files) writeFileSync(file, `${JSON.stringify(e2eRow())}\n`);
    const out = join(dir, 'out.html');
    const { status, stdout, stderr } = runBench('report', ...files, '--html', out);
    assert.is(status, 0, stderr);
    assert.is(stdout.trim(), `report: ${out}`);
    const page = readFileSync(out, 'utf8');
    for (const name of ['a.jsonl', 'b.jsonl', 'a.jsonl (3)']) assert.match(page, `>picture, ${name}<`);
    assert.not.match(page, dir);
  });
});

test.run();
