// Runs cases of one target, printing each before it starts: child.ts TARGET SEED FIRST END.
import { writeSync } from 'node:fs';
import { Random } from '../../kernels/spec.ts';
import { roundUp } from '../../runtime/index.ts';
import { graphs } from './graphs.ts';
import { models } from './models.ts';
import { ops } from './ops.ts';
import { pictures } from './pictures.ts';
import { prompts } from './prompts.ts';
import { CASES_PER_DEVICE, type RunCase } from './target.ts';

const TARGETS: Record<string, () => Promise<RunCase>> = { models, pictures, ops, graphs, prompts };

const [name = '', ...numbers] = process.argv.slice(2);
const [seed = 0, first = 0, end = 0] = numbers.map(Number);
const part = Math.ceil((end - first) / 10);
/** Cases between two looks at memory: a tenth, in whole lives of a device where that is longer than one. */
const period = part > CASES_PER_DEVICE ? roundUp(part, CASES_PER_DEVICE) : part;
const memory: number[] = [];

/** A line for the parent, written before anything else happens: a crash may follow. */
function tell(kind: string, value: unknown): void {
  writeSync(1, `${kind} ${JSON.stringify(value)}\n`);
}

function fail(error: unknown): void {
  tell('fail', error instanceof Error ? error.stack : String(error));
}

/** Resident MiB once everything that can be collected is. */
async function resident(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    (globalThis as { gc?: () => void }).gc?.();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return Math.round(process.memoryUsage.rss() / 2 ** 20);
}

process.on('unhandledRejection', fail);
const run = await TARGETS[name]!();
for (let index = first; index < end; index++) {
  tell('case', index);
  const random = new Random((seed + Math.imul(index + 1, 0x9e3779b1)) >>> 0);
  try {
    tell('result', await run(random, (what) => tell('note', what)));
  } catch (error) {
    fail(error);
  }
  if ((index + 1 - first) % period === 0) memory.push(await resident());
}
tell('done', memory);
process.exit();
