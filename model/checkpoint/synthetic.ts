import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import { isQuantized, placeOf } from '../../kernels/index.ts';
import { BYTES, elements, narrow, type QuantFormat, type Shape, UsageError } from '../../runtime/index.ts';
import { DEFAULT_FORMATS, expectedTensors, loadConfig, type ModelConfig } from './config.ts';
import { type TensorInfo, TensorSource } from './safetensors.ts';
import { formatOf, type StoredTensor, storedAs, usedTensors } from './stored_tensors.ts';

/** As published, or with the matrices quantised as `npm run quantize` does. */
export type SyntheticFormat = 'bf16' | 'int4';

/** A configuration and the tensors that it asks for. */
export interface SyntheticModel {
  config: ModelConfig;
  source: SyntheticSource;
}

/** Turns random words into those of a tensor, in place; the first of them is word number `first` of the tensor. */
type Shaper = (words: Uint32Array, first: number) => void;

const BLOCK_WORDS = 2 ** 14;
/** Entries of a table of equally likely values; 12 random bits choose one. */
const LEVELS = 4096;
/** Largest quants: -7 to 7 and -127 to 127 have mean 0, unlike all that 4 or 8 bits can hold. */
const LARGEST: Record<QuantFormat, number> = { q4: 7, q8: 127 };

/** The folder with the configuration of a shape: '15b', the published model, or any folder with a config.json. */
export function shapeFolder(shape: string): string {
  return shape === '15b' ? fileURLToPath(new URL('../shapes/15b', import.meta.url)) : shape;
}

/** A synthetic checkpoint of a shape. CheckpointError where the folder holds no configuration, UsageError for a bad seed. */
export function openSynthetic(shape: string, format: SyntheticFormat, seed: number): SyntheticModel {
  const formats = format === 'int4' ? DEFAULT_FORMATS : undefined;
  const config = { ...loadConfig(shapeFolder(shape)), formats };
  return { config, source: new SyntheticSource(config, seed) };
}

/**
 * A checkpoint of random weights, computed from a seed as they are read: the same bytes on every machine, wherever a
 * read begins. Matrices [rows, inner] have mean 0 and standard deviation 1 / sqrt(inner), norms lie around 1 and biases
 * around 0: activations neither vanish nor overflow (40 layers leave a residual stream of deviation 7, logits of 1).
 */
export class SyntheticSource extends TensorSource {
  #seed: number;
  #shapers: ReadonlyMap<string, Shaper>;
  #block = new Uint32Array(BLOCK_WORDS);

  /** The tensors of a configuration as its formats say. UsageError unless the seed is an integer from 0 to 2^32 - 1. */
  constructor(config: ModelConfig, seed: number) {
    if (!(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32)) {
      throw new UsageError(`synthetic: seed: expected an integer from 0 to 2^32 - 1, got ${seed}; choose another`);
    }
    const path = `synthetic checkpoint ${seed}`;
    const layout = config.formats ? usedTensors(config) : [...expectedTensors(config)];
    const all = layout.flatMap(([name, shape]) => contents(name, shape, config));
    const place = ({ name, shape, dtype = 'bf16' }: StoredTensor): TensorInfo => {
      return { name, shape, dtype, offset: 0, bytes: elements(shape) * BYTES[dtype], file: path };
    };
    super(path, new Map(all.map(({ tensor }) => [tensor.name, place(tensor)])), new Map());
    this.#seed = seed;
    this.#shapers = new Map(all.map(({ tensor, shaper }) => [tensor.name, shaper]));
  }

