// tier: host
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { importViolations } from '../tools/check_imports.ts';

/** The violations of a tree with these files, without their explanations. */
function violations(files: Record<string, string>): string[] {
  const root = mkdtempSync(join(tmpdir(), 'daybreak-imports-'));
  try {
    for (const [file, source] of Object.entries(files)) {
      mkdirSync(dirname(join(root, file)), { recursive: true });
      writeFileSync(join(root, file), source);
    }
    return importViolations(root).map((line) => line.split(': ', 2).join(': '));
  } finally {
    rmSync(root, { recursive: true });
  }
}

test('imports that point the right way pass', () => {
  const files = {
    'runtime/webgpu_device.ts':
      "import { create } from 'webgpu';\nimport { readFileSync } from 'node:fs';\nimport './errors.ts';",
    'kernels/lib/reduce.ts': "import type { Device } from '../../runtime/webgpu_device.ts';",
    'kernels/add/add.ts': "import '../lib/reduce.ts';\nimport '../op.ts';\nimport './add.spec.ts';",
    'kernels/index.ts': "export * from './add/add.ts';",
    'model/phi3.ts':
      "import { add } from '../kernels/index.ts';\n// import '../test/run.ts';\nexport const a = 'test';",
    'model/text/prompt.ts': "import '../checkpoint/json.ts';\nimport './tokenizer.ts';",
    'model/session.ts': "import './text/prompt.ts';\nimport './phi3.ts';",
    'bench/main.ts': "import pngjs from 'pngjs';\nexport type { Phi3 } from '../model/phi3.ts';",
    'test/a.test.ts': "import '../tools/check_imports.ts';\nimport '../bench/main.ts';",
    'tools/op.ts': "import '../kernels/index.ts';",
  };
  assert.equal(violations(files), []);
});

test('imports that point the wrong way are found with their line', () => {
  const files = {
    'model/image/png.ts': "import '../text/prompt.ts';\nimport '../session.ts';",
    'model/checkpoint/json.ts': "import '../quantize/plan.ts';",
    'runtime/plan.ts': "import {\n  add,\n} from '../kernels/index.ts';\nexport type { Phi3 } from '../model/phi3.ts';",
    'kernels/add/add.ts': "import { matmul } from '../matmul/matmul.ts';\nconst op = await import('../rope/rope.ts');",
    'kernels/lib/reduce.ts': "export * from '../add/add.ts';",
    'kernels/qkv/qkv.ts': "import '../matmul/matmul.ts';\nimport '../add/add.ts';",
    'model/phi3.ts': "import '../bench/main.ts';\nimport { create } from 'webgpu';",
    'bench/main.ts': "\nimport '../tools/op.ts';\nimport '../test/run.ts';\nimport { a } from 'daybreak/test/a.ts';",
    'test/a.test.ts': "import type { Any } from 'webgpu';",
  };
  assert.equal(violations(files), [
    'bench/main.ts:2: imports ../tools/op.ts',
    'bench/main.ts:3: imports ../test/run.ts',
    'bench/main.ts:4: imports daybreak/test/a.ts',
    'kernels/add/add.ts:1: imports ../matmul/matmul.ts',
    'kernels/add/add.ts:2: imports ../rope/rope.ts',
    'kernels/lib/reduce.ts:1: imports ../add/add.ts',
    'kernels/qkv/qkv.ts:2: imports ../add/add.ts',
    'model/checkpoint/json.ts:1: imports ../quantize/plan.ts',
    'model/image/png.ts:1: imports ../text/prompt.ts',
    'model/image/png.ts:2: imports ../session.ts',
    'model/phi3.ts:1: imports ../bench/main.ts',
    'model/phi3.ts:2: imports webgpu',
    'runtime/plan.ts:3: imports ../kernels/index.ts',
    'runtime/plan.ts:4: imports ../model/phi3.ts',
    'test/a.test.ts:1: imports webgpu',
  ]);
});

test('circles of imports are found in every layer, types included, and each once', () => {
  const files = {
    'runtime/device.ts': "import type { Kernel } from './kernel.ts';\nimport './errors.ts';",
    'runtime/kernel.ts': "import './pipeline.ts';",
    'runtime/pipeline.ts': "import './errors.ts';\nexport type { Device } from './device.ts';",
    'runtime/errors.ts': '',
    'kernels/add/add.ts': "import './add.spec.ts';",
    'kernels/add/add.spec.ts': "import './add.ts';",
    'model/session.ts': "import './session.ts';",
    'bench/a.ts': "import './b.ts';\nimport './c.ts';",
    'bench/b.ts': "const c = await import('./c.ts');",
    'bench/c.ts': "import './a.ts';",
    'test/a.ts': "import './b.ts';",
    'test/b.ts': "import './a.ts';",
  };
  assert.equal(violations(files), [
    'bench/c.ts:1: imports ./a.ts',
    'kernels/add/add.ts:1: imports ./add.spec.ts',
    'model/session.ts:1: imports ./session.ts',
    'runtime/pipeline.ts:2: imports ./device.ts',
  ]);
});

test('this project has none', () => {
  assert.equal(importViolations(resolve('.')), []);
});

test.run();
