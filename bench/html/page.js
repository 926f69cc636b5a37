'use strict';
// Draws the plots, shows one case at a time and sorts tables. The data stand in the page; nothing is loaded.

// Paul Tol's bright colours, which colour-blind readers can tell apart, and quieter ones for bounds and roofs.
const PALETTE = ['#4477aa', '#ee6677', '#228833', '#ccbb44', '#66ccee', '#aa3377', '#e08030'];
const LIMITS = ['#888888', '#c06020', '#7050c0', '#208080'];
const plots = JSON.parse(document.getElementById('plots').textContent);
const charts = new Map();

const round = (value) => Number(value.toPrecision(3));

function colorOf({ color, line }) {
  const palette = line === 'dashed' ? LIMITS : PALETTE;
  return palette[color % palette.length];
}

/** An axis of Chart.js; on a logarithmic one of two decades or more, 1, 2 and 5 of each are labelled. */
function axis({ title: text, log }) {
  const title = { display: true, text };
  if (!log) return { type: 'linear', title };
  function label(value) {
    const [digits, exponent] = round(value).toExponential().split('e');
    if (this.max / this.min >= 100 && !['1', '2', '5'].includes(digits)) return '';
    return Math.abs(exponent) > 3 ? `${digits}e${Number(exponent)}` : String(round(value));
  }
  return { type: 'logarithmic', title, ticks: { callback: label, maxRotation: 0 } };
}

/** Stacked horizontal bars. */
function bars({ x, y, categories, series }) {
  const datasets = series.map((own) => ({ label: own.name, data: own.values, backgroundColor: colorOf(own) }));
  const scales = {
    x: { ...axis(x), stacked: true },
    y: { stacked: true, title: { display: true, text: y.title }, grid: { display: false }, ticks: { autoSkip: false } },
  };
  const label = ({ dataset, parsed }) => `${dataset.label}: ${round(parsed.x)} ${x.title}`;
  return { type: 'bar', data: { labels: categories, datasets }, options: { indexAxis: 'y', ...common(scales, label) } };
}

/** Points, joined where the series has a line. */
function points({ x, y, series }) {
  const datasets = series.map((own) => ({
    label: own.name,
    data: own.points,
    showLine: own.line !== undefined,
    borderDash: own.line === 'dashed' ? [6, 4] : [],
    borderWidth: 1.5,
    borderColor: colorOf(own),
    backgroundColor: `${colorOf(own)}b0`,
    pointStyle: own.line === 'dashed' ? 'line' : 'circle',
    pointRadius: ({ raw }) => raw?.radius ?? 2,
    pointHitRadius: 6,
  }));
  const label = ({ dataset, raw }) => [
    dataset.label,
    ...(raw.label ?? '').split('\n').filter(Boolean),
    `${x.title}: ${round(raw.x)}`,
    `${y.title}: ${round(raw.y)}`,
  ];
  return { type: 'scatter', data: { datasets }, options: common({ x: axis(x), y: axis(y) }, label) };
}

function common(scales, label) {
  const plugins = {
    legend: { position: 'bottom', labels: { usePointStyle: true } },
    tooltip: { callbacks: { label } },
  };
  return { animation: false, maintainAspectRatio: false, scales, plugins };
}

/** Draws those canvases that can be seen and were not drawn yet. */
function draw() {
  for (const canvas of document.querySelectorAll('canvas')) {
    if (charts.has(canvas) || canvas.offsetParent === null) continue;
    const plot = plots[canvas.dataset.plot];
    if (plot.categories) canvas.parentElement.style.minHeight = `${110 + 26 * plot.categories.length}px`;
    charts.set(canvas, new Chart(canvas, plot.categories ? bars(plot) : points(plot)));
  }
}

/** Draws everything anew with the colours for the screen or, always light, for paper. */
function paint(dark) {
  document.documentElement.toggleAttribute('data-dark', dark);
  const style = getComputedStyle(document.documentElement);
  Chart.defaults.color = style.getPropertyValue('--text');
  Chart.defaults.borderColor = style.getPropertyValue('--line');
  for (const chart of charts.values()) chart.destroy();
  charts.clear();
  draw();
}

/** Shows the case that the address names, or the first one. */
function showCase() {
  const cases = [...document.querySelectorAll('.case')];
  const shown = cases.find(({ id }) => `#${id}` === location.hash) ?? cases[0];
  for (const section of cases) section.classList.toggle('shown', section === shown);
  if (shown) document.getElementById('case').value = shown.id;
}

/** Sorts a table by a column; a second time the other way round. Numbers begin with the largest. */
function sortBy(header) {
  const body = header.closest('table').tBodies[0];
  const key = (row) => row.cells[header.cellIndex].dataset.value ?? row.cells[header.cellIndex].textContent;
  const compare = (a, b) => Number(key(b)) - Number(key(a)) || key(a).localeCompare(key(b));
  const sign = header.dataset.sorted === '1' ? -1 : 1;
  header.dataset.sorted = sign;
  body.append(...[...body.rows].sort((a, b) => sign * compare(a, b)));
}

const dark = matchMedia('(prefers-color-scheme: dark)');
dark.addEventListener('change', () => paint(dark.matches));
addEventListener('beforeprint', () => paint(false));
addEventListener('afterprint', () => paint(dark.matches));
addEventListener('hashchange', () => {
  showCase();
  draw();
});
document.getElementById('case')?.addEventListener('change', ({ target }) => {
  location.hash = target.value;
});
for (const header of document.querySelectorAll('th')) header.addEventListener('click', () => sortBy(header));
showCase();
paint(dark.matches);
