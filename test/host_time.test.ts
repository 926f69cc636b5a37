// tier: any
// alone
// What the host does for a prompt and a step, on the null adapter, where the device takes no time.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../kernels/spec.ts';
import { openSynthetic, Phi4Vision, SyntheticSource } from '../model/index.ts';
import { type Device, openDevice } from '../runtime/index.ts';
import { TINY } from './bench.ts';

const RUNS = 25;
const PROMPT = 1500;
/** Milliseconds from the call to the first submit. */
const BOUND = 5;
/** Of the runs, that which is looked at, from the fastest: other work on the machine makes some slow. */
const QUARTILE = 0.25;

const device = await openDevice({ adapter: 'null' });

test(`a prompt of ${PROMPT} tokens is on its way in ${BOUND} ms, with a first submit of few dispatches`, async () => {
  const model = await deepModel();
  const calls = watch(device);
  const millis: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    const ids = new Random(run + 1).integers([PROMPT], 500).data as Uint32Array;
    await new Promise((resolve) => setTimeout(resolve, 2));
    calls.reset();
    const start = performance.now();
    const session = await model.session();
    await session.prefill(ids);
    millis.push(calls.first!.at - start);
    if (run > 0) {
      const { dispatches, writes } = calls.first!;
      assert.ok(dispatches > 0 && dispatches <= 32, `${dispatches} dispatches`);
      assert.is(writes, 4); // parameters, ids, places, page table
      assert.is(calls.made, 0);
    }
    session.dispose();
  }
  millis.sort((a, b) => a - b);
  console.log(`\nms to the first submit: median ${millis[RUNS >> 1]!.toFixed(2)}, least ${millis[0]!.toFixed(2)}`);
  assert.ok(millis[Math.floor(RUNS * QUARTILE)]! < BOUND, `${millis}`);
  model.dispose();
});

test('a step is one submit, no write, and three calls a dispatch', async () => {
  const model = await deepModel();
  const session = await model.session();
  await session.prefill(new Random(1).integers([20], 500).data as Uint32Array);
  const { map } = device;
  device.map = async (buffer) => new Uint8Array((await map.call(device, buffer)).length); // nothing has computed a token
  const calls = watch(device);
  let step = 0;
  const millis: number[] = [];
  for await (const _ of session.decode({ steps: 60, ahead: 1 })) {
    if (step > 2) {
      assert.equal([calls.submits, calls.writes, calls.made], [1, 0, 0], `step ${step}`);
      assert.is(calls.encoded, 3 * calls.dispatches);
      millis.push(calls.millis);
    }
    step++;
    calls.reset();
  }
  millis.sort((a, b) => a - b);
  const median = millis[millis.length >> 1]!;
  console.log(`\nms of encoding and submitting a step: median ${median.toFixed(2)}, least ${millis[0]!.toFixed(2)}`);
  assert.ok(millis[Math.floor(millis.length * QUARTILE)]! < BOUND, `${millis}`);
  session.dispose();
  model.dispose();
});

test.run();

/** Tiny widths, as many layers as the published model. */
function deepModel(): Promise<Phi4Vision> {
  const { config } = openSynthetic(TINY, 'bf16', 1);
  const deep = { ...config, decoder: { ...config.decoder, layers: 40 } };
  return Phi4Vision.fromSource(device, deep, new SyntheticSource(deep, 1), { context: 4096 });
}

/** Counts calls to WebGPU; of `first`, those before the first submit. */
function watch({ gpu }: Device) {
  const calls = {
    submits: 0,
    writes: 0,
    made: 0,
    dispatches: 0,
    /** Calls to compute passes, without their ends. */
    encoded: 0,
    /** From the latest command encoder to its submit. */
    millis: 0,
    first: undefined as { at: number; writes: number; dispatches: number } | undefined,
    reset() {
      Object.assign(calls, { submits: 0, writes: 0, made: 0, dispatches: 0, encoded: 0, first: undefined });
    },
  };
  let begun = 0;
  const count = (target: object, name: string, note: () => void, after = () => {}) => {
    const methods = target as Record<string, (...args: unknown[]) => unknown>;
    const original = methods[name]!.bind(target);
    methods[name] = (...args) => {
      note();
      const result = original(...args);
      after();
      return result;
    };
  };
  for (const name of ['createBuffer', 'createBindGroup', 'createComputePipelineAsync', 'createShaderModule']) {
    count(gpu, name, () => calls.made++);
  }
  count(gpu.queue, 'writeBuffer', () => calls.writes++);
  count(
    gpu.queue,
    'submit',
    () => {
      calls.submits++;
      calls.first ??= { at: performance.now(), writes: calls.writes, dispatches: calls.dispatches };
    },
    () => {
      calls.millis = performance.now() - begun;
    },
  );
  const { createCommandEncoder } = gpu;
  gpu.createCommandEncoder = (...args) => {
    begun = performance.now();
    const encoder = createCommandEncoder.apply(gpu, args);
    const { beginComputePass } = encoder;
    encoder.beginComputePass = (...given) => {
      const pass = beginComputePass.apply(encoder, given);
      count(pass, 'dispatchWorkgroups', () => calls.dispatches++);
      for (const name of ['setPipeline', 'setBindGroup', 'dispatchWorkgroups'])
        count(pass, name, () => calls.encoded++);
      return pass;
    };
    return encoder;
  };
  return calls;
}
