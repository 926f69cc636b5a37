/** When something began and how long it took, in microseconds of one clock. */
export interface Lap {
  start: number;
  micros: number;
}

/** What the host did or waited for, in microseconds of performance.now(). Waits overlap what happens meanwhile. */
export interface HostSpan extends Lap {
  name: 'encode' | 'submit' | 'upload' | 'read back' | 'idle';
  label: string;
  /** Bytes moved, where it moved some. */
  bytes?: number;
}

/** What one dispatch computes. */
export interface Work {
  scope: string;
  kernel: string;
  flops: number;
  bytes: number;
}

/** GPU time and declared work of one dispatch; `start` is on the GPU's clock. */
export interface ProfileRow extends Lap, Work {}

/** Where each of several compute passes writes its timestamps. */
export interface PassTimes {
  writes(index: number): GPUComputePassTimestampWrites;
}

/** What watches a device at work: see Timeline. */
export interface Recorder {
  /** The result of `body`, and a span of how long it took; of a promise, until it settles. */
  span<T>(name: HostSpan['name'], label: string, body: () => T, bytes?: number): T;
  /** Lets `body` encode one timed pass per step. */
  encode(encoder: GPUCommandEncoder, steps: readonly Work[], body: (times: PassTimes) => void): void;
  /** Takes over what a recording within this one saw. */
  absorb(spans: readonly HostSpan[], rows: readonly ProfileRow[]): void;
}
