import type { Device, DeviceTensor, Owned, Storage } from '../runtime/index.ts';

/** A picture's features, held until they are let go of; `keep` false forgets them, as those that were never written. */
export interface HeldFeatures {
  storage: Storage;
  release: (keep?: boolean) => void;
}

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
  find(digest: string): HeldFeatures | undefined {
    const place = this.#places.find((known) => known.digest === digest);
    return place && this.#hold(place);
  }

  /** Makes and holds a place for a picture that is not known; undefined where those in use leave no room. */
  make(digest: string, rows: number): HeldFeatures | undefined {
    for (;;) {
      const row = this.#gap(rows);
      if (row !== undefined) return this.#hold({ digest, row, rows, holders: 0 });
      const oldest = this.#places.findIndex(({ holders }) => holders === 0);
      if (oldest < 0) return undefined;
      this.#places.splice(oldest, 1);
    }
  }

  #hold(place: Place): HeldFeatures {
    place.holders++;
    this.#places = [...this.#places.filter((other) => other !== place), place];
    const { buffer, offset } = this.#storage;
    return {
      storage: { buffer, offset: offset + place.row * this.#rowBytes, bytes: place.rows * this.#rowBytes },
      release: (keep = true) => {
        place.holders--;
        if (!keep) this.#places = this.#places.filter((other) => other !== place);
      },
    };
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
