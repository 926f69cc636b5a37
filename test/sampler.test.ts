// tier: gpu
// nopt
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { argmax, philox, type Sampling, sample, settingsTensor, uniformNumber } from '../kernels/index.ts';
import { Random } from '../kernels/spec.ts';
import { checkSampling, sampleHost } from '../model/sampler.ts';
import { type Device, Graph, Plan, PromptError, ShapeError } from '../runtime/index.ts';
import { quick, testDevice } from './gpu.ts';

const SEED = Number(process.env.DAYBREAK_SEED ?? 1);
const CASES = process.env.DAYBREAK_SLOW === '1' ? 10_000 : quick ? 100 : 400;
const SIZES = [1, 2, 3, 17, 255, 256, 257, 1000, 1024, 4097, 32064, 100351, 100352, 131072];

/** One row of logits by its index and a random source; `level` is drawn once per row. */
const ROWS: Record<string, (random: Random, level: number) => number> = {
  normal: (random, level) => (1 + 5 * level) * random.normal(),
  'far from zero': (random, level) => random.normal() - 1e4 * level,
  'few values': (random) => Math.round(2 * random.normal()),
  'three places': (random) => Math.round(8 * random.normal()) / 8,
  flat: (_, level) => level - 7,
  'almost flat': (random) => 1e-6 * random.normal(),
  tiny: (random) => 1e-30 * random.normal(),
  huge: (random) => 1e30 * random.normal(),
  largest: (random) => (random.below(2) === 0 ? 3.4e38 : -3.4e38),
  masked: (random, level) => (random.uniform() < level ? -1e30 : random.normal()),
  'all masked': () => -1e30,
  'one above a flat tail': (random, level) => (random.below(1000) === 0 ? 0 : -5 - 27 * level),
  'two zeros': (random) => [0, -0, -1][random.below(3)]!,
  'powers of a half': (random) => -Math.LN2 * random.below(50),
};

interface Draw {
  what: string;
  logits: Float32Array;
  sampling: Sampling;
  u: number;
}

function drawCase(random: Random, n: number): Draw {
  const kinds = Object.keys(ROWS);
  const kind = kinds[random.below(kinds.length)]!;
  const level = random.uniform();
  const logits = Float32Array.from({ length: n }, () => ROWS[kind]!(random, level));
  const pick = <T>(values: readonly T[]): T => values[random.below(values.length)]!;
  const sampling = {
    temperature: pick([0, 0.1, 0.5, 0.8, 1, 5, 0.1 * 50 ** random.uniform(), 0.1 * 50 ** random.uniform()]),
    topK: pick([0, 0, 1, 2, 50, n, n + 7, 1 + random.below(n), 1 + random.below(n)]),
    topP: pick([1, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.999, 0.1 + 0.9 * random.uniform()]),
  };
  const u = pick([0, 1 - 2 ** -53, random.below(1024) / 1024, fine(random), fine(random), fine(random)]);
  if (random.below(5) > 0) return { what: kind, logits, sampling, u };
  const all = { temperature: sampling.temperature || 1, topK: 0, topP: 1 };
  return { what: `${kind}, next to a step`, logits, sampling: all, u: nextToStep(random, logits, all.temperature) };
}

/** 53 random bits in [0, 1). */
function fine(random: Random): number {
  return (random.below(2 ** 21) * 2 ** 32 + random.below(2 ** 32)) / 2 ** 53;
}

/** A number 2^-40 from a step of the cumulative distribution, whose weights are whole numbers of 2^-46. */
function nextToStep(random: Random, logits: Float32Array, temperature: number): number {
  const top = logits.reduce((a, b) => Math.max(a, b));
  const weights = Array.from(logits, (x) => BigInt(Math.round(Math.exp((x - top) / temperature) * 2 ** 46)));
  const sum = (values: bigint[]) => values.reduce((a, b) => a + b, 0n);
  const part = sum(weights.slice(0, 1 + random.below(weights.length)));
  const step = Number((part << 53n) / sum(weights)) / 2 ** 53;
  return Math.min(Math.max(step + (random.below(2) ? 1 : -1) * 2 ** -40, 0), 1 - 2 ** -53);
}

