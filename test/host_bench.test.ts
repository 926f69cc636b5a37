// tier: any
// alone
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fails, runBench } from './bench.ts';
import { testDevice } from './gpu.ts';

/** Times one task twice; returns what was printed and the JSON row. */
function timeTask(task: string) {
  const folder = mkdtempSync(join(tmpdir(), 'daybreak-host-test-'));
  const before = process.env.TMPDIR;
  process.env.TMPDIR = folder;
  const file = join(folder, 'rows.json');
  const { status, stdout, stderr } = runBench('host', task, '--repeats', '2', '--json', file);
  process.env.TMPDIR = before ?? tmpdir();
  assert.is(status, 0, stderr);
  assert.match(stdout, new RegExp(`^${task}( +[\\d.e+-]+){4} +\\d+  \\S.*$`, 'm'));
  const rows = readFileSync(file, 'utf8').trim().split('\n');
  assert.is(rows.length, 1);
  assert.equal(
    readdirSync(folder).filter((name) => name.startsWith('daybreak-host-')),
    [],
  );
  rmSync(folder, { recursive: true });
  return { stdout, row: JSON.parse(rows[0]!) };
}

function hasSamples({ repeats }: { repeats: number[][] }): void {
  assert.is(repeats.length, 2);
  for (const micros of repeats) assert.ok(micros.length >= 3 && micros.every((time) => time > 0 && time < 1e7));
}

test('a task without a device: its row has a list of samples for each repeat and names no adapter', () => {
  const { stdout, row } = timeTask('template');
  assert.match(stdout, /^The host's clock: /);
  const { bench, model, task, adapter } = row;
  assert.equal({ bench, model, task, adapter }, { bench: 'host', model: 'tiny', task: 'template', adapter: undefined });
  assert.ok(row.commit && row.node && row.date);
  hasSamples(row);
});

test('what no task or no model folder is ends in one clear line', () => {
  fails(runBench('host', 'sing'), /^error: host: expected one of tokenise, .*encode, got 'sing'$/);
  fails(runBench('host', '--repeats', '0'), /--repeats .* expected an integer from 1 on/);
  fails(runBench('host', 'template', '--model', '/nowhere'), /^error: \/nowhere\/\S+: /);
});

const device = await testDevice();
if (device) {
  device.dispose();

  test('a task that waits, with a device', () => {
    const { row } = timeTask('plan');
    assert.is(row.task, 'plan');
    assert.ok(row.adapter);
    hasSamples(row);
  });
}

test.run();
