// tier: host
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { specs } from '../kernels/specs.ts';
import { mutations } from '../tools/mutations/list.ts';
import { mutate } from '../tools/mutations.ts';

const url = (path: string) => new URL(`../${path}`, import.meta.url);

for (const mutation of mutations) {
  const { name, file, from, to, tests } = mutation;
  test(`${name}: applies to ${file}`, () => {
    assert.is.not(from, to);
    assert.ok(mutate(readFileSync(url(file), 'utf8'), mutation), `expected this text once: ${from}`);
    assert.is.not(tests.length, 0);
    for (const seen of tests) {
      const [base, op] = seen.split('/');
      assert.ok(existsSync(url(`test/${base}.test.ts`)), seen);
      assert.ok(!op || specs.some((spec) => spec.name === op), seen);
    }
  });
}

test('names are distinct', () => {
  assert.is(new Set(mutations.map(({ name }) => name)).size, mutations.length);
});

test.run();
