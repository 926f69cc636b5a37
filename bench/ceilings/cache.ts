import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isObject } from '../../model/checkpoint/json.ts';
import { cacheFolder, type Device } from '../../runtime/index.ts';
import { environment } from '../report.ts';
import { type Ceilings, type MeasuredKernel, measureCeilings } from './measure.ts';
import { isTime, QUANTITIES } from './probes.ts';

const SOURCES = new URL('./', import.meta.url);

/** What a device has reached: its best ceilings ever, the worst of each in any run, and when it was measured last. */
export interface KnownCeilings {
  best: Ceilings;
  worst: Ceilings;
  runs: number;
}

/** Ceilings measured longer ago are measured again. */
const FRESH_MILLIS = 3_600_000;

/**
 * Measures a device's ceilings and adds them to those known of this adapter, driver and processor by the sources in this
 * folder, which stay in the user's cache folder: other work on the machine only ever makes a run worse.
 */
export async function measureAgain(device: Device): Promise<KnownCeilings & { kernels: MeasuredKernel[] }> {
  const { ceilings, kernels } = await measureCeilings(device);
  const known = joined(readKnown(cacheFile(device)), ceilings);
  save(cacheFile(device), known);
  return { ...known, kernels };
}

/** The known ceilings of a device; measured now where they are older than an hour. */
export async function knownCeilings(device: Device): Promise<KnownCeilings> {
  const known = readKnown(cacheFile(device));
  const fresh = known && Date.now() - Date.parse(known.best.measured) < FRESH_MILLIS;
  return fresh ? known : measureAgain(device);
}

/** Known ceilings with one more run; what that could not measure counts for nothing. */
export function joined(known: KnownCeilings | undefined, now: Ceilings): KnownCeilings {
  if (!known) return { best: now, worst: now, runs: 1 };
  const extreme = (of: Ceilings, best: boolean) => {
    const values = QUANTITIES.map((rate) => {
      const both = [of[rate], now[rate]].filter((value) => value !== null && !Number.isNaN(value)) as number[];
      const most = isTime(rate) ? !best : best;
      return [rate, both.length > 0 ? (most ? Math.max : Math.min)(...both) : now[rate]];
    });
    return { ...now, ...Object.fromEntries(values) };
  };
  return { best: extreme(known.best, true), worst: extreme(known.worst, false), runs: known.runs + 1 };
}

/** Does nothing where the user has no folder that can be written. */
function save(file: string, known: KnownCeilings): void {
  try {
    mkdirSync(join(file, '..'), { recursive: true, mode: 0o700 });
    writeFileSync(`${file}.${process.pid}`, JSON.stringify(known));
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

/** What a file holds; undefined where there is none or it is damaged. */
function readKnown(file: string): KnownCeilings | undefined {
  try {
    const known: unknown = JSON.parse(readFileSync(file, 'utf8'));
    const whole = isObject(known) && isCeilings(known.best) && isCeilings(known.worst) && Number(known.runs) > 0;
    return whole ? (known as unknown as KnownCeilings) : undefined;
  } catch {
    return undefined;
  }
}

function isCeilings(value: unknown): boolean {
  if (!isObject(value) || Number.isNaN(Date.parse(String(value.measured)))) return false;
  const lacking = (rate: string) => rate === 'f16Gflops' || rate === 'passMicros'; // null where the device has none
  return QUANTITIES.every((rate) => (value[rate] === null ? lacking(rate) : Number(value[rate]) > 0));
}