/** The device's sampler for rows of n logits. */
async function planSampler(device: Device, n: number) {
  const logits = device.tensor('logits', [1, n], 'f32');
  const settings = device.tensor('settings', [6], 'u32');
  const random = device.tensor('random', [4], 'u32');
  const graph = new Graph(device);
  graph.output('token', sample(graph, logits, { largest: argmax(graph, logits, 4096), settings, random }));
  const plan = await Plan.create(graph);
  const choose = async (draw: Draw) => {
    device.write(logits.storage, draw.logits);
    device.write(settings.storage, settingsTensor(draw.sampling).data);
    device.write(random.storage, BigUint64Array.of(BigInt(draw.u * 2 ** 53) << 11n, 0n));
    return (await device.download(plan.run().token!)).data[0]!;
  };
  const dispose = () => {
    plan.dispose();
    for (const tensor of [logits, settings, random]) device.free(tensor.storage);
  };
  return { choose, dispose };
}

/** Chi-square of what is drawn in `draws` steps against the probabilities. */
function chiSquare(logits: Float32Array, sampling: Sampling, probabilities: number[], draws: number): number {
  const counts = probabilities.map(() => 0);
  for (let step = 0; step < draws; step++) counts[sampleHost(logits, sampling, uniformNumber(SEED, step))]!++;
  return probabilities.reduce((sum, p, i) => {
    if (p === 0) assert.is(counts[i], 0, `token ${i} is not kept`);
    return p === 0 ? sum : sum + (counts[i]! - p * draws) ** 2 / (p * draws);
  }, 0);
}

test('Philox gives the known answers of its authors', () => {
  const hex = (words: Uint32Array) => Array.from(words, (w) => w.toString(16).padStart(8, '0')).join(' ');
  const ones = 0xffffffff;
  const pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
  assert.is(hex(philox([0, 0, 0, 0], [0, 0])), '6627e8d5 e169c58d bc57ac4c 9b00dbd8');
  assert.is(hex(philox([ones, ones, ones, ones], [ones, ones])), '408f276d 41c83b0e a20bc7c6 6d5451fd');
  assert.is(hex(philox(pi, [0xa4093822, 0x299f31d0])), 'd16cfe09 94fdcceb 5001e420 24126ea1');
});

test('the host draws what the distribution says', () => {
  const logits = Float32Array.of(1, 3, 2, 3, 0, -1, 2.5, -1e30);
  const share = (kept: number[], temperature: number) => {
    const p = Array.from(logits, (x, i) => (kept.includes(i) ? Math.exp(x / temperature) : 0));
    return p.map((v) => v / p.reduce((a, b) => a + b));
  };
  // Beyond 40 lies less than a millionth of chi-square's distribution with up to 7 degrees of freedom.
  const check = (sampling: Sampling, kept: number[]) => {
    const value = chiSquare(logits, sampling, share(kept, sampling.temperature), 40_000);
    assert.ok(value < 40, `${JSON.stringify(sampling)}: chi-square ${value}`);
  };
  check({ temperature: 1, topK: 0, topP: 1 }, [0, 1, 2, 3, 4, 5, 6]);
  check({ temperature: 2.5, topK: 0, topP: 1 }, [0, 1, 2, 3, 4, 5, 6]);
  check({ temperature: 0.5, topK: 3, topP: 1 }, [1, 3, 6]);
  check({ temperature: 1, topK: 0, topP: 0.5 }, [1, 3]);
  check({ temperature: 1, topK: 3, topP: 0.75 }, [1, 3]); // a share of 0.77 of the three, though 0.63 of all
});

test('ties are kept by index, and decimal shares of equal logits are what they seem', () => {
  const flat = new Float32Array(10);
  const tokens = (sampling: Partial<Sampling>) =>
    Array.from({ length: 20 }, (_, i) =>
      sampleHost(flat, { temperature: 1, topK: 0, topP: 1, ...sampling }, (i + 0.5) / 20),
    );
  for (let k = 1; k <= 10; k++) {
    const first = Array.from({ length: k }, (_, i) => i);
    assert.equal([...new Set(tokens({ topP: k / 10 }))], first);
    assert.equal([...new Set(tokens({ topK: k }))], first);
  }
  assert.equal([...new Set(tokens({ temperature: 0 }))], [0]);
});

