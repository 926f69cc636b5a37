// tier: host
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { writeHtmlReport } from '../bench/html.ts';
import { BrowserPage, findChromium } from './chromium.ts';
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

/** A name that is markup, and as long as names get. */
const HOSTILE = `</script><script>pwned = 1</script><img src="http://127.0.0.1:9/" onerror='pwned = 1'>${'a_long_name_'.repeat(9)}`;

/** What reaches past the right edge of the page, or of its own box: nothing may on a narrow screen. */
const CUT = `[...document.querySelectorAll('body *')].filter((e) => e.checkVisibility()).filter((e) => {
  const { left, right } = e.getBoundingClientRect();
  return left < 0 || right > innerWidth || (e instanceof HTMLElement && e.scrollWidth > e.clientWidth && e.clientWidth > 0);
}).map((e) => e.outerHTML.slice(0, 200))`;

const binary = findChromium();
if (binary) {
  const dir = mkdtempSync(join(tmpdir(), 'daybreak-html-browser-'));
  const file = join(dir, 'a report.html');
  const wrong = e2eRow({ prompt: 'wrong', ok: false, divergedAt: HOSTILE });
  const ops = [opsRow(), opsRow({ kernel: 'attention/attention', repeats: [[500]] })];
  writeHtmlReport(file, [
    ceilingsRow(),
    e2eRow(),
    e2eRow({ prompt: HOSTILE }),
    wrong,
    ...ops,
    hostRow(),
    peersRow(),
    fullRow(),
    qualityRow(),
    speedRow(),
  ]);
  const url = pathToFileURL(file).href;
  const page = await BrowserPage.open(binary, url);

  const resize = (width: number) =>
    page.send('Emulation.setDeviceMetricsOverride', { width, height: 900, deviceScaleFactor: 1, mobile: width < 500 });

  test('every figure has its charts or bars', async () => {
    const figures = await page.evaluate<[string, number][]>(`[...document.querySelectorAll('figure')].map((figure) =>
      [figure.querySelector('h3').textContent, figure.querySelectorAll('.charts path, .charts circle, .bars rect').length])`);
    const ofCase = ['Slowest kernels', 'Roofline', 'Device memory', 'Resident memory'];
    const names = [
      'Logit error per step',
      'Time to first token (TTFT)',
      'Time per token',
      ...ofCase,
      ...ofCase,
      'Roofline',
    ];
    assert.equal(
      figures.map(([name]) => name),
      names,
    );
    for (const [name, marks] of figures) assert.ok(marks > 2, `${name}: ${marks}`);
  });

  test('a link opens its case, a wrong one shows no figure', async () => {
    const open = `[...document.querySelectorAll('.case')].map((details) => details.open)`;
    assert.equal(await page.evaluate(open), [true, false, false]);
    await page.evaluate(`document.querySelector('a[href="#case-2"]').click()`);
    const wrong = `document.querySelectorAll('.case')[2]`;
    assert.match(await page.evaluate<string>(`${wrong}.innerText`), 'WRONG from </script>');
    assert.is(await page.evaluate(`${wrong}.querySelectorAll('figure').length`), 0);
    assert.is(await page.evaluate('document.querySelector(":target").id'), 'case-2');
  });

  test('on 390 pixels, with everything open, nothing is cut and nothing scrolls sideways; the page fits wider screens', async () => {
    await page.evaluate(`document.querySelectorAll('details').forEach((details) => { details.open = true; })`);
    await resize(390);
    assert.equal(await page.evaluate(CUT), []);
    for (const width of [820, 1400]) {
      await resize(width);
      assert.ok((await page.evaluate<number>('document.documentElement.scrollWidth')) <= width);
    }
  });

  test('a click on a head sorts the table, a second one the other way round', async () => {
    const sorted = (column: string) =>
      page.evaluate<string[]>(`(() => {
        const table = [...document.querySelectorAll('table')].find(({ tHead }) => tHead.innerText.includes('GPU us'));
        [...table.tHead.rows[0].cells].find((head) => head.textContent === '${column}').click();
        return [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
      })()`);
    assert.equal(await sorted('GPU us'), ['attention/attention', 'matmul/gemv']);
    assert.equal(await sorted('GPU us'), ['matmul/gemv', 'attention/attention']);
    assert.equal(await sorted('kernel'), ['attention/attention', 'matmul/gemv']);
  });

  test('dark and light follow the system, paper is light, and so are the lines of the charts', async () => {
    const media = (media: string, scheme: string) =>
      page.send('Emulation.setEmulatedMedia', { media, features: [{ name: 'prefers-color-scheme', value: scheme }] });
    const colours = `[getComputedStyle(document.body), getComputedStyle(document.querySelector('.charts path[d]').parentElement)].map(
      ({ color, backgroundColor, stroke }) => [color, backgroundColor, stroke].join()).join()`;
    await media('screen', 'light');
    const light = await page.evaluate(colours);
    await media('screen', 'dark');
    assert.is.not(await page.evaluate(colours), light);
    await media('print', 'dark');
    assert.is(await page.evaluate(colours), light);
  });

  test('nothing was loaded, no script of a row ran, nothing went wrong', async () => {
    assert.is(await page.evaluate('typeof pwned'), 'undefined');
    const of = (method: string) => page.events.filter((event) => event.method === method).map(({ params }) => params!);
    const requests = of('Network.requestWillBeSent').map(({ request }) => (request as { url: string }).url);
    assert.equal(requests, [url]);
    for (const problem of ['Runtime.exceptionThrown', 'Runtime.consoleAPICalled', 'Log.entryAdded'])
      assert.equal(of(problem), []);
  });

  test.after(async () => {
    await page.close();
    rmSync(dir, { recursive: true });
  });
  test.run();
}
