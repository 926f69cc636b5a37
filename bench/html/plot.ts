import { dot, line, plot, ruleY } from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { digits } from '../report.ts';
import { Html } from './markup.ts';

/** An axis; its title names the unit. Linear ones begin at 0. */
export interface Axis {
  title: string;
  log?: boolean;
}

/** A point; its label says under the pointer what the two values do not. */
export interface Point {
  x: number;
  y: number;
  /** In pixels; 1.5 without it. */
  radius?: number;
  label?: string;
}

/** Points, joined where there is a line; `step` where a value holds since the point before. */
export interface Series {
  name: string;
  /** Which colour of the page; none for a limit, which is grey, and dashed as told. */
  color?: number;
  line?: 'straight' | 'step';
  dash?: string;
  points: Point[];
}

/** One of several small plots with the same axes. */
export interface Chart {
  name: string;
  series: Series[];
}

/** Small plots beside each other, what one must know to read them, and their numbers where no other table has them. */
export interface Figure {
  title: string;
  note: string;
  x: Axis;
  y: Axis;
  charts: Chart[];
  table?: DataTable;
}

/** Parts of a whole, from left to right, in the colours of the page. */
export interface Bar {
  name: string;
  parts: { name: string; value: number; color: number }[];
}

/** Bars of one unit below each other. */
export interface BarFigure extends Pick<Figure, 'title' | 'note' | 'table'> {
  unit: string;
  bars: Bar[];
}

/** A text, a number to round, or a text with a link inside the page or a verdict's colour. */
export type Cell = string | number | { text: string; href?: string; mark?: 'ok' | 'wrong' };

/** Numbers under a plot or on their own. */
export interface DataTable {
  columns: string[];
  rows: Cell[][];
}

const SIZE = { width: 320, height: 210, marginLeft: 48, marginRight: 12, marginTop: 22, marginBottom: 36 };
const COLORS = 7;
const { document } = parseHTML('<html></html>');

/** Each chart of a figure as SVG; all have the same axes. */
export function drawCharts({ x, y, charts }: Figure): Html[] {
  const points = charts.flatMap(({ series }) => series.flatMap((own) => own.points));
  const scales = {
    x: scale(
      x,
      points.map((point) => point.x),
    ),
    y: scale(
      y,
      points.map((point) => point.y),
    ),
  };
  return charts.map(({ series }) => {
    const marks = [scales.y.type === 'linear' ? ruleY([0]) : null, ...series.map((own) => mark(own, x, y))];
    const svg = plot({ ...SIZE, ...scales, document, marks });
    svg.querySelector('style')!.remove(); // page.css has what is needed of it
    return new Html(svg.outerHTML);
  });
}

function mark({ name, color, line: kind, dash, points }: Series, x: Axis, y: Axis) {
  const stroke = colorOf(color);
  const title = ({ x: atX, y: atY, label }: Point) =>
    [label ?? name, `${x.title}: ${digits(atX)}`, `${y.title}: ${digits(atY)}`].join('\n');
  const places = { x: 'x', y: 'y' };
  const radius = ({ radius = 1.5 }: Point) => radius;
  return [
    kind === undefined
      ? null
      : line(points, { ...places, stroke, strokeDasharray: dash, curve: kind === 'step' ? 'step-before' : 'linear' }),
    dash !== undefined
      ? null
      : dot(points, { ...places, fill: stroke, fillOpacity: 0.75, r: { value: radius, scale: null }, title }),
  ];
}

/** A colour of page.css by its number; grey without one. */
export function colorOf(color: number | undefined): string {
  return color === undefined ? 'var(--muted)' : `var(--color-${color % COLORS})`;
}

/** A scale of Plot over all values, with few ticks: of a logarithmic one whole decades, or 1, 2 and 5 where it spans less than two. */
function scale({ title, log }: Axis, all: readonly number[]) {
  const values = all.filter(Number.isFinite);
  const label = title;
  if (!log)
    return { type: 'linear', label, domain: [0, Math.max(...values)], ticks: 4, grid: true, nice: true } as const;
  const [low, high] = [Math.floor(Math.log10(Math.min(...values))), Math.ceil(Math.log10(Math.max(...values)))];
  const every = Math.ceil((high - low + 1) / 6);
  const decades = Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)).filter((_, i) => i % every === 0);
  const ticks = high - low > 2 ? decades : decades.flatMap((decade) => [decade, 2 * decade, 5 * decade]);
  const domain = [Math.min(...values), Math.max(...values)];
  return {
    type: 'log',
    label,
    domain,
    ticks: ticks.filter((tick) => tick >= domain[0]! && tick <= domain[1]!),
    tickFormat: showTick,
    grid: true,
  } as const;
}

function showTick(value: number): string {
  const [mantissa, exponent] = value.toExponential(0).split('e');
  return Math.abs(Number(exponent)) > 3 ? `${mantissa}e${Number(exponent)}` : digits(value);
}

/** The items by a key, in order of appearance. */
export function groupBy<T, K>(items: readonly T[], key: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group) group.push(item);
    else groups.set(key(item), [item]);
  }
  return groups;
}
