import { CapabilityError, type Device, type DType, type Owned, type Tensor, tensorBytes } from '../runtime/index.ts';
import type { ModelConfig } from './checkpoint/config.ts';

/** Keys (rotated) and values of every layer, [kvHeads, capacity, headDim] each, allocated once. */
export class KvCache {
  readonly capacity: number;
  readonly layers: readonly { readonly k: Tensor; readonly v: Tensor }[];

  /** Allocates into `owned`. Throws CapabilityError where one layer's keys pass what the adapter can bind, OutOfMemoryError where all do not fit. */
  constructor(
    device: Device,
    { layers, kvHeads, headDim }: ModelConfig['decoder'],
    capacity: number,
    dtype: DType,
    owned: Owned,
  ) {
    const shape = [kvHeads, capacity, headDim];
    const limit = device.limits.maxStorageBufferBindingSize;
    const bytes = tensorBytes({ shape, dtype });
    if (bytes > limit) {
      const most = Math.floor((limit / bytes) * capacity);
      throw new CapabilityError(
        `kv_cache: context: expected at most ${most} positions on '${device.name}', got ${capacity}; use a shorter context or f16`,
      );
    }
    device.assertRoom(2 * layers * bytes, `kv_cache for ${capacity} positions`);
    this.capacity = capacity;
    this.layers = Array.from({ length: layers }, (_, i) => ({
      k: owned.keep(device.tensor(`layers.${i}.k_cache`, shape, dtype)),
      v: owned.keep(device.tensor(`layers.${i}.v_cache`, shape, dtype)),
    }));
  }
}