  readInto(info: TensorInfo, byteOffset: number, target: Uint8Array): void {
    this.checkRange(info, byteOffset, target.byteLength);
    const shape = this.#shapers.get(info.name)!;
    const key = scramble(this.#seed, crc32(info.name));
    const bytes = new Uint8Array(this.#block.buffer);
    for (let done = 0; done < target.byteLength; ) {
      const first = Math.floor((byteOffset + done) / 4);
      const skipped = byteOffset + done - 4 * first;
      const count = Math.min(bytes.length - skipped, target.byteLength - done);
      const words = this.#block.subarray(0, Math.ceil((skipped + count) / 4));
      fillRandom(words, first, key);
      shape(words, first);
      target.set(bytes.subarray(skipped, skipped + count), done);
      done += count;
    }
  }

  close(): void {}
}

/** The tensors that store one of the official layout, and what they hold. */
function contents(name: string, shape: Shape, { formats }: ModelConfig): { tensor: StoredTensor; shaper: Shaper }[] {
  const [tensor, scales] = storedAs(name, shape, formats) as [StoredTensor, StoredTensor?];
  const format = formats && formatOf(name, formats);
  const inner = shape.at(-1)!;
  if (!isQuantized(format)) return [{ tensor, shaper: floats(tensor, inner) }];
  return [
    { tensor, shaper: quants(format, inner, tensor.shape[1]!) },
    { tensor: scales!, shaper: scaleValues(format, inner) },
  ];
}

/** Values by the name: norms 1 +- 0.1, biases 0 +- 0.02, all others 0 +- 1 / sqrt(inner). */
function floats({ name, dtype = 'bf16' }: StoredTensor, inner: number): Shaper {
  if (/norm\d?\.weight$/.test(name)) return choices(dtype, (z) => 1 + 0.1 * z);
  if (/bias$/.test(name)) return choices(dtype, (z) => 0.02 * z);
  return choices(dtype, (z) => z / Math.sqrt(inner));
}

/** Scales that give the weights a standard deviation of 1 / sqrt(inner), an eighth more or less. */
function scaleValues(format: QuantFormat, inner: number): Shaper {
  const largest = LARGEST[format];
  const deviation = Math.sqrt((largest * (2 * largest + 1)) / 6); // of -largest to largest, 0 twice as often
  return choices('f16', (z) => (1 + z / 16) / deviation / Math.sqrt(inner));
}

/** Two 16-bit floats a word, each a value of a bell-shaped variable z of mean 0 and standard deviation 1. */
function choices(dtype: StoredTensor['dtype'], value: (z: number) => number): Shaper {
  const table = narrow(dtype as 'f16' | 'bf16', BELL.map(value));
  return (words) => {
    for (let i = 0; i < words.length; i++) {
      const word = words[i]!;
      words[i] = table[word & (LEVELS - 1)]! | (table[(word >>> 16) & (LEVELS - 1)]! << 16);
    }
  };
}

/** Quantiles of a bell-shaped distribution of standard deviation 1 and extremes +-2.8, by arithmetic that is exact everywhere. */
function bell(): Float32Array {
  const z = Float64Array.from({ length: LEVELS }, (_, i) => {
    const u = (2 * i + 1) / LEVELS - 1;
    return u / (1 - (2 / 3) * u * u);
  });
  const deviation = Math.sqrt(z.reduce((sum, value) => sum + value * value, 0) / LEVELS);
  return Float32Array.from(z, (value) => value / deviation);
}

const BELL = bell();

/** Quants [rows, wordsPerRow]: uniform, the lowest value replaced by 0, and 0 beyond the column `inner`. */
function quants(format: QuantFormat, inner: number, wordsPerRow: number): Shaper {
  const [bits, below] = format === 'q4' ? [4, 0x77777777] : [8, 0x7f7f7f7f];
  const kept = keptBits(bits, inner, wordsPerRow);
  return (words, first) => {
    balance(words, below);
    for (const [column, inside] of kept) {
      const row = Math.max(0, Math.ceil((first - column) / wordsPerRow));
      for (let i = row * wordsPerRow + column - first; i < words.length; i += wordsPerRow) words[i]! &= inside;
    }
  };
}

/** The lowest quant becomes 0: its sign bit stays only where one of the bits `below` it is set. */
function balance(words: Uint32Array, below: number): void {
  for (let i = 0; i < words.length; i++) words[i]! &= below | ((words[i]! & below) + below);
}

/** The words of a row that reach beyond its columns, and which of their bits belong to columns below `inner`. */
function keptBits(bits: number, inner: number, wordsPerRow: number): [word: number, bits: number][] {
  const kept = new Map(Array.from({ length: wordsPerRow }, (_, word) => [word, 0]));
  for (let column = 0; column < inner; column++) {
    const [word, shift] = placeOf(column, bits);
    kept.set(word, kept.get(word)! | ((2 ** bits - 1) << shift));
  }
  return [...kept].filter(([, mask]) => mask !== -1);
}

/** Word i is a hash of first + i under a key. */
function fillRandom(words: Uint32Array, first: number, key: number): void {
  const [before, between] = [scramble(key, 1), scramble(key, 2)];
  for (let i = 0; i < words.length; i++) words[i] = scramble((first + i) ^ before, between);
}

/** A bijection of 32-bit words for every key, any bit of which depends on all bits: two rounds of xorshift and multiply. */
function scramble(word: number, key: number): number {
  let x = word ^ (word >>> 16);
  x = Math.imul(x, 0x21f0aaad);
  x = (x ^ (x >>> 15)) + key;
  x = Math.imul(x ^ (x >>> 16), 0x735a2d97);
  return x ^ (x >>> 15);
}
