// tier: host
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

for (const program of ['bench/main.ts', 'tools/command/main.ts']) {
  test(`${program} ends quietly where nobody reads on`, async () => {
    const child = spawn(process.execPath, ['--import', 'tsx', path(`../${program}`), '--help'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.destroy(); // before the program has started
    let errors = '';
    child.stderr.on('data', (text) => {
      errors += text;
    });
    const [code] = await once(child, 'close');
    assert.is(errors, '');
    assert.is(code, 0);
  });
}

test.run();
