import type { Device } from './device.ts';
import type { Storage } from './tensor.ts';

/** What an Owned can take: device memory in any form, or something with memory of its own. */
type Ownable = GPUBuffer | Storage | { storage: Storage } | { dispose(): void };

/** Device memory that lives and dies together. */
export class Owned {
  #device: Device;
  #items: Ownable[] = [];

  constructor(device: Device) {
    this.#device = device;
  }

  /** Takes something into this group and returns it. */
  keep<T extends Ownable>(item: T): T {
    this.#items.push(item);
    return item;
  }

  /** Moves all kept so far into a group of its own, which can be freed alone and belongs to this one. */
  split(): Owned {
    const part = new Owned(this.#device);
    part.#items = this.#items;
    this.#items = [{ dispose: () => part.free() }];
    return part;
  }

  /** Gives all of it back; a second time does nothing. */
  free(): void {
    for (const item of this.#items.splice(0)) {
      if ('dispose' in item) item.dispose();
      else this.#device.free('storage' in item ? item.storage : item);
    }
  }

  /** The result of `body`; frees everything kept so far where it throws. */
  async orFree<T>(body: () => Promise<T>): Promise<T> {
    try {
      return await body();
    } catch (error) {
      this.free();
      throw error;
    }
  }
}
