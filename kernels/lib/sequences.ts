import { ceilDiv, type HostTensor } from '../../runtime/index.ts';
import { PAGE } from './pages.ts';

/** Rows of several sequences, as specs name them. */
export interface RowsCase {
  /** Rows in all. */
  tokens: number;
  /** Keys of the first sequence, its own rows' included; each further one has SHORTER fewer, and at least its rows. */
  keys: number;
  sequences: number;
  /** The sequences' rows stand in turns, not one sequence behind the other. */
  mixed?: boolean;
}

/** Rows whose keys and values are written: of each sequence the last. */
export type WrittenCase = Required<RowsCase> & {
  kvHeads: number;
  headDim: number;
  /** Whether tables lack the last page of the longest sequence, so that behind one is the first page of the next sequence. */
  missing: boolean;
};

/** A sequence's keys and the pages of the pool that hold them. */
export interface PagedSequence {
  keys: number;
  pages: number[];
}

const SHORTER = 37;

/** The sequences of a case, where each row stands, and how many pages the pool has: page 0 is nobody's. */
export function layRows({ tokens, keys, sequences, mixed }: RowsCase) {
  const owners = Array.from({ length: tokens }, (_, t) => {
    return mixed ? t % sequences : Math.floor((t * sequences) / tokens);
  });
  const counts = Array.from({ length: sequences }, (_, s) => owners.filter((owner) => owner === s).length);
  const all = counts.map((count, s): PagedSequence => ({ keys: Math.max(count, keys - SHORTER * s), pages: [] }));
  let pages = all.reduce((sum, sequence) => sum + ceilDiv(sequence.keys, PAGE), 1);
  const poolPages = pages;
  for (let at = 0; pages > 1; at++) {
    const sequence = all[at % sequences]!;
    if (sequence.pages.length * PAGE < sequence.keys) sequence.pages.push(--pages);
  }
  const next = all.map((sequence, s) => sequence.keys - counts[s]!);
  const places = owners.map((owner): [number, number] => [next[owner]!++, owner]);
  return { sequences: all, places, poolPages };
}

/** Where a position of a sequence lies in a pool [pages, kvHeads, PAGE, headDim], in rows of headDim. */
export function poolRow({ pages }: PagedSequence, position: number, kvHeads: number, head: number): number {
  return (pages[Math.floor(position / PAGE)]! * kvHeads + head) * PAGE + (position % PAGE);
}

/** The places and the page tables of a case; tables end in `spare` entries that lead to the page of nobody, or lack so many. */
export function rowTensors(c: RowsCase, spare = 1): { places: HostTensor; tables: HostTensor } {
  const { sequences, places } = layRows(c);
  const width = Math.max(...sequences.map(({ pages }) => pages.length)) + spare;
  const tables = new Uint32Array(sequences.length * width);
  sequences.forEach(({ pages }, s) => {
    tables.set(pages.slice(0, width), s * width);
  });
  return {
    places: { shape: [places.length, 2], dtype: 'u32', data: Uint32Array.from(places.flat()) },
    tables: { shape: [sequences.length, width], dtype: 'u32', data: tables },
  };
}
