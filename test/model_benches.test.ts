// tier: any
// The benches that look at a model folder: quality, doctor and full.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { examineActivations } from '../bench/doctor.ts';
import { HostWeights } from '../bench/full/host_weights.ts';
import { LayerChecks } from '../bench/full/verify_layers.ts';
import { compareRows } from '../bench/quality.ts';
import { rainbow } from '../bench/rainbow.ts';
import { Checkpoint, decode, expandImages, loadConfig, Phi4Vision, processImage } from '../model/index.ts';
import { openDevice } from '../runtime/index.ts';
import { runBench, TINY } from './bench.ts';
import { testDevice } from './gpu.ts';

const dir = mkdtempSync(join(tmpdir(), 'daybreak-products-'));
const rowsOf = (file: string) =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

test.after(() => rmSync(dir, { recursive: true }));

test('divergence is 0 of equal distributions, and of others what the formula gives', () => {
  const row = Float32Array.of(0, Math.log(3)); // 1/4, 3/4
  const even = Float32Array.of(5, 5); // 1/2, 1/2
  const same = compareRows([row, even], [Float32Array.of(7, 7 + Math.log(3)), even]);
  assert.ok(Math.abs(same.meanKl) < 1e-7 && same.top1 === 1 && same.steps === 2);
  const { meanKl, maxKl, top1 } = compareRows([row, row], [even, Float32Array.of(Math.log(3), 0)]);
  const expected = [0.25 * Math.log(0.5) + 0.75 * Math.log(1.5), 0.5 * Math.log(3)];
  assert.ok(Math.abs(meanKl - (expected[0]! + expected[1]!) / 2) < 1e-6, String(meanKl));
  assert.ok(Math.abs(maxKl - expected[1]!) < 1e-6);
  assert.is(top1, 0);
});

const device = await testDevice();
if (device) {
  test('quality: coarser groups and int4 embeddings move distributions more, int8 weights hardly', () => {
    const json = join(dir, 'quality.jsonl');
    const { status, stdout, stderr } = runBench('quality', '--prompts', 'text', '--groups', '32,128', '--json', json);
    assert.is(status, 0, stdout + stderr);
    const rows = rowsOf(json);
    assert.is(rows.length, 8);
    assert.ok(rows.every(({ model }) => model === 'tiny'));
    const kl = (test: (formats: Record<string, unknown>) => boolean) =>
      rows.find(({ formats }) => test(formats)).meanKl;
    const [fine, coarse, bytes] = [
      kl(({ group }) => group === 32),
      kl(({ group }) => group === 128),
      kl((f) => f.decoder === 'q8'),
    ];
    assert.ok(0 < bytes && bytes < fine / 20 && fine < coarse, [bytes, fine, coarse].join());
  });

  test('doctor: counts tensors, tells flags and activations, and exits 1 where a tensor is missing', async () => {
    const json = join(dir, 'doctor.jsonl');
    const { status, stdout, stderr } = runBench('doctor', '--model', TINY, '--json', json);
    assert.is(status, 0, stdout + stderr);
    assert.match(stdout, /Tensors: 105 of 105 expected/);
    assert.match(stdout, /A line break after <\|im_sep\|> is swallowed/);
    const [{ activations, config, model }] = rowsOf(json);
    assert.is(model, 'tiny');
    assert.ok(activations.length > 8 && activations.every(({ largest }: { largest: number }) => largest > 0));
    assert.is(config.differences.hidden_size.here, '128');
    const other = await openDevice();
    Object.defineProperty(other, 'onCpu', { value: false }); // where f16 is usual
    const there = await examineActivations(other, TINY);
    other.dispose();
    for (const [i, { stage, largest }] of there.entries()) {
      const f32 = activations[i].largest;
      assert.ok(Math.abs(largest - f32) < 1e-4 * f32, `${stage}: ${largest}, in f32 ${f32}`);
    }
    const lacking = join(dir, 'lacking');
    cpSync(TINY, lacking, { recursive: true });
    const path = join(lacking, 'config.json');
    writeFileSync(path, readFileSync(path, 'utf8').replace('"num_hidden_layers": 3', '"num_hidden_layers": 4'));
    const missing = runBench('doctor', '--model', lacking, '--no-run');
    assert.is(missing.status, 1, missing.stdout + missing.stderr);
    assert.match(missing.stdout, /missing: model\.layers\.3\./);
  });

  test('full: layers equal float64, and a row of another weight does not', async () => {
    const json = join(dir, 'full.jsonl');
    const { status, stdout, stderr } = runBench('full', '--model', TINY, '--json', json);
    assert.is(status, 0, stdout + stderr);
    assert.equal([rowsOf(json).at(-1).model, rowsOf(json).at(-1).activations], ['tiny', 'f32']);
    assert.match(stdout, /^layers\.2 +[\d.e-]+$/m);
    const config = loadConfig(TINY);
    const checks = new LayerChecks(config, 1e-4);
    const model = await Phi4Vision.load(device, TINY);
    const patches = processImage(rainbow({ width: 64, height: 64 }), { ...config.image, patch: 16 });
    const image = await model.encodeImage(patches, checks);
    const ids = expandImages(Int32Array.of(-200, 1, 2), [image.features.shape[0]!], config.decoder.vocab);
    const session = await model.session({ capacity: ids.length });
    await session.prefill(ids, { images: [image], taps: checks });
    for await (const _ of decode(session, { steps: 1 }));
    const logits = (await device.download(session.logits)).data as Float32Array;
    const checkpoint = Checkpoint.open(TINY);
    const weights = new HostWeights(checkpoint, config);
    assert.ok([...checks.verify(weights, logits)].every(({ ok }) => ok));
    const row = weights.row.bind(weights);
    weights.row = (name, index, inner) =>
      row(name, name.endsWith('layers.1.mlp.down_proj.weight') ? index ^ 1 : index, inner);
    const wrong = [...checks.verify(weights, logits)].filter(({ ok }) => !ok).map(({ stage }) => stage);
    assert.equal(wrong, ['layers.1']);
    checkpoint.close();
    session.dispose();
    image.dispose();
    model.dispose();
  });
}

test.run();
