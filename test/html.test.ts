// tier: host
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { caseRoofline, dispatchGroups, opsTable, slowestFigure } from '../bench/html/kernels.ts';
import { reportPage } from '../bench/html/page.ts';
import type { Point } from '../bench/html/plot.ts';
import { errorFigure, latencyFigure, namedCases, tokenFigure } from '../bench/html/prompts.ts';
import { type E2eRow, parseRow, type Row } from '../bench/html/rows.ts';
import { ceilingsTable, environmentTable, hostTable, peersTable } from '../bench/html/tables.ts';
import { report, writeHtmlReport } from '../bench/html.ts';
import { UsageError } from '../runtime/index.ts';
import { runBench } from './bench.ts';
import { ceilingsRow, e2eRow, hostRow, opsRow, peersRow } from './fixtures/report_rows.ts';

const CHART = readFileSync('node_modules/chart.js/dist/chart.umd.js', 'utf8');
const HOSTILE = `</script><script>pwned = 1</script><img src="http://x/" onerror='pwned = 1'>&lt;`;

const cases = (...rows: E2eRow[]) => namedCases(rows);
const places = (points: readonly Point[] | undefined) => points!.map(({ x, y }) => [x, y]);

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
});

test('latency: each part is a median over repeats, the first token what is left of the TTFT', () => {
  const { plot, table } = latencyFigure(cases(e2eRow()));
  const parts = plot.series.map(({ name, values }) => [name, ...values!]);
  assert.equal(parts, [
    ['vision', 20],
    ['session', 5],
    ['prefill', 30],
    ['first token', 16],
  ]);
  assert.equal(table!.rows, [['picture', 20, 5, 30, 16, 71, 65, 77, 2]]);
});

test('time per token: continuations begin behind the prompt, repeats and continuations give a median', () => {
  const { plot } = tokenFigure(cases(e2eRow()));
  // greedy has the steps 4 and 5 (8 and 9 in the second repeat), forced 6 (10)
  assert.equal(places(plot.series[0]!.points), [
    [101, 7],
    [102, 7],
  ]);
});

test('logit errors: a line per continuation without its zeros, and the tightest bound of each step', () => {
  const { plot } = errorFigure(cases(e2eRow()));
  assert.equal(
    plot.series.map(({ name, points }) => [name, ...places(points)]),
    [
      ['picture, greedy', [1, 4e-6], [3, 2e-6]],
      ['picture, forced', [1, 1e-6], [2, 2e-6]],
      ['bound', [1, 4e-4], [2, 2e-4], [3, 5e-4]],
    ],
  );
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
  const { plot, table } = slowestFigure(dispatchGroups(e2eRow()), ceilingsRow().ceilings);
  const ceilings = table!.rows.map((row) => Math.round(row.at(-1) as number));
  assert.equal(ceilings, [50, 44, 0]);
  assert.equal(plot.categories, ['prefill: matmul/tiled', 'decode: matmul/gemv', 'decode: kv_append/kv_append']);
  assert.equal(plot.series.find(({ name }) => name === 'decode')!.values, [null, 90, 10]);
});

