// tier: any
// Prompts of several chunks, second turns and conversations, against runs without any reuse.
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Expected } from '../bench/expected.ts';
import { Random } from '../kernels/spec.ts';
import {
  decode,
  expandImages,
  type LoadOptions,
  Phi4Vision,
  type PrefillOptions,
  PromptPicture,
  type Session,
} from '../model/index.ts';
import { type Device, Timeline } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { quick, testDevice } from './gpu.ts';
import { concat, patchesOf, randomIds } from './sequences.ts';

const slow = process.env.DAYBREAK_SLOW === '1';
const CONVERSATIONS = slow ? 50 : quick ? 2 : 6;
/** Positions of a prompt with five pictures. */
const LONG = slow ? 12_000 : quick ? 400 : 2_000;
/** How large pictures are, where not as the model has them. */
const PATCHES = quick ? { minPatches: 16, maxPatches: 60 } : {};
/** Largest difference of logits over the largest logit, between runs that sum in other orders. */
const BOUNDS = { f32: 1e-4, f16: 2e-2 };
const DTYPES = ['f32', 'f16'] as const;

if (quick)
  console.log('quick: no second turn over 3564 positions, 2 conversations, 400 positions with pictures of 60 patches');
const device = await testDevice();
if (device) for (const dtype of DTYPES) if (dtype === 'f32' || device.features.has('shader-f16')) tests(device, dtype);

test.run();

function tests(device: Device, dtype: (typeof DTYPES)[number]): void {
  const load = (options: LoadOptions) => Phi4Vision.load(device, TINY, { dtype, ...options });

  const secondTurn = async () => {
    const prompt = Expected.open(join(TINY, 'expected.safetensors')).prompt('big');
    const model = await load({ context: 4096 });
    const images = await encoded(
      model,
      await Promise.all(prompt.images.map((index) => picture(model, `img${index}.png`))),
    );
    const ids = expandImages(prompt.ids, rowsOf(images), model.config.decoder.vocab);
    assert.is(ids.length, 3564);
    const session = await model.session();
    const first = await flopsOf(() => session.follow(ids, { images }));
    const answer = await run(session, 8);
    const next = concat(ids, Uint32Array.from(answer.tokens), randomIds(1, 40));
    const second = await flopsOf(() => session.follow(next, { images }));
    const share = second / first;
    assert.ok(first > 1e9 && share > 0 && share <= 0.03, `${second} of ${first} flops: ${share}`);
    const fresh = await load({ context: 4096, reuse: false });
    const got = await run(session, 12);
    const again = { images: await encoded(fresh, images) };
    assertSame(await freshRun(fresh, next, 12, again, Uint32Array.from(got.tokens)), got, dtype);
    model.dispose();
    fresh.dispose();
  };
  if (!quick)
    test(
      `${dtype}: a second turn costs its new tokens, 3 % of the first at most, and answers as a fresh run`,
      secondTurn,
    );

  test(`${dtype}: ${CONVERSATIONS} random conversations in any interleaving are as fresh runs of the whole`, async () => {
    const [model, fresh] = [await load({ context: 16_384 }), await load({ context: 4096, reuse: false })];
    const random = new Random(dtype === 'f32' ? 5 : 6);
    const [image] = await encoded(model, [await picture(model, 'img1.png')]);
    const others = await encoded(fresh, [image!]);
    const begin = randomIds(99, 400);
    const talk = async (seed: number) => {
      const withPicture = random.below(3) === 0;
      const rows = expandImages(Int32Array.of(3, -200, 4), [image!.rows], model.config.decoder.vocab);
      let whole = concat(begin.subarray(0, random.below(400)), withPicture ? rows : randomIds(seed, 9));
      const session = await model.session();
      for (let turn = 0; turn < 3; turn++) {
        whole = concat(whole, randomIds(100 * seed + turn, 1 + random.below(150)));
        if (random.below(3) === 0) whole = whole.slice(0, whole.length - random.below(whole.length >> 1));
        await session.follow(whole, { images: [image!] });
        const steps = 1 + random.below(20);
        const got = await run(session, steps, false);
        checks.push({ whole, tokens: got.tokens });
        whole = concat(whole, Uint32Array.from(got.tokens));
      }
      session.dispose();
    };
    const checks: { whole: Uint32Array; tokens: readonly number[] }[] = [];
    for (let at = 0; at < CONVERSATIONS; at += 3) await Promise.all([at, at + 1, at + 2].map(talk));
    for (const { whole, tokens } of checks) {
      // In f16 two runs that sum in other orders may choose differently between near ties: the answer is forced then, and looked at.
      const again = await freshRun(fresh, whole, tokens.length, { images: others }, Uint32Array.from(tokens));
      if (dtype === 'f32') assert.equal(tokens, again.tokens);
      for (const [step, token] of tokens.entries()) {
        assert.ok(again.lead(token, step) <= BOUNDS[dtype], `${again.lead(token, step)}`);
      }
    }
    assert.is(model.engine.pool.available, model.engine.pool.pages);
    model.dispose();
    fresh.dispose();
  });

  test(`${dtype}: ${LONG} positions with five pictures, in chunks of 1024, 333 and 64, are as token by token`, async () => {
    const sizes = [1024, 333, 64, 1];
    const context = LONG + 64;
    const names = slow ? [2, 0, 1, 3, 4] : [3, 1, 0, 1, 3];
    const first = await load({ context });
    const images = await Promise.all(names.map((index) => picture(first, `img${index}.png`)));
    const { vocab } = first.config.decoder;
    first.dispose();
    const marks = expandImages(Int32Array.of(1, ...names.flatMap((_, i) => [-200, 10 + i])), rowsOf(images), vocab);
    const [before, behind] = [Math.floor((LONG - marks.length) / 2), Math.ceil((LONG - marks.length) / 2)];
    assert.ok(before > 0, `${marks.length} positions of pictures`);
    const ids = concat(randomIds(2, before), marks, randomIds(3, behind));
    const runs: Run[] = [];
    for (const chunkRows of sizes) {
      const model = await load({ context, chunkRows, reuse: false });
      const pictures = await encoded(model, images);
      const forced = runs[0] && Uint32Array.from(runs[0].tokens);
      runs.push(await freshRun(model, ids, 6, { images: pictures }, forced));
      for (const each of pictures) each.dispose();
      model.dispose();
    }
    for (const other of runs.slice(1)) assertSame(other, runs[0]!, dtype);
  });

  async function freshRun(
    model: Phi4Vision,
    ids: Uint32Array,
    steps: number,
    options: PrefillOptions,
    forced?: Uint32Array,
  ): Promise<Run> {
    const session = await model.session();
    await session.prefill(ids, options);
    const result = await run(session, steps, true, forced);
    session.dispose();
    return result;
  }

  async function run(session: Session, steps: number, keep = true, forced?: Uint32Array): Promise<Run> {
    const { vocab } = session;
    const logits = keep ? device.tensor('step_logits', [steps, vocab], 'f32') : undefined;
    const tokens: number[] = [];
    const options = { steps, ...(logits && { logits }), ...(forced && { forced }) };
    for await (const { token } of decode(session, options)) tokens.push(token);
    const data = logits ? ((await device.download(logits)).data as Float32Array) : new Float32Array();
    if (logits) device.free(logits.storage);
    return new Run(tokens, data, vocab);
  }
}

