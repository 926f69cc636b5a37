import { execFileSync } from 'node:child_process';
import { mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { copyWorkingTree, removeAtExit } from '../bench/compare/sides.ts';

/** A git repository whose one commit is this working tree, in a temporary folder that goes away with the process. */
export function makeRepository(): string {
  const folder = mkdtempSync(join(tmpdir(), 'daybreak-repository-'));
  removeAtExit(folder);
  copyWorkingTree(folder);
  const git = (...args: string[]) => execFileSync('git', args, { cwd: folder, stdio: 'pipe' });
  git('init', '--quiet');
  writeFileSync(join(folder, '.git/info/exclude'), 'node_modules\n');
  symlinkSync(fileURLToPath(new URL('../node_modules', import.meta.url)), join(folder, 'node_modules'));
  git('add', '--all');
  git('-c', 'user.name=daybreak', '-c', 'user.email=daybreak@localhost', 'commit', '--quiet', '--message=copy');
  return folder;
}
