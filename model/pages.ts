import { PAGE, poolShape } from '../kernels/index.ts';
import {
  CapabilityError,
  type Device,
  type DeviceTensor,
  type DType,
  OutOfMemoryError,
  type Owned,
  type Storage,
  tensorBytes,
  UsageError,
} from '../runtime/index.ts';
import type { ModelConfig } from './checkpoint/config.ts';

/**
 * Keys (rotated) and values of every layer in pages of PAGE positions, [pages, kvHeads, PAGE, headDim] each. A page belongs to as
 * many sequences as hold it; a full one can be published under a key that stands for all positions up to its end, and is
 * found by it even after the last sequence has let go, until its memory is wanted: least recently used first.
 */
export class PagePool {
  readonly pages: number;
  readonly layers: readonly { readonly k: DeviceTensor; readonly v: DeviceTensor }[];
  #scratch: Storage;
  #free: number[];
  #holders = new Map<number, number>();
  #keys = new Map<number, string>();
  #published = new Map<string, number>();
  /** Published pages that no sequence holds, the least recently used first. */
  #idle = new Set<number>();

  /** Allocates into `owned`. Throws CapabilityError where one layer's keys pass what the adapter can bind, OutOfMemoryError where all do not fit. */
  constructor(
    device: Device,
    { layers, kvHeads, headDim }: ModelConfig['decoder'],
    pages: number,
    dtype: DType,
    owned: Owned,
  ) {
    const shape = poolShape(pages, kvHeads, headDim);
    const limit = device.limits.maxStorageBufferBindingSize;
    const bytes = tensorBytes({ shape, dtype });
    if (bytes > limit) {
      const most = Math.floor((limit / bytes) * pages) * PAGE;
      throw new CapabilityError(
        `kv_pool: context: expected at most ${most} positions on '${device.name}', got ${pages * PAGE}; use a shorter context or f16`,
      );
    }
    device.assertRoom(2 * layers * bytes, `kv_pool for ${pages * PAGE} positions`);
    this.pages = pages;
    this.#scratch = owned.keep(device.alloc(bytes / pages, 'page'));
    this.#free = Array.from({ length: pages }, (_, i) => pages - 1 - i);
    this.layers = Array.from({ length: layers }, (_, i) => ({
      k: owned.keep(device.tensor(`layers.${i}.k_pool`, shape, dtype)),
      v: owned.keep(device.tensor(`layers.${i}.v_pool`, shape, dtype)),
    }));
  }

  /** Pages that take() can hand out. */
  get available(): number {
    return this.#free.length + this.#idle.size;
  }

  /** A page of one's own; throws OutOfMemoryError where all are held. */
  take(): number {
    const page = this.#free.pop() ?? this.#forgetOldest();
    if (page === undefined) {
      throw new OutOfMemoryError(
        `kv_pool: expected a free page of ${this.pages}, got none: other sequences hold them all; end one of them or load with a longer context`,
      );
    }
    this.#holders.set(page, 1);
    return page;
  }

  /** Holds a page once more. */
  hold(page: number): void {
    this.#idle.delete(page);
    this.#holders.set(page, (this.#holders.get(page) ?? 0) + 1);
  }

  /** Lets go of a page. */
  release(page: number): void {
    const left = this.#holders.get(page)! - 1;
    this.#holders.set(page, left);
    if (left > 0) return;
    this.#holders.delete(page);
    if (this.#keys.has(page)) this.#idle.add(page);
    else this.#free.push(page);
  }

  /** Whether nobody else reads a page, now or later: only then may it be written. */
  isOwn(page: number): boolean {
    return this.#holders.get(page) === 1 && !this.#keys.has(page);
  }

  /** Makes a full page known; where its key is known already, the page found first stays it. */
  publish(page: number, key: string): void {
    if (this.#published.has(key) || this.#keys.has(page)) return;
    this.#published.set(key, page);
    this.#keys.set(page, key);
  }

  /** Holds and returns the page of a key, if there is one. */
  find(key: string): number | undefined {
    const page = this.#published.get(key);
    if (page !== undefined) this.hold(page);
    return page;
  }

  /** Appends the copy of a page's keys and values in all layers to an encoder; through `#scratch`, as no buffer is copied within itself. */
  copy(encoder: GPUCommandEncoder, from: number, to: number): void {
    const { buffer: scratch, bytes } = this.#scratch;
    for (const { storage } of this.layers.flatMap(({ k, v }) => [k, v])) {
      encoder.copyBufferToBuffer(storage.buffer, storage.offset + from * bytes, scratch, 0, bytes);
      encoder.copyBufferToBuffer(scratch, 0, storage.buffer, storage.offset + to * bytes, bytes);
    }
  }

  #forgetOldest(): number | undefined {
    const [page] = this.#idle;
    if (page === undefined) return undefined;
    this.#idle.delete(page);
    this.#published.delete(this.#keys.get(page)!);
    this.#keys.delete(page);
    return page;
  }
}

/** How much the sequences of a model may keep; every field is optional. */
export interface CacheOptions {
  /** Positions of one sequence at most, by default the configuration's limit; and of all together where no bytes are named. */
  context?: number;
  /** Bytes for the keys and values of all sequences together. */
  cacheBytes?: number;
}

/**
 * The pages that a pool shall have: as many as options name; without any those of `limit` positions, or what the adapter can bind
 * or, on the CPU, half of the memory that is free, if that is less. Throws UsageError for options that name no page.
 */
export function poolPages(
  device: Device,
  { layers, kvHeads, headDim }: ModelConfig['decoder'],
  dtype: DType,
  limit: number,
  { context, cacheBytes }: CacheOptions,
): number {
  const ofLayer = tensorBytes({ shape: poolShape(1, kvHeads, headDim), dtype });
  const bytes = 2 * layers * ofLayer;
  checkOption('cacheBytes', cacheBytes, bytes);
  if (cacheBytes !== undefined) return Math.floor(cacheBytes / bytes);
  if (context !== undefined) return Math.ceil(context / PAGE);
  const bindable = Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize) / ofLayer;
  const free = (device.available ?? Number.POSITIVE_INFINITY) / 2 / bytes;
  return Math.max(1, Math.floor(Math.min(Math.ceil(limit / PAGE), bindable, free)));
}

/** Throws UsageError unless an option is left out, or an integer that is large enough. */
export function checkOption(name: string, value: number | undefined, least: number): void {
  if (value === undefined || (Number.isSafeInteger(value) && value >= least)) return;
  throw new UsageError(`model: ${name}: expected an integer from ${least} on, got ${value}; ask for more`);
}
