import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Child } from '../../runtime/child.ts';
import { DaybreakError, UsageError } from '../../runtime/index.ts';
import { type Answers, PROTOCOL, type Request } from './protocol.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const WORKER = 'bench/compare/worker.ts';
/** What a side needs of the working tree; nothing else is copied, so that a model folder beside it is not. */
const SOURCES = ['runtime', 'kernels', 'model', 'bench', 'tools', 'package.json', 'package-lock.json', 'tsconfig.json'];
const MOST_SECONDS = 600;

/** The sources of one side, frozen for the time of a comparison. */
export interface Side {
  /** How the user calls it. */
  name: string;
  commit: string;
  folder: string;
}

/**
 * The commit `ref` and the working tree with its uncommitted changes, each in a temporary folder that goes away with the
 * process, whatever ends it. Throws UsageError where there is no such commit or it cannot take part.
 */
export async function checkOutSides(ref: string): Promise<[old: Side, now: Side]> {
  const commit = git('rev-parse', '--verify', '--short', '--end-of-options', `${ref}^{commit}`);
  const folder = mkdtempSync(join(tmpdir(), 'daybreak-compare-'));
  removeAtExit(folder);
  const old = { name: ref, commit, folder: join(folder, 'old') };
  const now = { name: 'working tree', commit: git('describe', '--always', '--dirty'), folder: join(folder, 'now') };
  extractCommit(commit, old.folder);
  if (!existsSync(join(old.folder, WORKER)))
    throw new UsageError(`--interleave: expected a commit with ${WORKER}, got ${ref} without it; choose a newer one`);
  copyWorkingTree(now.folder);
  for (const side of [old, now]) await installPackages(side);
  return [old, now];
}

/** Copies the sources of the working tree, without what git ignores. */
export function copyWorkingTree(folder: string): void {
  const listed = git('ls-files', '-z', '--cached', '--others', '--exclude-standard', '--', ...SOURCES).split('\0');
  for (const path of new Set(listed.filter((name) => name && existsSync(join(ROOT, name)))))
    cpSync(join(ROOT, path), join(folder, path), { verbatimSymlinks: true });
}

function extractCommit(commit: string, folder: string): void {
  const index = { GIT_INDEX_FILE: `${folder}.index` };
  gitWith(index, 'read-tree', commit);
  gitWith(index, 'checkout-index', '--all', `--prefix=${folder}/`);
}

/** The packages of this folder where the lock files are equal, else those that the side's own lock file names. */
async function installPackages({ folder, name }: Side): Promise<void> {
  const lock = (root: string) => readFileSync(join(root, 'package-lock.json'), 'utf8');
  if (lock(folder) === lock(ROOT)) {
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'), 'junction');
    return;
  }
  console.log(`${name} has other packages: npm ci`);
  const npm = spawn('npm', ['ci', '--no-audit', '--no-fund'], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
  const code = await new Promise((resolve) => npm.on('error', resolve).on('exit', resolve));
  if (code !== 0) throw new UsageError(`--interleave: npm ci for ${name}: expected exit code 0, got ${code}`);
}

function git(...args: string[]): string {
  return gitWith({}, ...args);
}

function gitWith(env: NodeJS.ProcessEnv, ...args: string[]): string {
  try {
    const options = { cwd: ROOT, env: { ...process.env, ...env }, encoding: 'utf8', maxBuffer: 2 ** 28 } as const;
    return execFileSync('git', args, { ...options, stdio: 'pipe' }).trim();
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim().split('\n')[0];
    const problem = said || `exit code ${(error as { status?: number }).status ?? (error as Error).message}`;
    throw new UsageError(
      `git ${args.join(' ').slice(0, 80)}: expected success, got '${problem}'; name a commit of this clone`,
    );
  }
}

/** Removes a folder when the process ends, by a signal too. */
export function removeAtExit(folder: string): void {
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => process.exit(128 + constants.signals[signal]));
}

/** A process that runs a side's own worker; it ends with this one. */
export class Worker {
  #side: Side;
  #child: Child<Answers[keyof Answers]>;

  constructor(side: Side) {
    const preload = join(side.folder, 'tools/software_vulkan.ts');
    const execArgv = ['--import', 'tsx', '--import', preload];
    this.#side = side;
    this.#child = new Child(join(side.folder, WORKER), [], { cwd: side.folder, execArgv });
  }

  /** Opens the device; throws the worker's own error, and UsageError where it speaks another protocol. */
  async open(options: Omit<Request & { ask: 'open' }, 'ask'>): Promise<Answers['open']> {
    const opened = await this.ask({ ask: 'open', ...options });
    if (opened.protocol !== PROTOCOL) {
      const expected = `expected protocol ${PROTOCOL} of ${WORKER}, got ${opened.protocol}`;
      throw new UsageError(`--interleave: ${this.#side.name}: ${expected}; compare with a newer commit`);
    }
    return opened;
  }

  /** The answer to a request; throws where the worker fails, ends, or takes more than ten minutes. */
  async ask<R extends Request>(request: R): Promise<Answers[R['ask']]> {
    const ended = ({ message }: Error) => ({ error: `${message}:\n${this.#child.output}`, expected: false });
    const reply = await this.#child.ask(request, MOST_SECONDS).catch(ended);
    if ('answer' in reply) return reply.answer as Answers[R['ask']];
    const message = `${this.#side.name} (${this.#side.commit}): ${reply.error}`;
    throw reply.expected ? new DaybreakError(message) : new Error(message);
  }

  /** Ends the process and waits until it has. */
  stop(): Promise<void> {
    return this.#child.stop();
  }
}