test('settings out of range are refused', () => {
  const good = { temperature: 0.8, topK: 50, topP: 0.95, seed: 1 };
  checkSampling(good);
  checkSampling({ temperature: 0, topK: 0, topP: 1, seed: 2 ** 32 - 1 });
  const bad: Partial<typeof good>[] = [
    ...[-1, Number.NaN, Number.POSITIVE_INFINITY].map((temperature) => ({ temperature })),
    ...[-1, 0.5, Number.NaN, 2 ** 32].map((topK) => ({ topK })),
    ...[0, -0.5, 1.001, Number.NaN].map((topP) => ({ topP })),
    ...[-1, 0.5, 2 ** 32].map((seed) => ({ seed })),
  ];
  for (const change of bad) {
    assert.throws(
      () => checkSampling({ ...good, ...change }),
      (e: Error) => e instanceof PromptError,
    );
  }
});

const device = await testDevice();
if (device) {
  test('weights on the device are exp() to the nearest 2^-46 of the largest, or next to it', async () => {
    const random = new Random(SEED);
    for (const [temperature, spread] of [
      [0.1, 1],
      [0.8, 8],
      [Math.LOG2E, 10],
      [5, 60],
      [1e-4, 1e-3],
      [1e6, 1e7],
    ] as const) {
      const data = Float32Array.from({ length: 2000 }, () => -spread * random.uniform()).fill(0, 0, 1);
      const logits = device.upload({ shape: [data.length], dtype: 'f32', data }, 'logits');
      const settings = device.upload(settingsTensor({ temperature, topK: 0, topP: 1 }), 'settings');
      const graph = new Graph(device);
      sample(graph, logits, { largest: argmax(graph, logits), settings, random: device.tensor('random', [4], 'u32') });
      const weights = graph.steps.flatMap((step) => (step.kind === 'dispatch' && step.write.weights) || [])[0]!;
      graph.output('weights', weights);
      const plan = await Plan.create(graph);
      const words = (await device.download(plan.run().weights!)).data;
      data.forEach((x, i) => {
        const got = words[2 * i + 1]! * 2 ** 32 + words[2 * i]!;
        const ref = Math.exp(x / temperature) * 2 ** 46;
        assert.ok(Math.abs(got - ref) < 1, `exp(${x} / ${temperature}): expected ${ref}, got ${got}`);
      });
      plan.dispose();
    }
  });

  test('where no logit has a weight the first token is drawn, and how many were not finite is said', async () => {
    const words = (shape: number[], ...data: number[]) =>
      device.upload({ shape, dtype: 'u32', data: Uint32Array.from(data) }, 'words');
    for (const topK of [0, 5]) {
      const settings = settingsTensor({ temperature: 1, topK, topP: 1 });
      new Float32Array(settings.data.buffer).fill(-1, 3, 4); // as if every comparison with NaN held, here that with the largest distance
      const graph = new Graph(device);
      const choice = sample(graph, device.upload(new Random(SEED).tensor([1, 300]), 'logits'), {
        largest: words([2, 3], 7, 2, 9, 299, 1, 8),
        settings: device.upload(settings, 'settings'),
        random: words([4], 0, 0, 0, 0),
      });
      graph.output('choice', choice);
      const plan = await Plan.create(graph);
      assert.equal([...(await device.download(plan.run().choice!)).data], [0, 3], `top ${topK}`);
      plan.dispose();
    }
  });

  test('more logits than the sums of weights have bits for are refused', () => {
    const logits = { name: 'logits', shape: [1, 2 ** 17 + 1], dtype: 'f32' as const };
    const words = (n: number) => ({ name: 'words', shape: [n], dtype: 'u32' as const });
    const record = () =>
      sample(new Graph(device), logits, {
        largest: { ...words(3), shape: [1, 3] },
        settings: words(6),
        random: words(4),
      });
    assert.throws(record, (e: Error) => e instanceof ShapeError && /131072/.test(e.message));
  });

  test(`the device chooses the host's token in ${CASES} cases, seed ${SEED}`, async () => {
    const random = new Random(SEED);
    const different: string[] = [];
    for (const n of SIZES) {
      const sampler = await planSampler(device, n);
      // Each small size as often as the four large ones together.
      const share = n > 4097 ? 1 / 4 : 1;
      const cases = Math.ceil((CASES * share) / 11);
      for (let i = 0; i < cases; i++) {
        const draw = drawCase(random, n);
        const host = sampleHost(draw.logits, draw.sampling, draw.u);
        const got = await sampler.choose(draw);
        if (got !== host)
          different.push(
            `${n} ${draw.what} ${JSON.stringify(draw.sampling)} u=${draw.u}: expected ${host}, got ${got}`,
          );
      }
      sampler.dispose();
    }
    assert.is(different.length, 0, `${different.length} differ:\n${different.slice(0, 10).join('\n')}`);
  });
}

test.run();
