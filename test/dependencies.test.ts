// tier: host
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const IMPORTED = /(?:from |import\()'((?:@[\w-]+\/)?[\w-]+(?:\.js)?)[^']*'/g;

/** Packages that the sources in a folder import. */
function packagesOf(folder: string): string[] {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  const texts = files.map((name) => readFileSync(join(folder, name), 'utf8'));
  const names = texts.flatMap((text) => [...text.matchAll(IMPORTED)].map(([, name]) => name!));
  return names.filter((name) => name !== 'node');
}

test('dependencies are what the library imports; what programs and tests need is for development', () => {
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync('package.json', 'utf8'));
  const library = ['runtime', 'kernels', 'model'].flatMap(packagesOf);
  const listed = Object.keys({ ...dependencies, ...optionalDependencies });
  assert.equal(listed.sort(), [...new Set(library)].sort());
});

test.run();