test('roofline: intensity and rate of what has flops, under the measured roofs', () => {
  const groups = dispatchGroups(e2eRow());
  const { ceilings } = ceilingsRow({ f16Gflops: Number.NaN });
  const series = new Map(caseRoofline(groups, ceilings).plot.series.map((own) => [own.name, places(own.points)]));
  assert.equal([...series.keys()], ['prefill', 'decode', 'memory 100 GB/s', '1000 f32 GFLOP/s', '4000 int8 GOP/s']);
  assert.equal(series.get('prefill'), [[100, 500]]);
  assert.equal(series.get('decode'), [[1, 4e6 / 90e3]]);
  const ends = (name: string) => series.get(name)!;
  assert.equal(ends('memory 100 GB/s')[1], [40, 4000]);
  assert.is(ends('memory 100 GB/s')[0]![1]! / ends('memory 100 GB/s')[0]![0]!, 100);
  assert.equal(ends('1000 f32 GFLOP/s')[0], [10, 1000]);
  assert.ok(ends('1000 f32 GFLOP/s')[1]![0]! >= 100);
  assert.equal(
    caseRoofline(groups, undefined).plot.series.map(({ name }) => name),
    ['prefill', 'decode'],
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
  const two = environmentTable([e2eRow(), e2eRow({ date: '2027' }), opsRow({ adapter: 'Other', software: true })]);
  assert.equal(two.columns, ['', 'environment 1', 'environment 2']);
  assert.equal(two.rows[0], ['adapter', 'Some GPU', 'Other (software)']);
  assert.equal(two.rows.at(-1)![1], '2026-01-02T03:04:05.678Z to 2027');
  assert.equal(ceilingsTable([ceilingsRow({ readGBs: 1, f16Gflops: Number.NaN, passMicros: 3 }), ceilingsRow()]).rows, [
    ['clock of the rates', 'gpu'],
    ['copying, GB/s', 90],
    ['reading, GB/s', 100],
    ['f32, GFLOP/s', 1000],
    ['f16, GFLOP/s', 2000],
    ['int8 dots, GOP/s', 4000],
    ['dispatch, us (wall)', 2],
    ['timed pass, us', 3],
  ]);
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
  const page = reportPage(rows).replace(CHART, '');
  assert.is(page.match(/<script/g)!.length, 3);
  assert.is(page.match(/<\/script/g)!.length, 3);
  assert.not.match(page, '<img');
  const [block, json] = /<script type="application\/json" id="plots">(.*?)<\/script>/s.exec(page)!;
  const plots: { categories?: string[] }[] = JSON.parse(json!);
  assert.ok(plots.some(({ categories }) => categories?.[0] === HOSTILE));
  assert.not.match(page.replace(block, ''), /onerror='|src="/);
});

test('the page holds all it needs and may load nothing', () => {
  const page = reportPage([ceilingsRow(), e2eRow(), opsRow(), hostRow(), peersRow()]);
  assert.ok(page.includes(CHART), 'chart.js is not there as it is');
  assert.match(CHART, /^\/\*!.*?Released under the MIT License.*?\*\//s);
  const own = page.replace(CHART, '');
  assert.not.match(own, /https?:|\bsrc=|url\(|@import|<link/);
  assert.ok([...own.matchAll(/href="([^"]*)"/g)].every(([, href]) => href!.startsWith('#')));
  const [, policy] = /Content-Security-Policy" content="([^"]*)"/.exec(own)!;
  assert.match(policy!, /^default-src &#39;none&#39;; /);
  const scripts = [...page.matchAll(/<(?:script|style)>(.*?)<\/(?:script|style)>/gs)].map(([, text]) => text!);
  assert.is(scripts.length, 3);
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
    fails('5', /row: expected an object, got 5/);
    fails('{"bench":5}', /row\.bench: expected a text, got 5/);
    fails('['.repeat(100_000), /expected/);
    fails(`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`, /expected/);
    fails('{"bench":"\u009b31m\\u0007', /expected a line of JSON, got [^\p{Cc}]*$/u);
    for (const key of ['prompt', 'repeats', 'kernels', 'runs', 'adapter'])
      fails(line({ ...e2eRow(), [key]: undefined }), new RegExp(`e2e\\.${key}: expected .*, got nothing`));
    fails(
      line({ ...e2eRow(), kernels: [{ ...e2eRow().kernels[0], micros: '1' }] }),
      /kernels\[0\]\.micros: expected a num/,
    );
    fails(line({ ...opsRow(), repeats: [1] }), /ops\.repeats\[0\]: expected an array, got 1/);
    fails(line({ ...peersRow(), peers: { x: { micros: 1 } } }), /peers\.peers\.x\.micros: expected an array/);
  });
});

test('rows of other benches are left out; NaN, which JSON writes as null, is no error', () => {
  assert.equal(parseRow('{"bench":"trial"}', ''), []);
  assert.equal(parseRow('{"bench":"constructor"}', ''), []);
  const [row] = parseRow(JSON.stringify(e2eRow({ maxErrorStd: Number.NaN })), '') as E2eRow[];
  assert.ok(Number.isNaN(row!.maxErrorStd));
  inFolder((dir) => {
    const out = join(dir, 'out.html');
    writeHtmlReport(out, [{ bench: 'trial' }, e2eRow({ ok: undefined, maxErrorStd: Number.NaN })]);
    assert.match(readFileSync(out, 'utf8'), 'picture');
    assert.throws(() => writeHtmlReport(out, [{ bench: 'trial' }]), /expected rows of e2e/);
    assert.throws(() => writeHtmlReport(out, [{ bench: 'host' }]), /^row 1: host\.adapter: expected a text/);
    assert.throws(() => writeHtmlReport(dir, [e2eRow()]), /^--html: expected a file that can be written, got/);
    assert.throws(() => report([dir], { html: out }), /^report: expected a file of JSON lines, got/);
  });
});

test('the command joins files into one page', () => {
  inFolder((dir) => {
    const [first, second, out] = ['a.jsonl', 'b.jsonl', 'out.html'].map((name) => join(dir, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(first, `${JSON.stringify(e2eRow())}\n`);
    writeFileSync(second, `${JSON.stringify(e2eRow({ dtype: 'f16' }))}\n`);
    const { status, stdout, stderr } = runBench('report', first, second, '--html', out);
    assert.is(status, 0, stderr);
    assert.is(stdout.trim(), `report: ${out}`);
    assert.match(readFileSync(out, 'utf8'), 'picture, f16');
  });
});

test.run();
