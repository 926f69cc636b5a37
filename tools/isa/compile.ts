import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Case } from '../../kernels/spec.ts';
import { CapabilityError, type Constants, cacheFolder, DaybreakError, listAdapters } from '../../runtime/index.ts';
import { type Isa, readIsa } from './count.ts';

/** What to compile: a case of an op with one variant, with 'all' that the adapter can run, or with the 'chosen' one. */
export interface IsaJob {
  op: string;
  case: Case;
  variant: string;
  /** Values that replace those of the variant's constants. */
  constants?: Constants;
  /** Conditions as they stand in the variant's file, taken as false: what is left of a loop is a turn on which none is met. */
  never?: readonly string[];
}

/** One dispatch, and what the driver's compiler made of it. */
export interface DispatchIsa {
  variant: string;
  kernel: string;
  constants: Constants;
  isa: Isa;
}

/** What child.ts writes between the driver's lines. */
export type Marked =
  | { opened: string }
  | ({ job: number; never: readonly string[] } & Omit<DispatchIsa, 'isa'>)
  | { done: true }
  | { failed: string };

export const MARK = '@@@ ';

/** An adapter of Mesa's RADV driver, and the environment in which it opens. */
export interface IsaTarget {
  adapter: string;
  env: Record<string, string>;
}

const FAMILY = 'navi31'; // RDNA3: matrices of 16x16x16
const FAMILIES = 'choose navi31, navi21, navi10 or vega10';
const LAYER = 'VK_LAYER_daybreak_swallow';
const DRIVERS = ['/etc/vulkan/icd.d', '/usr/local/share/vulkan/icd.d', '/usr/share/vulkan/icd.d'];
const TIMEOUT_MILLIS = 9 * 60_000;
const INSTALL =
  "install Mesa 25 (Debian 12: apt-get install -t bookworm-backports mesa-vulkan-drivers) and a C compiler (gcc); Mesa 26's RADV opens with a card only";

/** The card of a family (navi31, navi21, navi10, vega10) that is not there; without a family this machine's own AMD card where it has one. */
export async function chooseTarget(family?: string): Promise<IsaTarget> {
  const card = family ? undefined : (await listAdapters()).find(({ name }) => name.includes('RADV'));
  return card ? { adapter: card.name, env: {} } : absentCard(family ?? FAMILY);
}

function absentCard(family: string): IsaTarget {
  const driver = DRIVERS.filter(existsSync)
    .flatMap((folder) => readdirSync(folder).map((file) => join(folder, file)))
    .find((file) => /\/radeon_icd(\.x86_64|\.aarch64)?\.json$/.test(file));
  if (!driver) throw new CapabilityError(`isa: expected Mesa's RADV driver, got no radeon_icd.json; ${INSTALL}`);
  const env = {
    VK_DRIVER_FILES: driver,
    VK_LAYER_PATH: layerFolder(),
    VK_INSTANCE_LAYERS: LAYER,
    RADV_FORCE_FAMILY: family,
  };
  return { adapter: 'RADV', env };
}

/** A folder of the user's cache with the compiled layer.c and its description; throws CapabilityError without a compiler. */
function layerFolder(): string {
  const source = fileURLToPath(new URL('layer.c', import.meta.url));
  const hash = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 16);
  const folder = join(cacheFolder(), `isa-layer-${hash}`);
  if (existsSync(folder)) return folder;
  const made = `${folder}.${process.pid}`;
  try {
    buildLayer(source, made);
    renameSync(made, folder);
  } catch (error) {
    if (!existsSync(folder)) throw error; // else another process was faster
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
  return folder;
}

