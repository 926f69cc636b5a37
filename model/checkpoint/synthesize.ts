import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { UsageError } from '../../runtime/index.ts';
import { writeIndex } from './checksums.ts';
import { QUANTIZATION, type StoredFormats } from './config.ts';
import { assertDiskRoom, writeDurably } from './durable_file.ts';
import { readObject } from './json.ts';
import type { TensorInfo } from './safetensors.ts';
import { cutShards, SafetensorsWriter } from './safetensors_writer.ts';
import { openSynthetic, type SyntheticFormat, type SyntheticSource, shapeFolder } from './synthetic.ts';

/** What to write. */
export interface SynthesizeOptions {
  /** 15b, or a folder with a config.json. */
  shape: string;
  format: SyntheticFormat;
  seed: number;
  /** The folder whose tokenizer and chat template serve a shape without its own. */
  textSide: string;
  /** Told the bytes written so far and in all. */
  progress?: (done: number, total: number) => void;
}

const SHARD_BYTES = 2 ** 31;
const CHUNK_BYTES = 4 * 2 ** 20;
const SETTINGS = ['generation_config.json', 'preprocessor_config.json'];
const TEXT_SIDE = ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'];

/**
 * Writes a synthetic checkpoint to the folder `out` as a model folder: shards, configuration, text side, and the index
 * last; returns its tensors. CheckpointError where the shape has no configuration; UsageError where the seed is bad,
 * the folder is not empty or cannot be written, or the disk has no room.
 */
export async function synthesizeCheckpoint(out: string, options: SynthesizeOptions): Promise<readonly TensorInfo[]> {
  const { shape, format, seed, textSide, progress } = options;
  const { config, source } = openSynthetic(shape, format, seed);
  const infos = [...source.tensors.values()];
  const total = infos.reduce((sum, { bytes }) => sum + bytes, 0);
  openFolder(out, total);
  let done = 0;
  const count = (bytes: number) => {
    done += bytes;
    progress?.(done, total);
  };
  const shards = cutShards(infos, ({ bytes }) => bytes, SHARD_BYTES);
  for (const { file, items } of shards) await writeShard(join(out, file), source, items, count);
  const companions = writeCompanions(out, shapeFolder(shape), textSide, config.formats);
  const files = shards.map(({ file }) => file);
  writeIndex(out, files, companions);
  return infos;
}

/** Makes the folder; UsageError where it holds something, cannot be made, or its disk lacks room. */
function openFolder(out: string, bytes: number): void {
  const refuse = (expected: string, got: string) =>
    new UsageError(`synthesize: ${out}: expected ${expected}, got ${got}; choose another folder`);
  let entries: string[];
  try {
    if (!existsSync(out)) mkdirSync(out);
    entries = readdirSync(out);
  } catch (error) {
    throw refuse('a folder that can be written', (error as Error).message);
  }
  if (entries.length > 0) throw refuse('a new or empty folder', `${entries.length} files`);
  assertDiskRoom(out, bytes);
}

async function writeShard(
  path: string,
  source: SyntheticSource,
  infos: readonly TensorInfo[],
  progress: (bytes: number) => void,
): Promise<void> {
  const writer = new SafetensorsWriter(path, infos);
  const chunk = new Uint8Array(CHUNK_BYTES);
  try {
    for (const info of infos) {
      for (let at = 0; at < info.bytes; at += CHUNK_BYTES) {
        const part = chunk.subarray(0, Math.min(CHUNK_BYTES, info.bytes - at));
        source.readInto(info, at, part);
        writer.write(info.name, part);
        progress(part.byteLength);
        await setImmediate(); // so that a signal is heard
      }
    }
    writer.finish();
  } catch (error) {
    writer.abort();
    throw error;
  }
}

/** Writes config.json with the formats, and copies settings and text side; returns the files' names. */
function writeCompanions(out: string, shape: string, textSide: string, formats: StoredFormats | undefined): string[] {
  const quantization = formats && { version: QUANTIZATION.version, ...formats };
  const config = { ...readObject(join(shape, 'config.json')), [QUANTIZATION.key]: quantization };
  writeDurably(join(out, 'config.json'), Buffer.from(`${JSON.stringify(config, null, 2)}\n`));
  const text = existsSync(join(shape, TEXT_SIDE[0]!)) ? shape : textSide;
  const copies = [
    ...SETTINGS.map((name) => [shape, name] as const),
    ...TEXT_SIDE.map((name) => [text, name] as const),
  ].filter(([dir, name]) => existsSync(join(dir, name)));
  for (const [dir, name] of copies) writeDurably(join(out, name), readFileSync(join(dir, name)));
  return ['config.json', ...copies.map(([, name]) => name)];
}
