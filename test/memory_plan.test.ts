// tier: any
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { showMemoryPlan } from '../bench/show_memory.ts';
import {
  assertFits,
  Checkpoint,
  decode,
  generate,
  type LoadOptions,
  type ModelConfig,
  openSynthetic,
  type Patches,
  Phi4Vision,
  Processor,
  planMemory,
  type TensorSource,
} from '../model/index.ts';
import { CapabilityError, DryRunDevice, OutOfMemoryError } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { testDevice } from './gpu.ts';
import { rejection } from './rejects.ts';

const GRIDS = [
  { rows: 9, cols: 12 },
  { rows: 3, cols: 5 },
];

/** A grey picture. */
function picture(grid: Patches['grid']): Patches {
  const shape = [grid.rows * grid.cols, 768];
  return {
    grid,
    pixels: { shape, dtype: 'f32', data: new Float32Array(shape[0]! * 768) },
    digest: `${grid.rows} ${grid.cols} zeros`,
  };
}

const total = (rows: readonly { bytes: number }[]) => rows.reduce((sum, { bytes }) => sum + bytes, 0);

const device = await testDevice();
if (device) {
  const { memory } = device;
  const processor = Processor.load(TINY);
  const sampling = { temperature: 1, topK: 50, topP: 0.9, seed: 1 };
  const question = [{ role: 'user', content: '<image>\n<image>\nWhat is the difference?' }] as const;
  const images = [330, 70].map((size) => ({ width: size, height: 50, data: new Uint8Array(size * 150) }));
  const prompt = await processor.prepare(question, images, {});

  /** Loads and runs for real what the plan is about, and compares what is in use phase by phase. */
  const compare = async (config: ModelConfig, source: TensorSource, options: LoadOptions) => {
    const load = { context: 1300, ...options };
    const plan = await planMemory(device, config, source, { load, sampled: true, grids: GRIDS });
    const before = memory.current;
    const model = await Phi4Vision.fromSource(device, config, source, load);
    assert.is(total(plan.weights), memory.current - before);
    memory.peak = 0;
    const images = [];
    for (const grid of GRIDS) images.push(await model.encodeImage(picture(grid)));
    assert.is(plan.peaks.encoding, memory.peak - before);
    assert.is(total(plan.weights) + total(plan.encoder), memory.current - before);
    memory.peak = 0;
    const sequence = await model.session({ sampling });
    await sequence.prefill(new Uint32Array(1200), { images });
    for await (const _ of decode(sequence, { steps: 3 }));
    for (const image of images) image.dispose();
    assert.is(plan.peaks.answering, memory.peak - before);
    assert.is(total(plan.weights) + total(plan.encoder) + total(plan.decoder), memory.current - before);
    sequence.dispose();
    model.dispose();
    assert.is(memory.current, before);
    return plan;
  };

  test('the plan is what the model then takes, to the byte', async () => {
    const source = Checkpoint.open(TINY);
    const f32 = await compare(processor.config, source, {});
    if (device.features.has('shader-f16')) {
      const f16 = await compare(processor.config, source, { dtype: 'f16' });
      const cache = (plan: typeof f32) => plan.decoder.find(({ part }) => part === 'KV cache')!;
      assert.is(cache(f16).bytes * 2, cache(f32).bytes);
      assert.equal(Object.keys(cache(f16).formats), ['f16']);
    }
    source.close();
  });

  test('so it is for weights that are stored quantised, and for those that are quantised as they load', async () => {
    const stored = openSynthetic(TINY, 'int4', 1);
    const loaded = openSynthetic(TINY, 'bf16', 1);
    for (const [{ config, source }, load, vision] of [
      [stored, {}, 'f16'],
      [loaded, { quantize: { decoder: 'q4', head: 'q8' } }, 'bf16'],
    ] as const) {
      const { weights } = await compare(config, source, load);
      const formats = (part: string) => Object.keys(weights.find((row) => row.part === part)!.formats).sort();
      assert.equal(formats('decoder layers'), ['f32', 'q4', 'scales']);
      assert.equal(formats('lm_head'), ['q8', 'scales']);
      assert.equal(formats('vision tower'), [vision, 'f32'].sort());
    }
  });

  test('an answer takes what its plan says, with the vision weights kept or released', async () => {
    const source = Checkpoint.open(TINY);
    const answers: string[] = [];
    const peaks: number[] = [];
    for (const releaseVision of [false, true]) {
      const grids = prompt.pictures.map(({ grid }) => grid);
      const plan = await planMemory(device, processor.config, source, { grids, releaseVision });
      const before = memory.current;
      const model = await Phi4Vision.load(device, TINY);
      memory.peak = 0;
      answers.push((await generate(model, processor, prompt, { maxTokens: 8, releaseVision })).text);
      assert.is(plan.peak, memory.peak - before);
      peaks.push(plan.peaks.answering);
      if (releaseVision) {
        const error = await rejection(model.encodeImage(picture(GRIDS[0]!)));
        assert.match(error!.message, /expected vision weights on the device, got them released/);
      }
      model.dispose();
      assert.is(memory.current, before);
    }
    assert.is(answers[1], answers[0]);
    const plan = await planMemory(device, processor.config, source);
    const vision = plan.weights.filter(({ part }) => part === 'vision tower' || part === 'projector');
    const encoding = plan.encoder.filter(({ part }) => part === 'encoding');
    assert.is(peaks[0]! - peaks[1]!, total(vision) + total(encoding));
    source.close();
  });

  test('planning takes no memory, and the default is the longest context and the largest picture', async () => {
    const before = { ...memory };
    const { config, source } = openSynthetic('15b', 'bf16', 1);
    const plan = await planMemory(device, config, source);
    assert.equal({ ...memory }, before);
    assert.equal([plan.positions, plan.patches], [16384, 3600]);
    assert.ok(total(plan.weights) > 30e9 && total(plan.weights) < 30.5e9);
    assert.is(plan.peak, total(plan.weights) + total(plan.encoder) + total(plan.decoder));
    assert.is(plan.encoder.find(({ part }) => part === 'pictures')!.bytes, 3600 * 5120 * 4);
    const text = showMemoryPlan(plan);
    assert.match(text, /for 16384 positions and 3600 patches, in MiB/);
    assert.match(text, / {2}decoder layers +26002 {2}bf16, f32\n/);
    assert.match(showMemoryPlan({ ...plan, available: undefined }), /WebGPU does not say what the GPU has/);
    assert.match(showMemoryPlan({ ...plan, available: 5 * 2 ** 20 }), /at most +\d+ {2}of 5 free, while /);
  });

  test('what cannot fit is refused with the numbers', async () => {
    const { config, source } = openSynthetic('15b', 'bf16', 1);
    const context = 2 ** 24;
    const error = await rejection(planMemory(device, config, source, { load: { context }, grids: [] }));
    assert.instance(error, CapabilityError);
    assert.match(error!.message, new RegExp(`context: expected at most \\d+ positions.*got ${context}`));
    const plan = await planMemory(device, config, source);
    const whole = process.availableMemory;
    try {
      process.availableMemory = () => plan.peak;
      assertFits(device, plan);
      process.availableMemory = () => plan.peak - 1;
      const parts = /memory \(vision tower \d+, .*decoder layers \d+, .*KV cache \d+, .*decode step \d+\)/;
      const refuses = (e: Error) =>
        e instanceof OutOfMemoryError &&
        parts.test(e.message) &&
        e.message.includes(`at most ${plan.peak - 1} bytes free on this machine, got ${plan.peak};`);
      if (device.onCpu) assert.throws(() => assertFits(device, plan), refuses);
      else assertFits(device, plan); // WebGPU does not say what a GPU has
    } finally {
      process.availableMemory = whole;
    }
  });

  test('a device that only counts has the name and limits of the real one', () => {
    const dry = new DryRunDevice(device);
    assert.equal([dry.name, dry.onCpu, dry.dryRun, device.dryRun], [device.name, device.onCpu, true, false]);
    const a = dry.tensor('a', [3, 5], 'f16');
    dry.alloc(100, 'b');
    assert.equal(dry.inUse(), [
      { label: 'a', bytes: 32, dtype: 'f16' },
      { label: 'b', bytes: 112, dtype: undefined },
    ]);
    dry.free(a.storage);
    assert.is(dry.memory.current, 112);
    assert.throws(
      () => dry.alloc(device.limits.maxBufferSize + 16, 'c'),
      /c: expected at most \d+ bytes in one buffer/,
    );
  });
}

test.run();
