// tier: host
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { specs } from '../kernels/specs.ts';
import { withCatalogue } from '../tools/catalogue.ts';

const KERNELS = fileURLToPath(new URL('../kernels/', import.meta.url));
const read = (path: string) => readFileSync(`${KERNELS}${path}`, 'utf8');

test('every op folder has a spec that is listed, and is exported', () => {
  const folders = readdirSync(KERNELS, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !['lib', 'measured'].includes(entry.name))
    .map(({ name }) => name);
  assert.equal(specs.map(({ name }) => name).sort(), folders.sort());
  for (const folder of folders) {
    assert.ok(existsSync(`${KERNELS}${folder}/${folder}.spec.ts`), folder);
    assert.ok(read('index.ts').includes(`'./${folder}/${folder}.ts'`), `${folder} in kernels/index.ts`);
  }
});

test('every spec has cases, quick ones among them, bench shapes and variants of its own op', () => {
  for (const { name, cases, bench, variants } of specs) {
    assert.ok(cases.some((c) => c.quick) && cases.length > 4 && bench.length > 0, name);
    assert.ok(variants.length > 0 && variants.every((kernel) => kernel.name.startsWith(`${name}/`)), name);
  }
});

test('the catalogue in kernels/README.md is up to date', () => {
  assert.ok(read('README.md') === withCatalogue(read('README.md')), 'run npx tsx tools/catalogue.ts');
});

test.run();
