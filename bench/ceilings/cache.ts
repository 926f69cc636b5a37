import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isObject } from '../../model/checkpoint/json.ts';
import type { Device } from '../../runtime/index.ts';
import { cacheFolder } from '../cache_folder.ts';
import { environment } from '../report.ts';
import { type Ceilings, measureCeilings } from './measure.ts';

const SOURCES = new URL('./', import.meta.url);

/**
 * The ceilings measured last for this adapter, driver and processor by the sources in this folder, out of the user's
 * cache folder; measured now where there are none.
 */
export async function cachedCeilings(device: Device): Promise<{ ceilings: Ceilings; cached: boolean }> {
  const known = readCeilings(cacheFile(device));
  if (known) return { ceilings: known, cached: true };
  const { ceilings } = await measureCeilings(device);
  saveCeilings(device, ceilings);
  return { ceilings, cached: false };
}

/** Keeps ceilings for cachedCeilings; does nothing where the user has no folder that can be written. */
export function saveCeilings(device: Device, ceilings: Ceilings): void {
  const file = cacheFile(device);
  try {
    mkdirSync(join(file, '..'), { recursive: true, mode: 0o700 });
    writeFileSync(`${file}.${process.pid}`, JSON.stringify(ceilings));
    renameSync(`${file}.${process.pid}`, file);
  } catch {
    return;
  }
}

function cacheFile(device: Device): string {
  const { adapter, driver, webgpu, cpu } = environment(device);
  const texts = readdirSync(SOURCES).map((name) => readFileSync(new URL(name, SOURCES), 'utf8'));
  const key = createHash('sha256').update(JSON.stringify([adapter, driver, webgpu, cpu, texts]));
  return join(cacheFolder(), `ceilings-${key.digest('hex').slice(0, 16)}.json`);
}

/** The ceilings in a file; undefined where there is none or it does not hold them. */
function readCeilings(file: string): Ceilings | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return isCeilings(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isCeilings(value: unknown): value is Ceilings {
  if (!isObject(value) || Number.isNaN(Date.parse(String(value.measured)))) return false;
  const { copyGBs, readGBs, f32Gflops, f16Gflops, int8Gops, dispatchMicros, passMicros } = value;
  const rates = [copyGBs, readGBs, f32Gflops, f16Gflops ?? 1, int8Gops, dispatchMicros, passMicros ?? 1];
  return rates.every((rate) => typeof rate === 'number' && rate > 0);
}
