// tier: any
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Expected } from '../bench/expected.ts';
import { BOUNDS, compareRun } from '../bench/verify.ts';
import { PAGE, ropeTable } from '../kernels/index.ts';
import { Random } from '../kernels/spec.ts';
import { decode, expandImages, type ImageFeatures, Phi4Vision, PromptPicture, type Session } from '../model/index.ts';
import { type Device, Graph, type HostTensor, OutOfMemoryError, Plan, PromptError } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { quick, testDevice } from './gpu.ts';
import { rejects } from './rejects.ts';
import { concat, freshTokens, patchesOf, randomIds, tokensOf } from './sequences.ts';

const expected = Expected.open(join(TINY, 'expected.safetensors'));
if (quick) console.log('quick: prompts text and one, 1 round of conversations, 4 cancelled prompts');
const device = await testDevice();
if (device) tests(device, await Phi4Vision.load(device, TINY));

test.run();

/** A token, its position, and its sequence. */
type Row = readonly [token: number, position: number, sequence: number];

function tests(device: Device, model: Phi4Vision): void {
  const { vocab } = model.config.decoder;
  const fresh = Phi4Vision.load(device, TINY, { reuse: false, context: 4096 });

  test('every prompt of the reference, twice: the second finds the pages of the first', async () => {
    for (let round = 0; round < 2; round++) {
      for (const name of quick ? ['text', 'one'] : ['text', 'one', 'two', 'three', 'big']) await matchesReference(name);
    }
  });

  test('after the first request nothing is made: no plan, no bind group, no buffer', async () => {
    await matchesReference('one');
    const patches = await patchesOf(model, 'img1.png');
    const counts = { createBindGroup: 0, createBuffer: 0, createComputePipelineAsync: 0, createBindGroupLayout: 0 };
    const gpu = device.gpu as unknown as Record<string, (...args: unknown[]) => unknown>;
    const originals = Object.keys(counts).map((name) => [name, gpu[name]!.bind(device.gpu)] as const);
    for (const [name, original] of originals) {
      gpu[name] = (...args) => {
        counts[name as keyof typeof counts]++;
        return original(...args);
      };
    }
    try {
      for (const seed of [1, 2]) {
        const session = await model.session();
        await session.prefill(randomIds(seed, 300));
        assert.is((await tokensOf(session, 5)).length, 5);
        await session.prefill(randomIds(seed + 10, 7));
        assert.is((await tokensOf(session, 5)).length, 5);
        const pixels = { ...patches.pixels, data: patches.pixels.data.map((x) => x * seed * 0.3) } as HostTensor;
        const images = [new PromptPicture({ ...patches, pixels })];
        const ids = expandImages(Int32Array.of(1, -200, 2, 3), [images[0]!.rows], vocab);
        await session.follow(ids, { images, encode: () => model.encodeImages(images) });
        assert.is((await tokensOf(session, 5)).length, 5);
        images[0]!.dispose();
        session.dispose();
      }
    } finally {
      for (const [name, original] of originals) gpu[name] = original;
    }
    assert.equal(counts, {
      createBindGroup: 0,
      createBuffer: 0,
      createComputePipelineAsync: 0,
      createBindGroupLayout: 0,
    });
  });

  test('random conversations in any interleaving are as fresh runs of the whole', async () => {
    const random = new Random(5);
    for (let round = 0; round < (quick ? 1 : 4); round++) {
      const shared = randomIds(round, 40 + random.below(400));
      const chats = [0, 1, 2].map((i) => ({
        turns: [concat(shared, randomIds(100 * round + i, 1 + random.below(200)))],
        fed: [] as number[][],
      }));
      const sessions: Session[] = [];
      for (const { turns } of chats) {
        const session = await model.session();
        await session.prefill(turns[0]!);
        sessions.push(session);
      }
      for (let turn = 0; turn < 3; turn++) {
        const counts = chats.map(() => 1 + random.below(12));
        const answers = await Promise.all(sessions.map((session, i) => tokensOf(session, counts[i]!)));
        for (const [i, chat] of chats.entries()) chat.fed.push(answers[i]!);
        if (turn === 2) break;
        await Promise.all(
          sessions.map((session, i) => {
            const next = randomIds(1000 * round + 10 * turn + i, 1 + random.below(150));
            chats[i]!.turns.push(next);
            return session.prefill(next);
          }),
        );
      }
      for (const session of sessions) session.dispose();
      for (const { turns, fed } of chats) {
        const whole = concat(
          ...turns.flatMap((ids, i) => (i < turns.length - 1 ? [ids, Uint32Array.from(fed[i]!)] : [ids])),
        );
        assert.equal(await freshTokens(fresh, whole, fed.at(-1)!.length), fed.at(-1), `round ${round}`);
      }
    }
  });

  test('the same page behind another beginning is not the same page', async () => {
    const common = randomIds(21, 140);
    for (const seed of [22, 23, 23]) {
      const ids = concat(randomIds(seed, PAGE), common);
      const session = await model.session();
      await session.prefill(ids);
      assert.equal(await tokensOf(session, 6), await freshTokens(fresh, ids, 6));
      session.dispose();
    }
  });

  test('a sequence follows a conversation whose past was changed, at the cost of what is new', async () => {
    const session = await model.session();
    const [ids, next] = [randomIds(11, 333), randomIds(12, 40)];
    await session.follow(ids);
    const answer = await tokensOf(session, 9);
    const done: number[] = [];
    const whole = concat(ids, Uint32Array.from(answer), next);
    await session.follow(whole, { progress: (_, total) => done.push(total) });
    assert.is(done.at(-1), 1 + next.length); // the answer's last token and what is new
    assert.equal(await tokensOf(session, 5), await freshTokens(fresh, whole, 5));
    const changed = concat(ids, Uint32Array.from(answer.slice(0, 4)), randomIds(13, 30));
    await session.follow(changed, { progress: (_, total) => done.push(total) });
    assert.is(done.at(-1), 30);
    assert.equal(await tokensOf(session, 5), await freshTokens(fresh, changed, 5));
    await session.follow(ids.subarray(0, 200), { progress: (_, total) => done.push(total) });
    assert.is(done.at(-1), 1);
    assert.equal(await tokensOf(session, 5), await freshTokens(fresh, ids.subarray(0, 200), 5));
    session.dispose();
  });

  test('log probabilities are those of the logits, the chosen token first', async () => {
    const session = await model.session({ sampling: { temperature: 1, topK: 0, topP: 1, seed: 3 } });
    await session.prefill(randomIds(14, 50));
    const logits = device.tensor('step_logits', [6, vocab], 'f32');
    const decoded = [];
    for await (const token of decode(session, { steps: 6, logits, logProbs: 4 })) decoded.push(token);
    const rows = (await device.download(logits)).data as Float32Array;
    decoded.forEach(({ token, logProbs }, step) => {
      const row = Float64Array.from(rows.subarray(step * vocab, (step + 1) * vocab));
      const shift = Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
      const likeliest = [...row.keys()].sort((a, b) => row[b]! - row[a]! || a - b).slice(0, 4);
      assert.equal(
        logProbs!.map((each) => each.token),
        [token, ...likeliest],
      );
      for (const { token, logProb } of logProbs!) assert.ok(Math.abs(logProb - (row[token]! - shift)) < 1e-5);
    });
    await rejects(
      decode(session, { steps: 1, logProbs: 21 }).next(),
      PromptError,
      /logProbs: expected an integer from 0 to 20, got 21/,
    );
    device.free(logits.storage);
    session.dispose();
  });

  test('the logits of a row have the same bits alone and beside rows of other sequences', async () => {
    // Kernels for any number of rows, as which one runs by itself depends on it.
    const variants = { qkv: 'apart', matmul: 'gemv_register', attention: 'attention_tile', rms_norm: 'rms_norm' };
    const own = await Phi4Vision.load(device, TINY, { context: 2 * PAGE, variants });
    const { decoder, pool } = own.engine;
    const { headDim, ropeTheta } = own.config.decoder;
    const table = device.upload(ropeTable(PAGE, headDim, ropeTheta), 'rope_table');
    /** Runs rows; the logits of one of them. */
    const run = async (rows: readonly Row[], row: number) => {
      const g = new Graph(device, { variants });
      const words = (name: string, shape: number[], data: number[]) => ({
        tensor: g.input(name, shape, 'u32'),
        host: { shape, dtype: 'u32' as const, data: Uint32Array.from(data) },
      });
      const count = rows.length;
      const [tokens, where] = [rows.map(([token]) => token), rows.flatMap(([, ...place]) => place)];
      const [ids, places] = [words('ids', [count], tokens), words('places', [count, 2], where)];
      const tables = words('tables', [2, 1], [0, 1]);
      const state = { pool, ropeTable: table, places: places.tensor, tables: tables.tensor };
      const stream = decoder.layers(g, decoder.embed(g, ids.tensor), state);
      g.output('logits', decoder.logits(g, decoder.finalNorm(g, stream, row)).logits);
      const plan = await Plan.create(g);
      const { logits } = plan.run({ ids: ids.host, places: places.host, tables: tables.host });
      const { data } = await device.download(logits!);
      plan.dispose();
      return new Uint32Array(data.buffer);
    };
    const past = [5, 6, 7, 8, 301, 302].map((token, i): Row => (i < 4 ? [token, i, 0] : [token, i - 4, 1]));
    await run(past, 0);
    const row: Row = [9, 4, 0];
    const alone = await run([row], 0);
    const [another, third]: Row[] = [
      [303, 2, 1],
      [304, 3, 1],
    ];
    assert.equal(await run([another!, row, third!], 1), alone, 'among rows of another');
    assert.equal(await run([row, [10, 5, 0], [11, 6, 0], third!], 0), alone, 'before rows of its own too');
    assert.not.equal(await run([[9, 4, 1]], 0), alone, 'another past gives others');
    device.free(table.storage);
    own.dispose();
  });

  test('a fork goes its own way', async () => {
    const session = await model.session();
    const ids = randomIds(3, 200);
    await session.prefill(ids);
    const fork = session.fork();
    const more = randomIds(4, 30);
    await fork.prefill(more);
    const [own, forked] = await Promise.all([tokensOf(session, 8), tokensOf(fork, 8)]);
    assert.equal(own, await freshTokens(fresh, ids, 8));
    assert.equal(forked, await freshTokens(fresh, concat(ids, more), 8));
    fork.dispose();
    await session.prefill(more);
    assert.equal(await tokensOf(session, 4), await freshTokens(fresh, concat(ids, Uint32Array.from(own), more), 4));
    session.dispose();
  });

  test('a prompt that does not fit the pool is refused, and the one that answers goes on', async () => {
    const small = await Phi4Vision.load(device, TINY, { context: 4 * PAGE });
    const first = await small.session();
    const ids = randomIds(6, 2 * PAGE + 5);
    await first.prefill(ids);
    const answer = decode(first, { steps: 20 });
    const tokens = [(await answer.next()).value!.token];
    const second = await small.session();
    const full = /expected 2 free pages of 128 positions, got 1 of 4: other sequences hold the rest/;
    await rejects(second.prefill(randomIds(7, 2 * PAGE)), OutOfMemoryError, full);
    for await (const { token } of answer) tokens.push(token);
    assert.equal(tokens, await freshTokens(fresh, ids, 20));
    await second.prefill(randomIds(8, PAGE - 5));
    assert.is((await tokensOf(second, 3)).length, 3);
    await rejects(tokensOf(second, 60), OutOfMemoryError, /expected 1 free pages/);
    first.dispose();
    assert.is((await tokensOf(second, 60)).length, 60);
    second.dispose();
    small.dispose();
  });

  test('cancelled at any moment, a session is as before and answers rightly', async () => {
    const session = await model.session();
    const ids = randomIds(9, 100);
    await session.prefill(ids);
    const random = new Random(1);
    for (let i = 0; i < (quick ? 4 : 10); i++) {
      const stop = new AbortController();
      const late = setTimeout(() => stop.abort(new Error('enough')), random.below(40));
      await session
        .prefill(randomIds(20 + i, 1500), { signal: stop.signal, progress: () => i === 0 && stop.abort() })
        .then(
          () => assert.unreachable(),
          () => {},
        )
        .finally(() => clearTimeout(late));
      assert.is(session.promptLength, 100);
    }
    assert.equal(await tokensOf(session, 6), await freshTokens(fresh, ids, 6));
    session.dispose();
  });

  async function matchesReference(name: string): Promise<void> {
    const prompt = expected.prompt(name);
    const images: ImageFeatures[] = [];
    for (const index of prompt.images) images.push(await model.encodeImage(await patchesOf(model, `img${index}.png`)));
    const session = await model.session();
    const rows = images.map((image) => image.rows);
    await session.prefill(expandImages(prompt.ids, rows, vocab), { images });
    for (const run of prompt.runs) {
      const steps = run.tokens.length;
      const logits = device.tensor('step_logits', [steps, vocab], 'f32');
      const tokens: number[] = [];
      for await (const { token } of decode(session, { steps, forced: run.tokens, logits })) tokens.push(token);
      const verdict = compareRun(run, (await device.download(logits)).data as Float32Array, tokens, BOUNDS.f32);
      device.free(logits.storage);
      assert.ok(verdict.ok, `${name} ${run.name}: ${JSON.stringify(verdict)}`);
    }
    session.dispose();
    for (const image of images) image.dispose();
  }
}
