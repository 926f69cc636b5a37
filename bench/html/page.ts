import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { digits } from '../report.ts';
import { CEILING, caseRoofline, dispatchGroups, opsRoofline, opsTable, phaseTable, slowestFigure } from './kernels.ts';
import { Html, html } from './markup.ts';
import { type Cell, type DataTable, type Figure, groupBy, type Plot } from './plot.ts';
import {
  type Case,
  errorFigure,
  latencyFigure,
  memoryFigures,
  namedCases,
  stageTable,
  tokenFigure,
  verdictTable,
} from './prompts.ts';
import { type Row, rowsOf } from './rows.ts';
import { ceilingsOf, ceilingsTable, environmentTable, hostTable, machineOf, peersTable } from './tables.ts';

const source = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');

/** The page of a report: one HTML file that needs nothing else, and may load nothing else. */
export function reportPage(rows: readonly Row[]): string {
  const page = new Page();
  const body = page.body(rows);
  const data = new Html(JSON.stringify(page.plots).replaceAll('<', '\\u003c'));
  const style = source('./page.css');
  const chart = source('../../node_modules/chart.js/dist/chart.umd.js').replace(/<\/(?=script)/gi, '<\\/');
  const script = source('./page.js');
  const policy = `default-src 'none'; style-src ${hash(style)}; script-src ${hash(chart)} ${hash(script)}`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width">
<title>daybreak bench report</title>
<style>${new Html(style)}</style>
</head>
<body>
${body}
<script type="application/json" id="plots">${data}</script>
<script>${new Html(chart)}</script>
<script>${new Html(script)}</script>
</body>
</html>
`.text;
}

/** What the content security policy calls a script or style that may stand in the page. */
function hash(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}

/** The page's sections; plots are kept for the script, which finds each by the number of its canvas. */
class Page {
  readonly plots: Plot[] = [];

  body(rows: readonly Row[]): Html {
    const cases = namedCases(rowsOf(rows, 'e2e'));
    const ceilings = rowsOf(rows, 'ceilings');
    return html`
<header><h1>daybreak bench report</h1>${summary(cases)}
<div class="beside">${table(environmentTable(rows))}${ceilings.length > 0 ? table(ceilingsTable(ceilings)) : html`<p class="note">No ceilings are in the files.</p>`}</div></header>
${cases.length > 0 ? this.#prompts(cases) : []}
${cases.map((item, i) => this.#case(item, i, rows))}
${this.#ops(rows)}
${this.#host(rows)}
${this.#peers(rows)}`;
  }

  #prompts(cases: readonly Case[]): Html {
    const timed = cases.filter(({ row }) => row.ok !== false);
    const options = cases.map(({ name }, i) => html`<option value="${caseId(i)}">${name}</option>`);
    return html`
<section><h2>Is it right?</h2>
${table(verdictTable(cases, (i) => `#${caseId(i)}`))}
<p class="note">Teacher-forced: every step is fed the token of the reference. A tie is a token that differs where the reference's best two logits are closer than twice the error allowed. Times are wall clock, medians; a wrong case has none.</p>
<div class="figures">${this.#figure(errorFigure(cases))}</div></section>
<section><h2>How fast?</h2>
<div class="figures">${this.#figure(latencyFigure(timed))}${this.#figure(tokenFigure(timed))}</div></section>
<section class="choice"><h2>Why?</h2><p><label>Case <select id="case">${options}</select></label></p></section>`;
  }

  #case({ name, row }: Case, index: number, rows: readonly Row[]): Html {
    return html`
<section class="case" id="${caseId(index)}"><h3>${name}: ${row.model}, ${row.dtype}, ${row.positions} positions</h3>
${row.ok === false ? html`<p class="wrong">WRONG from ${row.divergedAt ?? ''}: no times are shown.</p>` : this.#times(row, rows)}
${row.stages.length > 0 ? details('Stages beside the reference', stageTable(row)) : []}</section>`;
  }

  #times(row: Case['row'], rows: readonly Row[]): Html {
    const ceilings = ceilingsOf(rows, row);
    const groups = dispatchGroups(row);
    const kernels = html`${table(phaseTable(row))}
<p class="note">One recorded run, slower than others: every dispatch has a timed pass of its own. GPU: their sum. Wall: the same run, of decode one token.</p>
<div class="figures">${this.#figure(slowestFigure(groups, ceilings))}${this.#figure(caseRoofline(groups, ceilings))}</div>`;
    return html`${groups.length > 0 ? kernels : html`<p class="note">No GPU times were recorded.</p>`}
<div class="figures">${memoryFigures(row).map((figure) => this.#figure(figure))}</div>`;
  }

  #ops(rows: readonly Row[]): readonly Html[] {
    const machines = groupBy(rowsOf(rows, 'ops'), machineOf);
    return [...machines.values()].map((own) => {
      const ceilings = ceilingsOf(rows, own[0]!);
      return html`
<section><h2>Ops on ${own[0]!.adapter}</h2>
<div class="figures">${this.#figure(opsRoofline(own, ceilings))}</div>${table(opsTable(own, ceilings))}
<p class="note">GPU clock, summed over the dispatches of an op: the median over repeats of the median of each. Not timed: compiling and a first run. ${CEILING}</p></section>`;
    });
  }

  #host(rows: readonly Row[]): readonly Html[] {
    const host = rowsOf(rows, 'host');
    if (host.length === 0) return [];
    return [
      html`<section><h2>Host</h2>${table(hostTable(host))}
<p class="note">Host clock, one execution: the median over repeats of the median of each.</p></section>`,
    ];
  }

  #peers(rows: readonly Row[]): readonly Html[] {
    const peers = rowsOf(rows, 'peers');
    if (peers.length === 0) return [];
    return [
      html`<section><h2>Peers</h2>${table(peersTable(peers))}
<p class="note">Wall clock from submit to done, less the wait for an idle device; inputs and outputs stay on the device. A ratio is the median of theirs over ours, pair by pair: above 1 ours is faster.</p></section>`,
    ];
  }

  #figure({ title, note, plot, table }: Figure): Html {
    const canvas = html`<div class="plot"><canvas data-plot="${this.plots.push(plot) - 1}" role="img" aria-label="${title}"></canvas></div>`;
    return html`<figure><figcaption><h3>${title}</h3><p class="note">${note}</p></figcaption>${canvas}${table ? details('Numbers', table) : []}</figure>`;
  }
}

function caseId(index: number): string {
  return `case-${index}`;
}

function summary(cases: readonly Case[]): Html | readonly Html[] {
  const wrong = cases.filter(({ row }) => row.ok === false).length;
  const right = cases.filter(({ row }) => row.ok).length;
  if (wrong > 0) return html`<p class="summary wrong">${wrong} of ${cases.length} cases are WRONG</p>`;
  if (right > 0)
    return html`<p class="summary ok">${right} of ${cases.length} cases match the reference, none is wrong</p>`;
  return [];
}

function details(title: string, data: DataTable): Html {
  return html`<details><summary>${title}</summary>${table(data)}</details>`;
}

function table({ columns, rows }: DataTable): Html {
  return html`<div class="scroll"><table><thead><tr>${columns.map((name) => html`<th>${name}</th>`)}</tr></thead>
<tbody>${rows.map((row) => html`<tr>${row.map(cell)}</tr>`)}</tbody></table></div>`;
}

function cell(value: Cell): Html {
  if (typeof value === 'number') return html`<td class="number" data-value="${value}">${show(value)}</td>`;
  if (typeof value === 'string') return html`<td>${value}</td>`;
  const { text, href, mark } = value;
  return html`<td class="${mark ?? ''}">${href ? html`<a href="${href}">${text}</a>` : text}</td>`;
}

function show(value: number): string {
  if (!Number.isFinite(value)) return '-';
  return Number.isInteger(value) ? String(value) : digits(value);
}
