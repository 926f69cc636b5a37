import { createHash } from 'node:crypto';
import { PAGE } from '../kernels/index.ts';
import { type Device, OutOfMemoryError } from '../runtime/index.ts';
import type { PagePool } from './pages.ts';

/** What stands at the positions of a sequence whose keys and values are known, and the pages that hold those. */
export class Past {
  #pool: PagePool;
  #reuse: boolean;
  /** As many as its positions need at least; those behind are for positions to come. */
  #pages: number[] = [];
  #contents: string[] = [];
  /** The keys of the pages that it fills. */
  #keys: string[] = [];

  /** `reuse`: whether full pages are found again by others. */
  constructor(pool: PagePool, reuse: boolean) {
    this.#pool = pool;
    this.#reuse = reuse;
  }

  /** Positions. */
  get length(): number {
    return this.#contents.length;
  }

  /** How many of its first positions hold the first of some contents. */
  common(contents: readonly string[]): number {
    let at = 0;
    while (at < this.#contents.length && this.#contents[at] === contents[at]) at++;
    return at;
  }

  /** Takes over pages that hold what comes next, all of it but the last position at most; how many positions those are. */
  share(contents: readonly string[]): number {
    this.rewind(this.length); // an answer may have had pages for steps that it did not come to
    let at = 0;
    while (this.#reuse && this.length % PAGE === 0 && contents.length - at > PAGE) {
      const next = contents.slice(at, at + PAGE);
      const page = this.#pool.find(pageKey(this.#keys.at(-1), next));
      if (page === undefined) break;
      this.#pages.push(page);
      this.advance(next);
      at += PAGE;
    }
    return at;
  }

  /**
   * Makes sure that positions from its length to `end` - 1 stand in pages that may be written; whether any page is another now.
   * Throws OutOfMemoryError where the pool has too few, and is as before then.
   */
  reserve(device: Device, end: number): boolean {
    const [pool, pages] = [this.#pool, this.#pages];
    const first = Math.floor(this.length / PAGE);
    const shared = first < pages.length && !pool.isOwn(pages[first]!);
    const missing = Math.max(0, Math.ceil(end / PAGE) - pages.length);
    const wanted = missing + Number(shared);
    if (wanted > pool.available) {
      throw new OutOfMemoryError(
        `session: context: expected ${wanted} free pages of ${PAGE} positions, got ${pool.available} of ${pool.pages}: other sequences hold the rest; end one of them or load the model with a longer context`,
      );
    }
    if (shared) {
      const own = pool.take();
      const from = pages[first]!;
      pages[first] = own;
      pool.release(from);
      device.run('page', (encoder) => pool.copy(encoder, from, own));
    }
    for (let i = 0; i < missing; i++) pages.push(pool.take());
    return wanted > 0;
  }

  /** Counts positions whose keys and values are in pages, and publishes the pages that they fill. */
  advance(contents: readonly string[]): void {
    for (const each of contents) this.#contents.push(each);
    while ((this.#keys.length + 1) * PAGE <= this.length) {
      const page = this.#keys.length;
      const key = pageKey(this.#keys.at(-1), this.#contents.slice(page * PAGE, (page + 1) * PAGE));
      this.#keys.push(key);
      if (this.#reuse) this.#pool.publish(this.#pages[page]!, key);
    }
  }

  /** Forgets the positions from `length` on, and lets go of the pages that hold only those. */
  rewind(length: number): void {
    this.#contents.length = length;
    this.#keys.length = Math.floor(length / PAGE);
    for (const page of this.#pages.splice(Math.ceil(length / PAGE)).reverse()) this.#pool.release(page);
  }

  /** The same past of another sequence; both share its pages. */
  fork(): Past {
    const other = new Past(this.#pool, this.#reuse);
    other.#contents = [...this.#contents];
    other.#keys = [...this.#keys];
    other.#pages = this.#pages.slice(0, Math.ceil(this.length / PAGE));
    for (const page of other.#pages) this.#pool.hold(page);
    return other;
  }

  /** The page table, u32 [1, length]. */
  table(length: number): Uint32Array {
    const table = new Uint32Array(length);
    table.set(this.#pages);
    return table;
  }
}

/** The key of a full page: what stands at its positions and, through the key of the page before, at all earlier ones. */
function pageKey(before: string | undefined, contents: readonly string[]): string {
  return createHash('sha256')
    .update(`${before}\n${contents.join(' ')}`)
    .digest('base64');
}
