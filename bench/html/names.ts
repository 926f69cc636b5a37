import { groupBy } from './plot.ts';
import type { Row } from './rows.ts';

const ENVIRONMENT = ['adapter', 'commit', 'file', 'driver', 'cpu', 'node', 'webgpu'] as const;

/** Rows of one file, machine and version of the code; its name is empty where there is no other. */
export interface Origin {
  name: string;
  rows: Row[];
}

/** Names items by what they are called and, where that is ambiguous, by what tells most of them apart; else by number. */
export function namesOf<T>(items: readonly T[], called: (item: T) => string, keys: readonly (keyof T)[]): string[] {
  const names = new Map<T, string>();
  const tell = (group: readonly T[], name: string): void => {
    const values = keys.map((key) => groupBy(group, (item) => String(item[key] ?? '')));
    const most = values.reduce((best, other) => (other.size > best.size ? other : best));
    const join = (value: string) => [name, value].filter(Boolean).join(', ');
    if (group.length === 1) names.set(group[0]!, name);
    else if (most.size > 1) for (const [value, own] of most) tell(own, join(value));
    else for (const [i, item] of group.entries()) names.set(item, join(`#${i + 1}`));
  };
  for (const [name, group] of groupBy(items, called)) tell(group, name);
  return items.map((item) => names.get(item)!);
}

/** Rows by where they come from, in order of appearance. */
export function originsOf(rows: readonly Row[]): Origin[] {
  const groups = [...groupBy(rows, (row) => JSON.stringify(ENVIRONMENT.map((key) => row[key]))).values()];
  const firsts = groups.map(([first]) => first!);
  const names = namesOf(firsts, () => '', ENVIRONMENT);
  return groups.map((own, i) => ({ name: names[i]!, rows: own }));
}
