// tier: host
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { specs } from '../kernels/specs.ts';
import { mutations } from '../tools/mutations/list.ts';
import { markdown, mutate } from '../tools/mutations.ts';

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

test('the table counts what was tried, and names what was not', () => {
  const text = markdown([]);
  const rows = text.split('\n').filter((line) => /^\| .* \| (red|green|stale) \|/.test(line));
  const red = rows.filter((row) => row.includes(' | red | '));
  assert.match(text, `${red.length} of ${rows.length} tried turn a test red.`);
  const [, count = '0', named = ''] = /^(\d+) not tried since they changed: (.*)\.$/m.exec(text) ?? [];
  assert.is(rows.length + Number(count), mutations.length);
  for (const { name } of mutations) {
    assert.ok(named.split('; ').includes(name) || rows.some((row) => row.startsWith(`| ${name} |`)), name);
  }
});

test.run();
