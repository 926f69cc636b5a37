/** An axis; its title names the unit. */
export interface Axis {
  title: string;
  log?: boolean;
}

/** A point; its label says in the tooltip what the two values do not. */
export interface Point {
  x: number;
  y: number;
  /** In pixels; 2 without it. */
  radius?: number;
  label?: string;
}

/** Points, joined where there is a line, which is dashed for a limit; or of bars a value per category, null for none. */
export interface Series {
  name: string;
  /** Which colour of the palette; limits have a palette of their own. */
  color: number;
  points?: Point[];
  values?: (number | null)[];
  line?: 'solid' | 'dashed';
}

/** What a chart shows. With categories it has stacked horizontal bars, whose values run along `x`. */
export interface Plot {
  x: Axis;
  y: Axis;
  categories?: string[];
  series: Series[];
}

/** A text, a number to round, or a text with a link inside the page or a verdict's colour. */
export type Cell = string | number | { text: string; href?: string; mark?: 'ok' | 'wrong' };

/** Numbers under a plot or on their own. */
export interface DataTable {
  columns: string[];
  rows: Cell[][];
}

/** A plot, what one must know to read it, and its numbers where no other table has them. */
export interface Figure {
  title: string;
  note: string;
  plot: Plot;
  table?: DataTable;
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
