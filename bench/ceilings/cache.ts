import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import * as v from 'valibot';
import { type Device, readCached, writeCached } from '../../runtime/index.ts';
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

const RATE = v.pipe(v.number(), v.gtValue(0));
const CEILINGS = v.object({
  clock: v.picklist(['gpu', 'wall']),
  ...Object.fromEntries(QUANTITIES.map((quantity) => [quantity, RATE])),
  f16Gflops: v.nullable(RATE),
  passMicros: v.nullable(RATE),
  measured: v.pipe(v.string(), v.isoTimestamp()),
});
const KNOWN = v.object({ best: CEILINGS, worst: CEILINGS, runs: v.pipe(v.number(), v.minValue(1)) });

/** Ceilings measured longer ago are measured again. */
const FRESH_MILLIS = 3_600_000;

/**
 * Measures a device's ceilings and adds them to those known of this adapter, driver and processor by the sources in this
 * folder, which stay in the user's cache folder: other work on the machine only ever makes a run worse.
 */
export async function measureAgain(device: Device): Promise<KnownCeilings & { kernels: MeasuredKernel[] }> {
  const { ceilings, kernels } = await measureCeilings(device);
  const known = joined(readKnown(cacheName(device)), ceilings);
  writeCached(cacheName(device), known);
  return { ...known, kernels };
}

/** The known ceilings of a device; measured now where they are older than an hour. */
export async function knownCeilings(device: Device): Promise<KnownCeilings> {
  const known = readKnown(cacheName(device));
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

function cacheName(device: Device): string {
  const { adapter, driver, webgpu, cpu } = environment(device);
  const texts = readdirSync(SOURCES).map((name) => readFileSync(new URL(name, SOURCES), 'utf8'));
  const key = createHash('sha256').update(JSON.stringify([adapter, driver, webgpu, cpu, texts]));
  return `ceilings-${key.digest('hex').slice(0, 16)}`;
}

/** What is kept under a name; undefined where there is nothing or it is damaged. */
function readKnown(name: string): KnownCeilings | undefined {
  const { success, output } = v.safeParse(KNOWN, readCached(name));
  return success ? (output as KnownCeilings) : undefined;
}
