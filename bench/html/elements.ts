import { sum } from '../measure.ts';
import { digits } from '../report.ts';
import { type Html, html } from './markup.ts';
import {
  type Bar,
  type BarFigure,
  type Cell,
  colorOf,
  type DataTable,
  drawCharts,
  type Figure,
  type Series,
} from './plot.ts';

/** A paragraph that says what one must know to read what is above. */
export function note(text: string): Html {
  return html`<p class="note">${text}</p>`;
}

/** A table whose heads sort it; on a narrow screen each row is a list of its own. */
export function table({ columns, rows }: DataTable): Html {
  return html`<div class="scroll"><table><thead><tr>${columns.map((name) => html`<th>${name}</th>`)}</tr></thead>
<tbody>${rows.map((row) => html`<tr>${row.map((value, i) => cell(value, columns[i]!))}</tr>`)}</tbody></table></div>`;
}

function cell(value: Cell, column: string): Html {
  if (typeof value === 'number')
    return html`<td class="number" data-column="${column}" data-value="${value}">${show(value)}</td>`;
  const { text, href, mark } = typeof value === 'string' ? { text: value } : value;
  const content = href ? html`<a href="${href}">${text}</a>` : text;
  return html`<td class="${mark ?? ''}" data-column="${column}">${content}</td>`;
}

function show(value: number): string {
  if (!Number.isFinite(value)) return '-';
  return Number.isInteger(value) ? String(value) : digits(value);
}

/** A table that a click opens. */
export function details(title: string, data: DataTable): Html {
  return html`<details><summary>${title}</summary>${table(data)}</details>`;
}

/** Small plots with their names above them; those without a point are left out. */
export function figure(all: Figure): Html {
  const charts = all.charts.filter(({ series }) => series.some(({ points }) => points.length > 0));
  const named = [...new Map(charts.flatMap(({ series }) => series.map((own) => [own.name, own]))).values()];
  const drawn = drawCharts({ ...all, charts }).map((svg, i) => html`<div><h4>${charts[i]!.name}</h4>${svg}</div>`);
  return framed(all, named.length > 1 ? legend(named) : html``, html`<div class="charts">${drawn}</div>`);
}

/** Bars as wide as the page, each with its name and its whole above it. */
export function barFigure(all: BarFigure): Html {
  const most = Math.max(...all.bars.map(total));
  const parts = new Map(all.bars.flatMap(({ parts }) => parts.map(({ name, color }) => [name, { name, color }])));
  const bars = all.bars.map((bar) => {
    let left = 0;
    const rects = bar.parts.map(({ name, value, color }) => {
      const x = (100 * left) / most;
      left += value;
      return html`<rect fill="${colorOf(color)}" x="${x}%" width="${(100 * value) / most}%" height="14"><title>${name}: ${show(value)} ${all.unit}</title></rect>`;
    });
    return html`<div><span>${bar.name}</span> <b>${show(total(bar))} ${all.unit}</b><svg class="bar" width="100%" height="14">${rects}</svg></div>`;
  });
  return framed(all, legend([...parts.values()]), html`<div class="bars">${bars}</div>`);
}

function total({ parts }: Bar): number {
  return sum(parts.map(({ value }) => value));
}

function legend(keys: readonly Pick<Series, 'name' | 'color' | 'dash'>[]): Html {
  const line = ({ color, dash }: (typeof keys)[number]) =>
    html`<svg width="22" height="10"><line stroke="${colorOf(color)}" x2="22" y1="5" y2="5" stroke-dasharray="${dash ?? ''}"/></svg>`;
  return html`<p class="legend">${keys.map((key) => html`<span>${line(key)} ${key.name}</span> `)}</p>`;
}

function framed(about: Pick<Figure, 'title' | 'note' | 'table'>, keys: Html, drawn: Html): Html {
  const numbers = about.table ? details('Numbers', about.table) : html``;
  return html`<figure><figcaption><h3>${about.title}</h3>${note(about.note)}${keys}</figcaption>${drawn}${numbers}</figure>`;
}
