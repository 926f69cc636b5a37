import { environment, JsonLines } from '../../bench/report.ts';
import { type Constants, UsageError } from '../../runtime/index.ts';
import { type OpOptions, showSubject, type Task } from '../op/task.ts';
import { chooseTarget, compileIsa, type DispatchIsa } from './compile.ts';
import { type Counts, type Isa, KINDS } from './count.ts';

/** Prints what the driver's compiler made of every dispatch that the command line asks for. Returns the exit code. */
export async function showIsa({ spec, subjects, variant = 'chosen' }: Task, { isa, json }: OpOptions): Promise<number> {
  const target = await chooseTarget(isa === true ? undefined : isa);
  const jobs = subjects.map(({ c, constants }) => ({ op: spec.name, case: c, variant, constants }));
  const results = await compileIsa(jobs, target);
  const lines = new JsonLines(json);
  const printed = new Set<string>(); // cases may share pipelines
  const on = target.env.RADV_FORCE_FAMILY ? `${target.env.RADV_FORCE_FAMILY}, without a card` : target.adapter;
  console.log(
    `Compiled by Mesa's RADV for ${on}. Instructions are counted where they stand; those of a loop hold the loops inside it.`,
  );
  for (const [i, dispatches] of results.entries()) {
    const shown = showSubject(subjects[i]!);
    for (const dispatch of dispatches) {
      const key = JSON.stringify([dispatch.kernel, dispatch.constants]);
      if (!printed.has(key)) print(shown, dispatch);
      printed.add(key);
      lines.write({ ...environment(), bench: 'isa', target: on, op: spec.name, case: subjects[i]!.c, ...dispatch });
    }
  }
  if (results.flat().length === 0)
    throw new UsageError(
      `${spec.name}: expected a variant that runs in the case, got ${variant}; choose another --case`,
    );
  return 0;
}

function print(shown: string, { variant, kernel, constants, isa }: DispatchIsa): void {
  console.log(`\n${kernel === variant ? kernel : `${kernel} (of ${variant})`}  ${shown}`);
  const chosen = showConstants(constants);
  if (chosen) console.log(`  ${chosen}`);
  console.log(`  ${summary(isa)}`);
  const rows: [string, Counts][] = [['whole kernel', isa.counts]];
  for (const { place, counts } of isa.loops)
    rows.push([`${'  '.repeat(place.split('.').length - 1)}loop ${place}`, counts]);
  const width = Math.max(...rows.map(([name]) => name.length));
  console.log(`  ${[''.padEnd(width), ...Object.values(KINDS)].join('  ')}`);
  for (const [name, counts] of rows) {
    const cells = Object.entries(KINDS).map(([kind, title]) =>
      String(counts[kind as keyof Counts]).padStart(title.length),
    );
    console.log(`  ${[name.padEnd(width), ...cells].join('  ')}`);
  }
}

function showConstants(constants: Constants): string {
  return Object.entries(constants)
    .filter(([, value]) => value !== false)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}

function summary({ registers, spilled, scratchBytes, workgroupBytes, subgroupsPerSimd, instructions }: Isa): string {
  const spills = spilled.vector + spilled.scalar;
  return (
    `registers ${registers.vector} vector, ${registers.scalar} scalar; ` +
    `${spills === 0 ? 'none' : `${spilled.vector} vector, ${spilled.scalar} scalar`} spilled, ${scratchBytes} B scratch; ` +
    `${workgroupBytes} B workgroup memory; ${subgroupsPerSimd} subgroups per SIMD; ${instructions} instructions`
  );
}
