// tier: null
// Nothing is compiled while a prompt of the 15B model's widths is timed.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { warmUp } from '../bench/e2e.ts';
import { decode, openSynthetic, Phi4Vision } from '../model/index.ts';
import { openDevice } from '../runtime/index.ts';
import { TINY } from './bench.ts';

const device = await openDevice({ adapter: 'null' });

test('the warm-up compiles what wide rows need on a GPU, few of them and many', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'daybreak-warm-up-'));
  const config = JSON.parse(readFileSync(join(TINY, 'config.json'), 'utf8'));
  const wide = { ...config, hidden_size: 1024, num_attention_heads: 8, num_key_value_heads: 2, num_hidden_layers: 1 };
  writeFileSync(join(dir, 'config.json'), JSON.stringify(wide));
  Object.defineProperty(device, 'onCpu', { value: false }); // choose variants as on a GPU
  const compiled: string[] = [];
  const { gpu } = device;
  const compile = gpu.createComputePipelineAsync.bind(gpu);
  gpu.createComputePipelineAsync = (descriptor) => {
    compiled.push(descriptor.label ?? '');
    return compile(descriptor);
  };
  try {
    const { config, source } = openSynthetic(dir, 'bf16', 1);
    const model = await Phi4Vision.fromSource(device, config, source);
    await warmUp(model);
    assert.ok(compiled.some((label) => label.includes('rms_norm')));
    compiled.length = 0;
    for (const length of [3, 100]) {
      const session = await model.session({ capacity: length + 4 });
      await session.prefill(new Uint32Array(length));
      for await (const _ of decode(session, { steps: 3 }));
      session.dispose();
    }
    assert.equal(compiled, []);
    model.dispose();
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test.run();
