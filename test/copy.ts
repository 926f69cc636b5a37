import { cpSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** A copy of the sources in a temporary folder, to break things in; the caller removes it. */
export function copySources(): string {
  const root = mkdtempSync(join(tmpdir(), 'daybreak-copy-'));
  for (const name of ['runtime', 'kernels', 'model', 'bench', 'tools', 'package.json'])
    cpSync(join(ROOT, name), join(root, name), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'));
  return root;
}

/** Replaces a text that a file has once by another. */
export function replaceIn(file: string, text: string, replacement: string): void {
  const before = readFileSync(file, 'utf8');
  if (before.split(text).length !== 2) throw new Error(`${file}: expected '${text}' once`);
  writeFileSync(file, before.replace(text, replacement));
}
