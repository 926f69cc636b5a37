import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { DaybreakError, sameShape, UsageError } from '../../runtime/index.ts';
import { writeIndex } from '../checkpoint/checksums.ts';
import { QUANTIZATION, type StoredFormats } from '../checkpoint/config.ts';
import { assertDiskRoom, removeParts, writeDurably } from '../checkpoint/durable_file.ts';
import { isObject, MAX_JSON_BYTES, readObject } from '../checkpoint/json.ts';
import { type Checkpoint, INDEX, SafetensorsFile } from '../checkpoint/safetensors.ts';
import type { Shard } from './plan.ts';

/** How a tensor came out. */
export interface TensorReport {
  readonly name: string;
  readonly format: string;
  /** sqrt(sum (stored - value)^2 / sum value^2). */
  readonly error: number;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

/** The file that says what a folder is the output of, and how each tensor came out. */
const REPORT = 'quantization.json';
/** Small files that a model folder may hold beside config.json and the weights. */
const COMPANION = /\.(json|jinja|txt)$|^(LICENSE|NOTICE)/;

/** What makes two runs the same: files of a run that another run may go on with. */
export interface Identity {
  readonly version: number;
  readonly formats: StoredFormats;
  readonly shardBytes: number;
  /** The source's weights and config.json; times in milliseconds. */
  readonly source: readonly { name: string; bytes: number; modified: number }[];
}

/** What a run with this source, formats and size of shards is known by. */
export function identify(checkpoint: Checkpoint, formats: StoredFormats, shardBytes: number): Identity {
  const source = [...checkpoint.shards.keys(), join(checkpoint.path, 'config.json')].map((path) => {
    const { size, mtimeMs } = statSync(path);
    return { name: basename(path), bytes: size, modified: Math.round(mtimeMs) };
  });
  return { version: QUANTIZATION.version, formats, shardBytes, source };
}

/** The folder that a run writes to, which knows what an earlier run with the same identity has finished. */
export class QuantizeFolder {
  readonly dir: string;
  #identity: Identity;
  #reports: Map<string, TensorReport>;

  /** Makes the folder where it is missing. UsageError where it holds anything but an earlier run of the same identity. */
  constructor(dir: string, identity: Identity) {
    this.dir = dir;
    this.#identity = identity;
    this.#reports = new Map();
    try {
      mkdirSync(dir, { recursive: true });
      this.#resume(readdirSync(dir));
    } catch (error) {
      if (error instanceof DaybreakError) throw error;
      throw refuse(dir, 'a folder that can be written', (error as Error).message);
    }
  }

  path(file: string): string {
    return join(this.dir, file);
  }

  /** How the tensors came out that are done so far. */
  get reports(): readonly TensorReport[] {
    return [...this.#reports.values()];
  }

  /** Whether a shard is there, whole, with the tensors that were planned: files get their names when they are finished. */
  isFinished({ file, conversions }: Shard): boolean {
    if (!existsSync(this.path(file)) || !conversions.every(({ source }) => this.#reports.has(source.name)))
      return false;
    const tensors = readTensors(this.path(file));
    const planned = conversions.flatMap(({ parts }) => parts);
    const isPlanned = ({ name, dtype, shape }: (typeof planned)[number]) => {
      const info = tensors?.get(name);
      return info?.sum !== undefined && info.dtype === dtype && sameShape(info.shape, shape);
    };
    return tensors?.size === planned.length && planned.every(isPlanned);
  }

  /** Writes down how the tensors of a shard came out; to be called before the shard gets its name. */
  record(reports: readonly TensorReport[]): void {
    for (const report of reports) this.#reports.set(report.name, report);
    this.#writeReport();
  }

  /** Throws UsageError where the disk has no room for so many bytes more. */
  assertRoom(bytes: number): void {
    assertDiskRoom(this.dir, bytes);
  }

  /** Copies the small files of the source, adds the formats to config.json, and writes the index, which comes last. */
  finish(source: string, shards: readonly Shard[]): void {
    const config = readObject(join(source, 'config.json'));
    const quantization = { version: QUANTIZATION.version, ...this.#identity.formats };
    const text = JSON.stringify({ ...config, [QUANTIZATION.key]: quantization }, null, 2);
    writeDurably(this.path('config.json'), Buffer.from(`${text}\n`));
    const companions = readdirSync(source).filter((name) => isCompanion(source, name));
    for (const name of companions) writeDurably(this.path(name), readFileSync(join(source, name)));
    const files = shards.map(({ file }) => file);
    writeIndex(this.dir, files, ['config.json', REPORT, ...companions]);
  }

  #resume(entries: readonly string[]): void {
    if (entries.includes(REPORT)) {
      const { identity, tensors } = readObject(this.path(REPORT));
      if (JSON.stringify(identity) !== JSON.stringify(this.#identity))
        throw refuse(this.dir, 'a new folder, or one of the same model and options', 'the output of others');
      const reports = Array.isArray(tensors) ? tensors.filter(isReport) : [];
      for (const report of reports) this.#reports.set(report.name, report);
    } else if (entries.some((name) => !name.startsWith(REPORT))) {
      throw refuse(this.dir, 'a new or empty folder', `${entries.length} files`);
    }
    removeParts(this.dir);
    this.#writeReport();
  }

  #writeReport(): void {
    const report = { identity: this.#identity, tensors: this.reports };
    writeDurably(this.path(REPORT), Buffer.from(`${JSON.stringify(report, null, 2)}\n`));
  }
}

/** The tensors of a file, or undefined where it is damaged. */
function readTensors(path: string): SafetensorsFile['tensors'] | undefined {
  try {
    const file = SafetensorsFile.open(path);
    file.close();
    return file.tensors;
  } catch {
    return undefined;
  }
}

function isReport(value: unknown): value is TensorReport {
  if (!isObject(value) || typeof value.name !== 'string' || typeof value.format !== 'string') return false;
  return [value.error, value.bytesBefore, value.bytesAfter].every((number) => typeof number === 'number');
}

function isCompanion(dir: string, name: string): boolean {
  if (!COMPANION.test(name) || ['config.json', INDEX, REPORT].includes(name)) return false;
  const status = statSync(join(dir, name), { throwIfNoEntry: false });
  return status?.isFile() === true && status.size <= MAX_JSON_BYTES;
}

function refuse(dir: string, expected: string, got: string): UsageError {
  return new UsageError(`quantize: ${dir}: expected ${expected}, got ${got}; choose another folder`);
}
