import type { Device, DeviceTensor, Owned, Storage } from '../runtime/index.ts';

/** Rows of a store that hold one picture's features; in use while somebody holds them. */
interface Place {
  digest: string;
  row: number;
  rows: number;
  holders: number;
}

/**
 * Encoded pictures in one buffer of so many rows of features, f32: kept after use, by the digest of pixels and grid, until their
 * place is wanted, least recently used first.
 */
export class FeatureStore {
  #storage: Storage;
  #rows: number;
  #rowBytes: number;
  /** The least recently used first. */
  #places: Place[] = [];

  constructor(device: Device, rows: number, hidden: number, owned: Owned) {
    this.#rows = rows;
    this.#rowBytes = hidden * 4;
    this.#storage = owned.keep(device.alloc(rows * this.#rowBytes, 'picture features'));
  }

  /** Holds the features of a picture that is known; undefined where it is not. */
  find(digest: string): Storage | undefined {
    const place = this.#places.find((known) => known.digest === digest);
    return place && this.#hold(place);
  }

  /** Makes and holds a place for a picture; undefined where those in use leave no room. */
  make(digest: string, rows: number): Storage | undefined {
    for (;;) {
      const row = this.#gap(rows);
      if (row !== undefined) return this.#hold({ digest, row, rows, holders: 0 });
      const oldest = this.#places.findIndex(({ holders }) => holders === 0);
      if (oldest < 0) return undefined;
      this.#places.splice(oldest, 1);
    }
  }

  /** Lets go of a picture; `keep` false forgets it, as one that was never encoded to its end. */
  release(digest: string, keep = true): void {
    const place = this.#places.find((known) => known.digest === digest)!;
    place.holders--;
    if (!keep) this.#places.splice(this.#places.indexOf(place), 1);
  }

  #hold(place: Place): Storage {
    place.holders++;
    this.#places = [...this.#places.filter((other) => other !== place), place];
    const { buffer, offset } = this.#storage;
    return { buffer, offset: offset + place.row * this.#rowBytes, bytes: place.rows * this.#rowBytes };
  }

  /** The first row of a gap of so many rows. */
  #gap(rows: number): number | undefined {
    let row = 0;
    for (const place of [...this.#places].sort((a, b) => a.row - b.row)) {
      if (place.row - row >= rows) return row;
      row = place.row + place.rows;
    }
    return this.#rows - row >= rows ? row : undefined;
  }
}

/** A picture's features as they lie in some memory. */
export function featuresTensor(storage: Storage, rows: number, hidden: number): DeviceTensor {
  return { name: 'features', shape: [rows, hidden], dtype: 'f32', storage };
}
