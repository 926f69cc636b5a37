import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { AdapterEntry, ListedUnit } from './adapter.ts';
import { readCached, writeCached } from './cache_folder.ts';
import { Child } from './child.ts';
import type { MatrixUnit } from './kernel.ts';
import { programFile } from './program_file.ts';

/** A matrix unit that an adapter lists but that did not compute when it was tried. */
export interface UnusableUnit extends ListedUnit {
  readonly reason: string;
}

/** How a listed unit came out: the lanes with which it computed, or why it did not. */
type Outcome = { lanes: number } | { reason: string };

const PROBE = programFile(import.meta.url, 'runtime/matrix_units', 'matrix_probe');
const MOST_SECONDS = 60;

/**
 * The listed units of an adapter that multiply right, each with a subgroup size at which it does, and the others. They are
 * tried in a process of its own, because a driver may die of one. What came out is kept in the user's cache folder by
 * adapter, driver, list and the texts of the probe.
 */
export async function checkUnits(
  adapter: AdapterEntry,
  driver: string,
  listed: readonly ListedUnit[],
  probe = PROBE,
): Promise<{ matrices: MatrixUnit[]; unusable: UnusableUnit[] }> {
  if (listed.length === 0) return { matrices: [], unusable: [] };
  if (!PROBE || !probe) {
    const reason = 'not tried: in a bundle there is no file for a process of its own';
    return { matrices: [], unusable: listed.map((unit) => ({ ...unit, reason })) };
  }
  const { backend, name } = adapter;
  const texts = [probe, PROBE, new URL('./matrix_probe.wgsl', PROBE)].map((url) => readFileSync(url, 'utf8'));
  const key = createHash('sha256').update(JSON.stringify([backend, name, driver, listed, texts]));
  const kept = `matrices-${key.digest('hex').slice(0, 16)}`;
  const outcomes = readOutcomes(kept, listed) ?? (await tryUnits(adapter, listed, probe, kept));
  const matrices: MatrixUnit[] = [];
  const unusable: UnusableUnit[] = [];
  for (const [i, outcome] of outcomes.entries()) {
    if ('lanes' in outcome) matrices.push({ ...listed[i]!, lanes: outcome.lanes });
    else unusable.push({ ...listed[i]!, reason: outcome.reason });
  }
  return { matrices, unusable };
}

/** Tries each unit and keeps what came out; keeps nothing where a process cannot open the adapter at all. */
async function tryUnits(
  { backend, name }: AdapterEntry,
  listed: readonly ListedUnit[],
  probe: URL,
  kept: string,
): Promise<Outcome[]> {
  const options = probe.pathname.endsWith('.js') ? { execArgv: [] } : {}; // sources need the loader that this process has
  const start = () => new Child<string>(fileURLToPath(probe), [backend, name], options);
  const outcomes: Outcome[] = [];
  let child = start();
  try {
    for (const unit of listed) {
      if (child.ended) child = start();
      const opened = await child.ask({}, MOST_SECONDS);
      if ('error' in opened) throw new Error(opened.error);
      outcomes.push(await tryUnit(child, unit).catch((death: Error) => ({ reason: death.message })));
    }
  } catch (error) {
    return listed.map(() => ({ reason: `not tried: ${(error as Error).message}` }));
  } finally {
    await child.stop();
  }
  writeCached(kept, outcomes);
  return outcomes;
}

/** The first subgroup size with which a unit is right, or what was wrong with each; throws where the process ends. */
async function tryUnit(child: Child<string>, unit: ListedUnit): Promise<Outcome> {
  const problems: string[] = [];
  for (const lanes of lanesToTry(unit)) {
    const reply = await child.ask({ ...unit, lanes }, MOST_SECONDS);
    const problem = 'answer' in reply ? reply.answer : reply.error;
    if (!problem) return { lanes };
    problems.push(`in ${lanes} lanes: ${problem}`);
  }
  return { reason: problems.join('; ') || `subgroups have ${unit.lanes.join(' to ')} lanes` };
}

/** The subgroup sizes of an adapter for which kernels are written: 32, for which they are tuned, then smaller ones. */
function lanesToTry({ lanes: [least, most] }: ListedUnit): number[] {
  return [32, 16, 8].filter((lanes) => least <= lanes && lanes <= most);
}

/** The outcomes that are kept; undefined where there are none or they are damaged. */
function readOutcomes(kept: string, listed: readonly ListedUnit[]): Outcome[] | undefined {
  const outcomes = readCached(kept);
  const fits = (outcome: unknown, i: number) => {
    const { lanes, reason } = Object(outcome) as Partial<{ lanes: number; reason: string }>;
    return lanes === undefined ? typeof reason === 'string' : lanesToTry(listed[i]!).includes(lanes);
  };
  const whole = Array.isArray(outcomes) && outcomes.length === listed.length && outcomes.every(fits);
  return whole ? outcomes : undefined;
}
