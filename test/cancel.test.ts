// tier: any
// alone
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../kernels/spec.ts';
import { Checkpoint, generate, type LoadOptions, loadConfig, Phi4Vision, Processor } from '../model/index.ts';
import type { Device } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { quick, testDevice } from './gpu.ts';

const MOMENTS = quick ? 4 : process.env.DAYBREAK_SLOW === '1' ? 40 : 12;
/** A submit's time, and the time within which to return besides, in milliseconds. */
const [SUBMIT, RETURN] = [50, 50];

const PHASES = ['loading', 'pictures', 'prompt', 'decode'];

const device = await testDevice();
if (device) await tests(device);

test.run();

async function tests(device: Device): Promise<void> {
  const processor = Processor.load(TINY);
  const images = [330, 70].map((size) => ({ width: size, height: 250, data: new Uint8Array(size * 750).fill(size) }));
  const content = `<image>\n<image>\n${'What is the difference? '.repeat(quick ? 20 : 80)}`;
  const prompt = await processor.prepare([{ role: 'user', content }], images, { mode: 'nothink' });
  const [context, maxTokens] = [2048, 40];

  for (const dtype of ['f32', 'f16'] as const) {
    if (dtype === 'f16' && !device.features.has('shader-f16')) continue;

    test(`${dtype}: stopped at ${MOMENTS} moments from loading to the last token, all returns at once and is given back`, async () => {
      const empty = device.memory.current;
      const options: LoadOptions = { dtype, context };
      const model = await Phi4Vision.load(device, TINY, options);
      const { text } = await generate(model, processor, prompt, { maxTokens });
      const full = device.memory.current;
      const random = new Random(7);
      const [latencies, phases] = [[] as number[], new Map<string, number>()];
      for (let i = 0; i < MOMENTS; i++) {
        const stop = new AbortController();
        const { signal } = stop;
        const phase = PHASES[i % PHASES.length]!;
        let [aborted, timer] = [0, undefined as NodeJS.Timeout | undefined];
        const [moment, delay] = [random.below(900) / 1000, random.below(4)];
        const abort = () => {
          aborted = performance.now();
          phases.set(phase, 1 + (phases.get(phase) ?? 0));
          stop.abort();
        };
        /** Stops a little later, once so much of the phase is done. */
        const reached = (what: string, share: number) => {
          if (what === phase && share >= moment) timer ??= setTimeout(abort, delay);
        };
        const progress = (loaded: number, total: number) => reached('loading', loaded / total);
        const loading = Phi4Vision.load(device, TINY, { ...options, signal, progress });
        const other = await loading.catch(() => undefined);
        if (other) {
          let pieces = 0;
          const answer = await generate(other, processor, prompt, {
            maxTokens,
            signal,
            onProgress: (what, done, total) => reached(what, done / total),
            onText: () => reached('decode', pieces++ / maxTokens),
          });
          if (aborted > 0) latencies.push(performance.now() - aborted);
          assert.ok(text.startsWith(answer.text));
          assert.is(other.engine.pool.available, other.engine.pool.pages);
          assert.is((await generate(other, processor, prompt, { maxTokens })).text, text);
          assert.is(device.memory.current, full + full - empty);
          other.dispose();
        } else {
          latencies.push(performance.now() - aborted);
        }
        clearTimeout(timer);
        assert.is(device.memory.current, full);
      }
      assert.is((await generate(model, processor, prompt, { maxTokens })).text, text);
      model.dispose();
      assert.is(device.memory.current, empty);
      latencies.sort((a, b) => a - b);
      const told = `${latencies.length} of ${MOMENTS} (${[...phases].join(' ')}), ms: median ${latencies[latencies.length >> 1]?.toFixed(1)}, most ${latencies.at(-1)?.toFixed(1)}`;
      console.log(`\n${dtype}: ${told}`);
      assert.ok(latencies.length > MOMENTS / 2, told);
      assert.ok(latencies.at(-1)! <= SUBMIT + RETURN, told);
    });
  }

  test('a stop token ends the answer at once', async () => {
    const config = loadConfig(TINY);
    const model = await Phi4Vision.load(device, TINY, { context });
    const ids: number[] = [];
    const session = await model.session();
    await session.prefill(prompt.ids.filter((id) => id < config.decoder.vocab));
    for await (const { token } of session.decode({ steps: 8 })) ids.push(token);
    session.dispose();
    model.dispose();
    const eos = ids.at(-1)!;
    const checkpoint = Checkpoint.open(TINY);
    const stopping = await Phi4Vision.fromSource(
      device,
      { ...config, tokens: { ...config.tokens, eos: [eos] } },
      checkpoint,
      { context },
    );
    const asked = { ...prompt, ids: prompt.ids.filter((id) => id < config.decoder.vocab), pictures: [] };
    const waits: number[] = [];
    for (let i = 0; i < 7; i++) {
      const start = performance.now();
      const answer = await generate(stopping, processor, asked, { maxTokens: 500 });
      const end = performance.now();
      assert.is(answer.finishReason, 'stop');
      assert.is(answer.newTokens, ids.indexOf(eos) + 1);
      const decoding = answer.newTokens > 1 ? ((answer.newTokens - 1) * 1000) / answer.tokensPerSecond : 0;
      waits.push(end - start - answer.ttftMillis - decoding);
    }
    waits.sort((a, b) => a - b);
    assert.ok(waits[3]! < 5, `${waits}`);
    stopping.dispose();
    checkpoint.close();
  });
}
