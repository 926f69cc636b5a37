import { type Case, type OpSpec, type Random, showCase } from '../../kernels/spec.ts';
import { specs } from '../../kernels/specs.ts';
import { runnable, verifyCase } from '../../kernels/verify.ts';
import { checkSampling } from '../../model/sampler.ts';
import { type Device, WgslError } from '../../runtime/index.ts';
import { devices, outcome, pick, type RunCase } from './target.ts';

/** Bound on the product of a case's sizes, and so on the time of its reference. */
const MAX_WORK = 2 ** 22;
const MAX_SIZE = 300;
const WRONG = [0, -1, -8];

/** Fields that are no sizes: values on the device, where nothing checks them, or scales of random numbers. */
const VALUES = new Set(['position', 'step', 'forcedCount', 'temperature', 'topK', 'topP', 'mean', 'scale', 'row']);

/** What an op or its spec asks of a case where nothing checks it. */
const VALID: Record<string, (c: Case) => boolean> = {
  embed: ({ blocks, vocab, features }) => Number(blocks) >= 1 && Number(vocab) + Number(features) >= 1,
  advance: ({ blocks, vocab, logits }) => Number(blocks) >= 1 && Number(vocab) >= Math.max(1, Number(logits)),
  attention: ({ causal, keys, tokens, show, as, headDim }) =>
    (!causal || Number(keys) >= Number(tokens)) &&
    (!show || (causal === true && (as === 'f32' || Number(headDim) % 32 === 0))),
  matmul({ show, rows, outs, from, as, activation, bias, residual }) {
    if (show === 'logits') return activation === 'none' && !bias && !residual && as === 'f32';
    return show === 'y' || (Number(rows) * Number(outs) <= 500 && from !== 'f16' && as === 'f32'); // quants are compared exactly
  },
};

/** Ops with sizes and options of all kinds, right ones and wrong ones, against their references. */
export async function ops(): Promise<RunCase> {
  const next = devices();
  return async (random, note) => {
    const spec = pick(random, specs);
    const c = mutateCase(spec, random);
    note(`${spec.name} ${showCase(c)}`);
    return runCase(await next(), spec, c, random);
  };
}

async function runCase(device: Device, spec: OpSpec, c: Case, random: Random): Promise<string> {
  if (!isPossible(spec, c, random)) return 'no such inputs';
  const kernels = runnable(device, spec, c);
  if (kernels.length === 0) return 'no variant';
  const kernel = pick(random, kernels);
  return outcome(async () => {
    if (spec.name === 'sample') checkSampling({ ...(c as unknown as Parameters<typeof checkSampling>[0]), seed: 1 });
    const verdict = await verifyCase(device, spec, c, kernel.name, random.word()).catch(unlessInvalid);
    device.guard('after the case', () => {});
    if (!verdict.ok) throw new Error(`${kernel.name}: ${verdict.problem}`);
  });
}

/** A kernel that does not compile is a defect; one that cannot take the case is not. */
function unlessInvalid(error: unknown): never {
  if (error instanceof WgslError && !error.message.includes(': variant: '))
    throw new Error(error.message, { cause: error });
  throw error;
}

/** One of the spec's cases with some fields from another one, and some numbers changed. */
function mutateCase(spec: OpSpec, random: Random): Case {
  for (;;) {
    const c = { ...pick(random, spec.cases) };
    const other = pick(random, spec.cases);
    for (const key of Object.keys(c)) {
      if (random.below(3) === 0 && key in other) c[key] = other[key]!;
      if (typeof c[key] !== 'number' || VALUES.has(key) || random.below(2)) continue;
      const sizes = [1 + random.below(MAX_SIZE), 8 * (1 + random.below(16)), 4 * (1 + random.below(16))];
      c[key] = random.below(20) === 0 ? pick(random, WRONG) : pick(random, sizes);
    }
    if (work(c) <= MAX_WORK && (VALID[spec.name]?.(c) ?? true)) return c;
  }
}

function work(c: Case): number {
  const sizes = Object.entries(c).filter(([key, value]) => typeof value === 'number' && !VALUES.has(key));
  return sizes.reduce(
    (product, [key, value]) => product * Math.max(1, Number(value) || 0) ** (key === 'grid' ? 2 : 1),
    1,
  );
}

/** Whether the spec can make inputs of these sizes: there are no tensors of negative ones. */
function isPossible(spec: OpSpec, c: Case, random: Random): boolean {
  try {
    const shapes = Object.values(spec.inputs(c, random)).map(({ shape }) => shape);
    return shapes.flat().every((size) => size >= 0);
  } catch {
    return false;
  }
}
