// tier: any
// nopt
// What the benches of ops time: which shapes, out of which memory, and how much they count.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { benchShapes, explainShapes, planRotated } from '../bench/shapes.ts';
import { type Case, type OpSpec, Random } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { recordCase, runnable } from '../kernels/verify.ts';
import { decode, loadConfig, Phi4Vision } from '../model/index.ts';
import { type Device, Timeline } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { testDevice } from './gpu.ts';

const specOf = (name: string): OpSpec => specs.find((spec) => spec.name === name)!;
const MATMUL = specOf('matmul');

test('shapes of decoder and vision with f16 x, up to 4096 rows, are what matrix units can take', () => {
  const matrix = MATMUL.variants.find(({ name }) => name.endsWith('matmul_matrix'))!;
  const taken = MATMUL.bench.filter((c) => MATMUL.applies!(matrix, c) && Number(c.rows) >= 1024);
  const sizes = new Set(taken.map(({ rows, inner, outs }) => `${rows} x ${inner} x ${outs}`));
  for (const size of ['1024 x 5120 x 7680', '4096 x 17920 x 5120', '4096 x 5120 x 35840', '3600 x 1152 x 4304'])
    assert.ok(sizes.has(size), size);
});

/** What `body` prints. */
function printed(body: () => void): string {
  const { log } = console;
  const lines: string[] = [];
  console.log = (line: string) => lines.push(line);
  try {
    body();
  } finally {
    console.log = log;
  }
  return lines.join('\n');
}

const device = await testDevice();
if (device) {
  const as = (onCpu: boolean) => Object.create(device, { onCpu: { value: onCpu } }) as Device;

  test('a CPU is spared large shapes, says so, and times them where it is told', () => {
    const [cpu, gpu] = [as(true), as(false)];
    const [few, every] = [benchShapes(cpu, MATMUL, false), benchShapes(gpu, MATMUL, false)];
    assert.ok(few.length > 10 && few.every((c) => MATMUL.flops!(c) <= 6e9));
    const left = every.length - few.length;
    assert.is(left > 0, device.features.has('shader-f16')); // all large shapes have f16 rows
    assert.equal(benchShapes(cpu, MATMUL, true), every);
    assert.match(
      printed(() => explainShapes(cpu, [MATMUL], false)),
      left > 0 ? new RegExp(`^Not timed on a CPU: ${left} shapes .*--all`) : /^$/,
    );
    assert.is(
      printed(() => explainShapes(cpu, [MATMUL], true)),
      '',
    );
    assert.is(
      printed(() => explainShapes(gpu, [MATMUL], false)),
      '',
    );
  });

  test('the work of a shape is what its op declares', () => {
    for (const spec of specs.filter(({ flops }) => flops)) {
      for (const c of [...benchShapes(as(true), spec, false), ...spec.cases.slice(0, 40)]) {
        if (runnable(device, spec, c).length === 0) continue;
        const variant = runnable(device, spec, c).find(({ name }) => !name.includes('decode'))!.name;
        const steps = recordCase(device, spec, c, variant, spec.inputs(c, new Random(1)));
        const own = steps.filter(({ kernel }) => kernel.name.startsWith(`${spec.name}/`)); // not a norm before it
        assert.is(
          own.reduce((sum, { cost }) => sum + cost.flops, 0),
          spec.flops!(c),
          JSON.stringify(c),
        );
      }
    }
  });

  test('runs take turns with copies of the weights, more than three times 64 MiB of them, and compute the same', async () => {
    const before = device.memory.current;
    const plansOf = async (c: Case) => {
      const variant = runnable(device, MATMUL, c)[0]!.name;
      const inputs = MATMUL.inputs(c, new Random(1));
      const rotated = await planRotated(device, MATMUL, c, variant, inputs);
      const first = rotated.next();
      const plans = [first];
      for (let plan = rotated.next(); plan !== first; plan = rotated.next()) plans.push(plan);
      return { plans, inputs, dispose: rotated.dispose };
    };
    const large = await plansOf(MATMUL.bench[0]!);
    const weights = large.inputs.w!.data.byteLength;
    assert.ok(
      large.plans.length * weights >= 3 * 64 * 2 ** 20 && (large.plans.length - 1) * weights < 3 * 64 * 2 ** 20,
    );
    assert.ok(device.memory.current - before >= 3 * 64 * 2 ** 20);
    large.dispose();
    assert.is(device.memory.current, before);
    const small = await plansOf(MATMUL.cases.find(({ bias, residual }) => bias && residual)!);
    assert.is(small.plans.length, 64);
    const results: string[] = [];
    for (const plan of small.plans) results.push((await device.download(plan.run().result!)).data.join());
    assert.ok(results[0]!.length > 0 && new Set(results).size === 1);
    small.dispose();
    const norm = specOf('rms_norm');
    const c = norm.cases[0]!;
    const alone = await planRotated(device, norm, c, runnable(device, norm, c)[0]!.name, norm.inputs(c, new Random(1)));
    assert.is(alone.next(), alone.next());
    alone.dispose();
    assert.is(device.memory.current, before);
  });

  test('attention counts the keys that are seen, whatever the cache could hold', async () => {
    if (!device.features.has('timestamp-query')) return;
    const moved = async (context: number) => {
      const model = await Phi4Vision.load(device, TINY, { context });
      const session = await model.session();
      const ids = Uint32Array.from({ length: 9 }, (_, i) => i);
      const recorded = [(await Timeline.record(device, () => session.prefill(ids))).rows];
      const answer = decode(session, { steps: 2, ahead: 1 });
      await answer.next();
      recorded.push((await Timeline.record(device, () => answer.next())).rows);
      model.dispose();
      return recorded.map((rows) =>
        rows.filter(({ kernel }) => kernel.startsWith('attention/')).map(({ flops, bytes }) => [flops, bytes]),
      );
    };
    const few = await moved(16);
    assert.ok(few.every((rows) => rows.length > 0));
    assert.equal(await moved(1600), few);
    const { heads, headDim } = loadConfig(TINY).decoder;
    assert.is(few[0]![0]![0], 4 * heads * headDim * 45); // 1 + 2 + ... + 9 keys
    assert.is(few[1]![0]![0], 4 * heads * headDim * 10);
  });
}

test.run();
