import { groupBy } from './plot.ts';
import type { Row } from './rows.ts';

const ENVIRONMENT = ['adapter', 'driver', 'cpu', 'commit', 'file', 'node', 'webgpu'] as const;

/** Rows of one file that were measured on one machine with one version of the code; its name is empty where it is the only one. */
export interface Origin {
  name: string;
  rows: Row[];
}

/** Names items by what they are called and, while that is ambiguous, by what else differs between them. */
export function namesOf<T>(items: readonly T[], called: (item: T) => string, keys: readonly (keyof T)[]): string[] {
  let names = items.map(called);
  for (const key of keys) {
    if (new Set(names).size === names.length) break;
    const values = items.map((item) => String(item[key] ?? ''));
    if (new Set(values).size > 1) names = names.map((name, i) => [name, values[i]].filter(Boolean).join(', '));
  }
  return names;
}

/** Rows by where they come from, in order of appearance. */
export function originsOf(rows: readonly Row[]): Origin[] {
  const groups = [...groupBy(rows, (row) => JSON.stringify(ENVIRONMENT.map((key) => row[key]))).values()];
  const names = namesOf(
    groups.map(([first]) => first!),
    () => '',
    ENVIRONMENT,
  );
  return groups.map((own, i) => ({ name: names[i]!, rows: own }));
}
