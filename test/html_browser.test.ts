// tier: host
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { writeHtmlReport } from '../bench/html.ts';
import { BrowserPage, findChromium } from './chromium.ts';
import { ceilingsRow, e2eRow, hostRow, opsRow, peersRow } from './fixtures/report_rows.ts';

const HOSTILE = `</script><script>pwned = 1</script><img src="http://127.0.0.1:9/" onerror='pwned = 1'>`;

/** The plots to be seen, each with how many pixels within the axes have a colour: the grid is grey. */
const COLOURED = `Object.fromEntries([...document.querySelectorAll('canvas')].filter((c) => c.offsetParent).map((c) => {
  const copy = new OffscreenCanvas(c.width, c.height).getContext('2d', { willReadFrequently: true });
  copy.drawImage(c, 0, 0);
  const { left, top, width, height } = Chart.getChart(c).chartArea;
  const { data } = copy.getImageData(...[left, top, width, height].map((size) => Math.round(size * devicePixelRatio)));
  let coloured = 0;
  for (let i = 0; i < data.length; i += 4) {
    const rgb = data.slice(i, i + 3);
    if (data[i + 3] > 128 && Math.max(...rgb) - Math.min(...rgb) > 60) coloured++;
  }
  return [c.getAttribute('aria-label') + ' ' + c.dataset.plot, coloured];
}))`;

const CASE = `document.querySelector('.case.shown').id`;

const binary = findChromium();
if (binary) {
  const dir = mkdtempSync(join(tmpdir(), 'daybreak-html-browser-'));
  const file = join(dir, 'a report.html');
  const wrong = e2eRow({ prompt: 'wrong', ok: false, divergedAt: HOSTILE });
  const ops = [opsRow(), opsRow({ kernel: 'attention/attention', repeats: [[500]] })];
  writeHtmlReport(file, [ceilingsRow(), e2eRow(), e2eRow({ prompt: HOSTILE }), wrong, ...ops, hostRow(), peersRow()]);
  const url = pathToFileURL(file).href;
  const page = await BrowserPage.open(binary, url);

  /** Names of the plots to be seen, all of which are drawn. */
  const drawn = async () => {
    const plots = await page.evaluate<Record<string, number>>(COLOURED);
    for (const [name, coloured] of Object.entries(plots)) assert.ok(coloured > 20, `${name}: ${coloured} pixels`);
    return Object.keys(plots).map((name) => name.replace(/ \d+$/, ''));
  };
  const choose = (value: string) =>
    page.evaluate(`new Promise((done) => {
      addEventListener('hashchange', () => setTimeout(done), { once: true });
      const select = document.getElementById('case');
      select.value = '${value}';
      select.dispatchEvent(new Event('change'));
    })`);

  const everywhere = ['Logit error per step', 'Time to first token (TTFT)', 'Time per token', 'Roofline'];
  const ofCase = ['Slowest kernels', 'Roofline', 'Device memory', 'Resident memory'];

  test('every plot of every case is drawn', async () => {
    assert.is(await page.evaluate(CASE), 'case-0');
    assert.equal((await drawn()).sort(), [...everywhere, ...ofCase].sort());
    await choose('case-1');
    assert.is(await page.evaluate(CASE), 'case-1');
    assert.equal((await drawn()).sort(), [...everywhere, ...ofCase].sort());
    await choose('case-2');
    assert.equal((await drawn()).sort(), everywhere.sort());
    assert.match(
      await page.evaluate<string>(`document.querySelector('.case.shown').innerText`),
      'WRONG from </script>',
    );
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

  test('dark and light follow the system, paper is light', async () => {
    const text = 'getComputedStyle(document.body).color';
    const light = await page.evaluate(text);
    const prefer = (value: string) =>
      page.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value }] });
    await prefer('dark');
    while ((await page.evaluate(text)) === light); // until the browser, which ends after a minute, has told the page
    assert.equal((await drawn()).sort(), everywhere.sort());
    const printed = `(dispatchEvent(new Event('beforeprint')), ${text})`;
    assert.is(await page.evaluate(printed), light);
    assert.equal((await drawn()).sort(), everywhere.sort());
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
