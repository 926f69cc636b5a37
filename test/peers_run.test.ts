// tier: any
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { PACKAGE } from '../bench/peers/install.ts';
import { peerRows } from '../bench/peers/rows.ts';
import { Random } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { runBench } from './bench.ts';
import { testDevice } from './gpu.ts';

/** Stands in for the package, so that no network is needed: it knows the one answer, which it reads from a file. */
const STAND_IN = `
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
let runs = 0;
class Tensor {
  constructor(type, data, dims) { Object.assign(this, { type, data, dims }); }
  dispose() {}
}
const sleep = (millis) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis);
const InferenceSession = {
  async create(model, { executionProviders: [provider] }) {
    if (process.env['CANNOT_' + provider]) throw new Error('no kernel\\nfor this');
    if (Buffer.from(model).includes('Identity')) return { run: async ({ x }) => ({ y: x }) };
    const y = new Float32Array(Uint8Array.from(readFileSync(join(__dirname, 'answer'))).buffer);
    if (process.env['WRONG_' + provider]) y[5] += 1;
    return {
      async run({ x }) {
        if (runs++ === Number(process.env['DIE_' + provider])) process.kill(process.pid, 'SIGKILL');
        sleep(2);
        return { y: new Tensor('float32', y, x.dims) };
      },
    };
  },
};
module.exports = { Tensor, InferenceSession };
`;
const ROW = peerRows(Number.POSITIVE_INFINITY).find(({ op }) => op === 'layer_norm')!;
const LINE = '^layer_norm +f32 +1024 x 1152';

function answer(): Float32Array {
  const spec = specs.find(({ name }) => name === ROW.op)!;
  return Float32Array.from(spec.reference(spec.inputs(ROW.case, new Random(1)), ROW.case));
}

/** Runs `bench peers` for one op beside the stand-in, with some more variables; returns its output and JSON row. */
function runPeers(variables: Record<string, string>) {
  const cache = mkdtempSync(join(tmpdir(), 'daybreak-peers-'));
  const folder = join(cache, 'daybreak', `${PACKAGE.name}-${PACKAGE.version}`, 'node_modules', PACKAGE.name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ ...PACKAGE, main: 'index.js' }));
  writeFileSync(join(folder, 'index.js'), STAND_IN);
  writeFileSync(join(folder, 'answer'), answer());
  const before = { ...process.env };
  Object.assign(process.env, variables, { XDG_CACHE_HOME: cache });
  const file = join(cache, 'rows.json');
  const { status, stdout, stderr } = runBench('peers', '--op', ROW.op, '--json', file);
  process.env = before;
  assert.is(status, 0, stderr);
  const row = JSON.parse(readFileSync(file, 'utf8'));
  rmSync(cache, { recursive: true });
  return { stdout, row };
}

const device = await testDevice();
if (device) {
  device.dispose();

  test('both sides are timed in one run, and the row keeps every sample', () => {
    const { stdout, row } = runPeers({});
    assert.match(stdout, new RegExp(`${LINE} +[\\d.]+ +[\\d.-]+( +[\\d.]+ [\\d.]+x){2} +LayerNormalization$`, 'm'));
    assert.equal(row.shape, ROW.case);
    assert.equal(Object.keys(row.peers), ['ort-webgpu', 'ort-cpu']);
    for (const side of [row.ours, ...Object.values(row.peers)] as { micros: number[]; error?: string }[]) {
      assert.is(side.error, undefined);
      assert.ok(side.micros.length >= 3 && side.micros.every(Number.isFinite));
    }
    assert.ok(row.peers['ort-cpu'].micros.every((micros: number) => micros >= 1900));
    assert.match(row.ours.variant, /^layer_norm\//);
    assert.ok(row.adapter && row.bench === 'peers');
  });

  test('a wrong peer prints WRONG and no time, and one that fails says why', () => {
    const { stdout, row } = runPeers({ WRONG_cpu: '1', CANNOT_webgpu: '1' });
    assert.match(stdout, new RegExp(`${LINE} +[\\d.]+ +[\\d.-]+ +fails +WRONG +LayerNormalization$`, 'm'));
    assert.match(
      stdout,
      /^ {4}ort-webgpu: no kernel for this\n {4}ort-cpu: WRONG: off by 0\.\d+ of the largest value$/m,
    );
    assert.equal([row.peers['ort-webgpu'].micros, row.peers['ort-cpu'].micros], [[], []]);
    assert.ok(row.ours.micros.length >= 3);
  });

  test('a peer whose process dies says so, at its first run and later', () => {
    const { stdout, row } = runPeers({ DIE_webgpu: '0', DIE_cpu: '3' });
    assert.match(stdout, new RegExp(`${LINE} .* fails +fails +LayerNormalization$`, 'm'));
    for (const name of ['ort-webgpu', 'ort-cpu']) {
      assert.match(stdout, new RegExp(`^ {4}${name}: its process ended with SIGKILL$`, 'm'));
      assert.equal(row.peers[name].micros, []);
    }
  });
}

test.run();