function buildLayer(source: string, folder: string): void {
  mkdirSync(folder, { recursive: true });
  const args = ['-O1', '-fPIC', '-shared', '-nostdlib', '-o', join(folder, 'layer.so'), source];
  const { status, stderr, error } = spawnSync('cc', args, { encoding: 'utf8' });
  if (status !== 0) throw new CapabilityError(`isa: expected cc to build layer.c, got: ${error ?? stderr}; ${INSTALL}`);
  const layer = { name: LAYER, type: 'GLOBAL', library_path: './layer.so', api_version: '1.3.0' };
  const described = { ...layer, implementation_version: '1', description: 'Swallows commands' };
  writeFileSync(join(folder, 'layer.json'), JSON.stringify({ file_format_version: '1.1.2', layer: described }));
}

/** The dispatches of each job as the target's compiler makes them. Throws CapabilityError where the target does not open. */
export async function compileIsa(jobs: readonly IsaJob[], target: IsaTarget): Promise<DispatchIsa[][]> {
  const output = await runChild(jobs, target);
  const results: DispatchIsa[][] = jobs.map(() => []);
  const known = new Map<string, Isa>(); // a pipeline that two dispatches share is compiled once
  for (const [marked, text] of sections(output)) {
    if (!('job' in marked)) continue;
    const { job, never, ...dispatch } = marked;
    const key = JSON.stringify([dispatch.kernel, dispatch.constants, never]);
    const isa = known.get(key) ?? readIsa(text);
    if (!isa)
      throw new CapabilityError(`isa: ${key}: expected statistics and machine code of RADV, got ${text.slice(0, 500)}`);
    known.set(key, isa);
    results[job]!.push({ ...dispatch, isa });
  }
  return results;
}

/** What the driver's compiler makes of each dispatch of one case with one variant. */
export async function isaOf(op: string, c: Case, variant: string, family?: string): Promise<DispatchIsa[]> {
  const [dispatches] = await compileIsa([{ op, case: c, variant }], await chooseTarget(family));
  return dispatches!;
}

/** The lines that child.ts writes, each with what the driver writes behind it. */
function sections(output: string): [Marked, string][] {
  return output
    .split(new RegExp(`^${MARK}`, 'm'))
    .slice(1)
    .map((part) => {
      const [marked, ...text] = part.split('\n');
      return [JSON.parse(marked!), text.join('\n')];
    });
}

/** Everything that child.ts and its driver write: into a file, for a driver does not wait where a pipe is full. */
async function runChild(jobs: readonly IsaJob[], { adapter, env }: IsaTarget): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'daybreak-isa-'));
  try {
    const log = openSync(join(folder, 'log'), 'w');
    const module = fileURLToPath(new URL('child.ts', import.meta.url));
    const child = spawn(process.execPath, ['--import', 'tsx', module, adapter], {
      env: { ...process.env, ...env, RADV_DEBUG: 'asm,shaderstats,nocache' },
      stdio: ['pipe', 'ignore', log],
      timeout: TIMEOUT_MILLIS,
      killSignal: 'SIGKILL',
    });
    closeSync(log);
    child.stdin!.on('error', () => {}); // it ended before it read: how, is told below
    child.stdin!.end(JSON.stringify(jobs));
    const [code, signal] = await once(child, 'close');
    const output = readFileSync(join(folder, 'log'), 'utf8');
    checkEnd(output, signal ?? `exit code ${code}`, adapter, env);
    return output;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Throws unless child.ts came to its end. */
function checkEnd(output: string, ended: string, adapter: string, env: IsaTarget['env']): void {
  const marks = sections(output).map(([marked]) => marked);
  const last = marks.at(-1);
  if (last && 'done' in last) return;
  const problem = last && 'failed' in last ? last.failed : `${ended} after ${JSON.stringify(last)}`;
  if (marks.some((marked) => 'opened' in marked)) throw new DaybreakError(problem);
  const { RADV_FORCE_FAMILY: family } = env;
  const unknown = /Unknown family/.test(output);
  throw new CapabilityError(
    `isa: expected RADV to open ${family ? `'${family}' without a card` : adapter}, got: ${unknown ? 'an unknown family' : problem}; ${unknown ? FAMILIES : INSTALL}`,
  );
}
