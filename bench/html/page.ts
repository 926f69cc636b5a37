import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { barFigure, details, figure, note, table } from './elements.ts';
import { CEILING, caseRoofline, dispatchGroups, opsRoofline, opsTable, phaseTable, slowestFigure } from './kernels.ts';
import { Html, html } from './markup.ts';
import { type Origin, originsOf } from './names.ts';
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
import { type AccuracyRow, type FullRow, type OtherRow, type Row, rowsOf } from './rows.ts';
import {
  accuracyTable,
  ceilingsOf,
  ceilingsTable,
  fullTable,
  hostTable,
  originTable,
  peersTable,
  qualityTable,
  speedTable,
} from './tables.ts';

const source = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');

/** The page of a report: one HTML file that needs nothing else, and may load nothing else. */
export function reportPage(all: readonly (Row | OtherRow)[]): string {
  const rows = all.filter((row): row is Row => 'bench' in row);
  const others = new Set(all.flatMap((row) => ('other' in row ? [row.other] : [])));
  const [style, script] = [source('./page.css'), source('./page.js')];
  const policy = `default-src 'none'; img-src data:; style-src ${hash(style)}; script-src ${hash(script)}`;
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
${body(rows)}
${others.size > 0 ? note(`Not shown: rows of ${[...others].join(', ')}.`) : []}
<script>${new Html(script)}</script>
</body>
</html>
`.text;
}

/** What the content security policy calls a script or style that may stand in the page. */
function hash(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}

function body(rows: readonly Row[]): Html {
  const cases = namedCases(rowsOf(rows, 'e2e'));
  const origins = originsOf(rows);
  const ceilings = rowsOf(rows, 'ceilings').length > 0;
  return html`
<header><h1>daybreak bench report</h1>${summary(cases)}
${table(originTable(origins))}
${ceilings ? table(ceilingsTable(origins)) : note('No ceilings are in the files.')}</header>
${cases.length > 0 ? prompts(cases, rows) : []}
${section(origins, 'speed', 'Speed', (own) => table(speedTable(own)))}
${section(origins, 'full', 'Full size', (own) => [table(fullTable(own)), ...own.map(stageDetails)])}
${section(origins, 'quality', 'Quality', (own) => table(qualityTable(own)))}
${section(origins, 'accuracy', 'Accuracy', (own) => [table(accuracyTable(own)), ...own.map(wrongAnswers)])}
${section(origins, 'ops', 'Ops', (own) => {
  const ceilings = ceilingsOf(rows, own[0]!);
  return [figure(opsRoofline(own, ceilings)), table(opsTable(own, ceilings))];
})}
${section(origins, 'host', 'Host', (own) => table(hostTable(own)))}
${section(origins, 'peers', 'Peers', (own) => table(peersTable(own)))}`;
}

/** What one must know to read the rows of a bench. */
const NOTES = {
  speed:
    'Wall clock: tokens of a prompt (pp) or an answer (tg), behind so many positions (@ d), over the seconds that they took; the median over repeats.',
  full: 'Layers evaluated again in float64 on the host. Wall clock; loaded against the same files only read.',
  quality: 'Divergence of the next token’s distribution (Kullback-Leibler, nats) from that of the weights as they are.',
  accuracy:
    'Greedy answers. Low and high: the 95 % confidence interval of the share that is right (Wilson). Same: answers with the reference’s tokens; a tie differs where its likeliest two tokens were closer than a thousandth.',
  ops: `GPU clock, summed over the dispatches of an op: the median over repeats of the median of each. Not timed: compiling and a first run. ${CEILING}`,
  host: 'Host clock, one execution: the median over repeats of the median of each.',
  peers:
    'Wall clock from submit to done, less the wait for an idle device; inputs and outputs stay on the device. A ratio is the median of theirs over ours, pair by pair: above 1 ours is faster.',
};

/** The rows of a bench, those of every origin under its name. */
function section<B extends keyof typeof NOTES>(
  origins: readonly Origin[],
  bench: B,
  title: string,
  show: (rows: Extract<Row, { bench: B }>[]) => Html | Html[],
): Html | readonly Html[] {
  const parts = origins.flatMap(({ name, rows }) => {
    const own = rowsOf(rows, bench);
    return own.length > 0 ? [html`${name ? html`<h3>${name}</h3>` : []}${show(own)}${note(NOTES[bench])}`] : [];
  });
  return parts.length > 0 ? html`<section><h2>${title}</h2>${parts}</section>` : [];
}

/** A few answers that are wrong, with their pictures. */
function wrongAnswers({ model, weights, activations, wrong }: AccuracyRow): Html {
  if (wrong.length === 0) return html``;
  const shown = wrong.map(
    ({ task, mode, question, answer, text, pictures }) =>
      html`<figure class="answer">${pictures.map((url) => html`<img src="${url}" alt="picture of the question">`)}
<figcaption>${task}, ${mode}: ${question}<br>expected <b>${answer}</b>, got <b class="wrong">${text}</b></figcaption></figure>`,
  );
  return html`<details><summary>Wrong answers of ${model}, weights ${weights}, ${activations}</summary><div class="beside">${shown}</div></details>`;
}

function stageDetails(row: FullRow): Html {
  return details(`Stages of ${row.model}`, stageTable(row));
}

function prompts(cases: readonly Case[], rows: readonly Row[]): Html {
  const timed = cases.filter(({ row }) => row.ok !== false);
  return html`
<section><h2>Is it right?</h2>
${table(verdictTable(cases, (i) => `#${caseId(i)}`))}
${note('Teacher-forced: every step is fed the token of the reference. A tie is a token that differs where the reference’s best two logits are closer than twice the error allowed. Times are wall clock, medians; a wrong case has none.')}
${figure(errorFigure(cases))}</section>
<section><h2>How fast?</h2>
${timed.length > 0 ? html`${barFigure(latencyFigure(timed))}${figure(tokenFigure(timed))}` : []}</section>
<section><h2>Why?</h2>${cases.map((item, i) => caseDetails(item, i, rows))}</section>`;
}

function caseDetails({ name, row }: Case, index: number, rows: readonly Row[]): Html {
  return html`
<details class="case"${new Html(index === 0 ? ' open' : '')}><summary>${name}: ${row.model}, ${row.dtype}, ${row.positions} positions</summary><div id="${caseId(index)}">
${row.ok === false ? html`<p class="wrong">WRONG from ${row.divergedAt ?? ''}: no times are shown.</p>` : times(row, rows)}
${row.stages.length > 0 ? details('Stages beside the reference', stageTable(row)) : []}</div></details>`;
}

function times(row: Case['row'], rows: readonly Row[]): Html {
  const ceilings = ceilingsOf(rows, row);
  const groups = dispatchGroups(row);
  const kernels = html`${table(phaseTable(row))}
${note('One recorded run, slower than others: every dispatch has a timed pass of its own. GPU: their sum. Wall: the same run, of decode one token.')}
${barFigure(slowestFigure(groups, ceilings))}${figure(caseRoofline(groups, ceilings))}`;
  return html`${groups.length > 0 ? kernels : note('No GPU times were recorded.')}
<div class="beside">${memoryFigures(row).map(figure)}</div>`;
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