/** The model's choices, and the logits of each step. */
class Run {
  constructor(
    readonly tokens: readonly number[],
    readonly logits: Float32Array,
    readonly vocab: number,
  ) {}

  from(step: number): Run {
    return new Run(this.tokens.slice(step), this.logits.subarray(step * this.vocab), this.vocab);
  }

  /** How far a step's largest logit is above a token's, over the largest of all. */
  lead(token: number, step: number): number {
    const row = this.logits.subarray(step * this.vocab, (step + 1) * this.vocab);
    return (Math.max(...row) - row[token]!) / Math.max(...row.map(Math.abs));
  }
}

/** Two runs of the same tokens agree in their logits, and where rounding is small in what they choose. */
function assertSame(got: Run, expected: Run, dtype: keyof typeof BOUNDS): void {
  assert.is(got.logits.length, expected.logits.length);
  const largest = expected.logits.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const error = expected.logits.reduce((most, x, i) => Math.max(most, Math.abs(x - got.logits[i]!)), 0);
  assert.ok(error <= BOUNDS[dtype] * largest, `${error} of ${largest}`);
  if (dtype === 'f32') assert.equal(got.tokens, expected.tokens);
}

async function flopsOf(body: () => Promise<unknown>): Promise<number> {
  const { rows } = await Timeline.record(device!, body);
  return rows.reduce((sum, { flops }) => sum + flops, 0);
}

async function picture(model: Phi4Vision, name: string): Promise<PromptPicture> {
  return new PromptPicture(await patchesOf(model, name, PATCHES));
}

/** The same pictures on a model's device. */
async function encoded(model: Phi4Vision, pictures: readonly PromptPicture[]): Promise<PromptPicture[]> {
  const own = pictures.map(({ patches }) => new PromptPicture(patches));
  await model.encodeImages(own);
  return own;
}

function rowsOf(pictures: readonly PromptPicture[]): number[] {
  return pictures.map(({ rows }) => rows);
}
