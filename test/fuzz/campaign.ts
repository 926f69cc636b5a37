import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** A case that went wrong: `target/number`, what it was, and how it ended. */
export interface Failure {
  case: string;
  note: string;
  problem: string;
}

/** How the cases of one target ended. */
export interface Campaign {
  /** How many cases ended in which way. */
  outcomes: Record<string, number>;
  failures: Failure[];
  /** Resident MiB after each tenth of the last process's cases. */
  resident: number[];
}

/** The cases of a target from `first` on up to `end`. */
export interface Cases {
  target: string;
  seed: number;
  first: number;
  end: number;
}

const CASE_MILLIS = 10_000;
/** For a child's start, and for a case that took too long and is run again: a busy machine is not a hang. */
const LONG_MILLIS = 60_000;
const MAX_FAILURES = 50;
const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

/**
 * Runs cases in a child process. One that crashes is reported, and another child goes on. One that takes more than 10 s
 * counts as slow and is run again on its own, where it may take a minute.
 */
export async function runCampaign(cases: Cases): Promise<Campaign> {
  const total: Campaign = { outcomes: {}, failures: [], resident: [] };
  for (let first = cases.first; first < cases.end && total.failures.length < MAX_FAILURES; ) {
    const ended = await runChild({ ...cases, first });
    if (ended.late) {
      const again = await runChild({ ...cases, first: ended.next - 1, end: ended.next }, LONG_MILLIS);
      count(ended.outcomes, again.outcomes);
      count(ended.outcomes, { slow: 1 });
      ended.failures.push(...again.failures);
    }
    total.failures.push(...ended.failures);
    count(total.outcomes, ended.outcomes);
    total.resident = ended.resident;
    first = ended.next;
  }
  return total;
}

function count(total: Record<string, number>, more: Record<string, number>): void {
  for (const [name, times] of Object.entries(more)) total[name] = (total[name] ?? 0) + times;
}

interface Ended extends Campaign {
  /** The first case that did not run. */
  next: number;
  /** Whether the last case took too long. */
  late: boolean;
}

async function runChild({ target, seed, first, end }: Cases, millis = CASE_MILLIS): Promise<Ended> {
  const ended: Ended = { outcomes: {}, failures: [], resident: [], next: end, late: false };
  const loaders = ['--expose-gc', '--import', 'tsx', '--import', path('../../tools/software_vulkan.ts')];
  const args = [...loaders, path('child.ts'), target, ...[seed, first, end].map(String)];
  // One heap for all threads, and none of the files in it: glibc's defaults let resident memory grow without any leak.
  const heap = { MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: '131072' };
  const child = spawn(process.execPath, args, { env: { ...process.env, ...heap } });
  let [current, note, errors, done] = [first, '', '', false];
  const kill = () => {
    ended.late = true;
    child.kill('SIGKILL');
  };
  let timer = setTimeout(kill, LONG_MILLIS);
  const failed = (problem: string) => ended.failures.push({ case: `${target}/${current}`, note, problem });
  child.stderr.on('data', (text) => {
    errors = (errors + text).slice(-2000);
  });
  const closed = new Promise<string>((resolve) => {
    child.on('close', (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
  for await (const line of createInterface(child.stdout)) {
    const [, kind, json = ''] = /^(\w+) (.*)$/.exec(line) ?? [];
    if (kind === 'case') {
      clearTimeout(timer);
      timer = setTimeout(kill, millis);
      [current, note] = [JSON.parse(json), ''];
    } else if (kind === 'note') note = JSON.parse(json);
    else if (kind === 'fail') failed(JSON.parse(json));
    else if (kind === 'result') count(ended.outcomes, { [JSON.parse(json)]: 1 });
    else if (kind === 'done') [ended.resident, done] = [JSON.parse(json), true];
  }
  const ending = await closed;
  clearTimeout(timer);
  if (done) return ended;
  if (!ended.late) failed(`${ending}\n${errors}`);
  else if (millis === LONG_MILLIS) failed(`more than ${millis / 1000} s`);
  ended.next = current + 1;
  return ended;
}
