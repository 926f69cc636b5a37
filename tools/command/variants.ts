import { Table } from '../../bench/report.ts';
import { listProblems } from '../../bench/tune/problems.ts';
import { decisionsOf } from '../../bench/tune.ts';
import { measuredOps, tablesOf } from '../../kernels/measured.ts';
import { VARIANTS } from '../../kernels/variants.ts';
import { loadConfig, shapeFolder } from '../../model/index.ts';
import type { Device } from '../../runtime/index.ts';

/** Which variant a device runs in each problem of the 15B model and why, from which tables, and which were found wrong. */
export function examineVariants(device: Device) {
  const files = tablesOf(device).map(({ file, committed, table, problem }) => {
    const stale = Object.keys(table?.ops ?? {}).filter((op) => isStale(device, op));
    return { file, committed, problem, stale };
  });
  const wrong = Object.entries(VARIANTS).flatMap(([op, variants]) => {
    const [latest] = measuredOps(device, op, variants);
    return Object.entries(latest?.wrong ?? {}).map(([name, fault]) => ({ variant: `${op}/${name}`, fault }));
  });
  return { files, chosen: decisions(device), wrong };
}

/** Prints what examineVariants found. */
export function printVariants({ files, chosen, wrong }: ReturnType<typeof examineVariants>): void {
  for (const { file, problem, stale } of files) {
    const state = problem ?? (stale.length > 0 ? `stale for ${stale.join(', ')}, whose kernels have changed` : 'used');
    console.log(`${file}: ${state}`);
  }
  if (files.length === 0) console.log('Nothing was measured here: daybreak tune');
  const table = new Table({ problem: 38, 'chosen by': 14, variant: 0 });
  for (const { problem, by, variant } of chosen) table.row([problem, by, variant]);
  for (const { variant, fault } of wrong) console.log(`${variant} is WRONG here and not used: ${fault.split('\n')[0]}`);
}

function isStale(device: Device, op: string): boolean {
  const variants = VARIANTS[op];
  return !variants || measuredOps(device, op, variants).length === 0;
}

/** What ops decide in all problems, and why. */
function decisions(device: Device) {
  const config = loadConfig(shapeFolder('15b'));
  const problems = listProblems(config, true, {
    formats: ['int4', 'bf16'],
    dtypes: ['f32', 'f16'],
    int8: [true, false],
  });
  return decisionsOf(device, problems).map(({ problem: { op }, name, variant }) => {
    const by = variant ? source(device, op, name) : 'none right';
    return { problem: name, by, variant: variant?.name ?? '-' };
  });
}

/** Where the choice for a problem comes from. */
function source(device: Device, op: string, name: string): string {
  const measured = measuredOps(device, op, VARIANTS[op]!);
  const known = measured.find(({ best }) => best[name]?.length);
  if (!known) return 'default';
  const file = tablesOf(device).find(({ table }) => table?.ops[op] === known);
  return file?.committed ? 'project' : 'measured here';
}
