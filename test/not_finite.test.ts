// tier: gpu
// nopt
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Case, type OpSpec, Random, showCase } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { planCase, runnable } from '../kernels/verify.ts';
import {
  Checkpoint,
  decode,
  type LoadOptions,
  loadConfig,
  Phi4Vision,
  type SessionOptions,
  sampleHost,
} from '../model/index.ts';
import {
  bf16ToF32,
  CheckpointError,
  DaybreakError,
  f32ToBf16,
  f32ToF16,
  type HostTensor,
  NotFiniteError,
  widen,
} from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { quick, testDevice } from './gpu.ts';
import { rejects } from './rejects.ts';

const STRAYS = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
/** Ops that choose, whose specs say what they do, and quantize_weights, whose reference refuses. */
const APART = ['advance', 'argmax', 'sample', 'quantize_weights'];

/** Puts a value that is not finite at a random place of a float tensor. */
function damage({ dtype, data }: HostTensor, value: number, random: Random): void {
  const stored = dtype === 'f32' ? value : dtype === 'f16' ? f32ToF16(value) : f32ToBf16(value);
  data[random.below(data.length)] = stored;
}

if (quick) console.log('quick: one case of each variant');
const device = await testDevice();
if (device) {
  /** Where the reference of damaged inputs is not finite and the variant's result is. */
  const swallowed = async (spec: OpSpec, c: Case, variant: string, inputs: Record<string, HostTensor>) => {
    const { plan, tensors } = await planCase(device, spec, c, variant, inputs);
    const { dtype, data } = await device.download(plan.run().result!);
    plan.dispose();
    for (const { storage } of Object.values(tensors)) device.free(storage!);
    const got = widen(dtype, data);
    const places = [...spec.reference(inputs, c)].flatMap((value, i) => (Number.isFinite(value) ? [] : [i]));
    return places.filter((i) => Number.isFinite(got[i]));
  };

  for (const spec of specs.filter(({ name }) => !APART.includes(name))) {
    test(`${spec.name}: what is not finite stays so`, async () => {
      const tried = new Set<string>();
      for (const c of spec.cases.filter((each) => each.quick && each.show !== 'quants')) {
        for (const { name } of runnable(device, spec, c)) {
          if (quick && tried.has(name)) continue;
          tried.add(name);
          const random = new Random(5);
          // The host makes the weights of resize_position; other floats come from files and products.
          const names = Object.entries(spec.inputs(c, random)).filter(
            ([input, { dtype }]) => /f/.test(dtype) && input !== 'weights',
          );
          for (const [input] of names) {
            for (const value of STRAYS) {
              const inputs = spec.inputs(c, random);
              damage(inputs[input]!, value, random);
              const lost = await swallowed(spec, c, name, inputs);
              assert.equal(lost.slice(0, 3), [], `${name} ${showCase(c)}: ${value} in ${input} gave finite values`);
            }
          }
        }
      }
    });
  }

  const config = loadConfig(TINY);
  const sampling = { temperature: 1, topK: 0, topP: 1, seed: 3 };
  const PROMPT = [7, 8, 9];

  /** The tiny checkpoint with the bf16 elements of some tensors changed as they are read. */
  const changed = (name: RegExp, change: (value: number, index: number) => number): Checkpoint => {
    const checkpoint = Checkpoint.open(TINY);
    const readInto = checkpoint.readInto.bind(checkpoint);
    checkpoint.readInto = (info, byteOffset, target) => {
      readInto(info, byteOffset, target);
      if (!name.test(info.name)) return;
      const values = new DataView(target.buffer, target.byteOffset, target.byteLength);
      for (let at = 0; at < target.byteLength; at += 2) {
        const value = change(bf16ToF32(values.getUint16(at, true)), (byteOffset + at) / 2);
        values.setUint16(at, f32ToBf16(value), true);
      }
    };
    return checkpoint;
  };

  /** The tokens that a prompt, after a picture of one patch where it has one, is answered with. */
  const answer = async (
    checkpoint: Checkpoint,
    { picture = false, ...options }: LoadOptions & { picture?: boolean } = {},
    session: Partial<SessionOptions> = {},
  ): Promise<number[]> => {
    const model = await Phi4Vision.fromSource(device, config, checkpoint, options);
    const pixels = { shape: [1, 768], dtype: 'f32', data: new Float32Array(768).fill(0.5) } as const;
    const images = picture ? [await model.encodeImage({ grid: { rows: 1, cols: 1 }, pixels, digest: 'grey' })] : [];
    const sequence = await model.session({ capacity: 16, ...session });
    const tokens: number[] = [];
    try {
      await sequence.prefill(Uint32Array.of(...(picture ? [config.decoder.vocab] : []), ...PROMPT), { images });
      for await (const { token } of decode(sequence, { steps: 6 })) tokens.push(token);
      return tokens;
    } catch (error) {
      if (error instanceof DaybreakError) error.message = `after ${tokens.length}: ${error.message}`;
      throw error;
    } finally {
      sequence.dispose();
      for (const image of images) image.dispose();
      model.dispose();
      checkpoint.close();
    }
  };

  const nan = (value: number, index: number) => (index === 0 ? Number.NaN : value);

  if (device.features.has('shader-f16')) {
    test('a product beyond f16 ends the answer, greedy, drawn, quantised, in integers and behind a picture', async () => {
      const large = () => changed(/gate_up/, (value) => value * 2 ** 12);
      const expected =
        /^after 0: decode: token 1: expected 512 finite logits, got \d+ that are not, in f16; load the model in f32$/;
      const floats = { quantize: {}, int8Activations: false };
      for (const options of [{}, floats, { quantize: {}, int8Activations: true }, { picture: true }]) {
        await rejects(answer(large(), { dtype: 'f16', ...options }), NotFiniteError, expected);
        await rejects(answer(large(), { dtype: 'f16', ...options }, { sampling }), NotFiniteError, expected);
      }
      assert.is((await answer(large())).length, 6);
    });
  }

  test('norms that can pass f16 are named as the model loads, the worst of them with what it reaches', async () => {
    const notes = async (name: RegExp, scale: number, dtype: 'f32' | 'f16') => {
      const checkpoint = changed(name, (value, i) => (i === 7 ? scale : value));
      const model = await Phi4Vision.fromSource(device, config, checkpoint, { dtype });
      model.dispose();
      checkpoint.close();
      return model.notes;
    };
    const { hidden } = config.decoder;
    const limit = 65504 / Math.sqrt(hidden);
    const norms = /layers.1.(input|post_attention)_layernorm/;
    assert.equal(await notes(norms, -2 * limit, 'f32'), []);
    if (!device.features.has('shader-f16')) return;
    assert.equal(await notes(norms, -0.99 * limit, 'f16'), []);
    const [first, ...rest] = await notes(norms, -(2 ** 16), 'f16');
    const reach = (2 ** 16 * Math.sqrt(hidden)).toPrecision(3).replace('+', '\\+');
    assert.match(
      first!,
      new RegExp(`^model.layers.1.*norm.weight: .* reach ${reach}, .* 65504 of f16 .so can 1 more.`),
    );
    assert.equal(rest, []);
    assert.match(
      (await notes(/vision_model.*layers.0.layer_norm2.weight/, 2 ** 16, 'f16'))[0]!,
      /layer_norm2.weight: [^(]*$/,
    );
  });

  test('NaN in any weight that a prompt reads ends the answer', async () => {
    const expected =
      /^after 0: decode: token 1: expected 512 finite logits, got \d+ that are not, in f32; is a weight damaged/;
    for (const name of ['norm', 'qkv_proj', 'o_proj', 'gate_up_proj', 'down_proj'])
      await rejects(answer(changed(new RegExp(`layers.1.*${name}.*weight`), nan)), NotFiniteError, expected);
    await rejects(answer(changed(/lm_head/, nan)), NotFiniteError, /got 1 that are not/);
    await rejects(answer(changed(/^model.norm/, nan), {}, { sampling }), NotFiniteError, expected);
    for (const name of [/vision_model.encoder.layers.0.*(weight|bias)$/, /patch_embedding/, /mm_projector.2/])
      await rejects(answer(changed(name, nan), { picture: true }), NotFiniteError, expected);
  });

  test('an infinity in one row of the embedding ends the answer at the token behind that one', async () => {
    const tokens = await answer(Checkpoint.open(TINY));
    const at = tokens.findIndex((token, i) => !PROMPT.includes(token) && tokens.indexOf(token) === i);
    const infinite = (value: number, index: number) =>
      Math.floor(index / config.decoder.hidden) === tokens[at] ? Number.NEGATIVE_INFINITY : value;
    const expected = new RegExp(`^after ${at + 1}: decode: token ${at + 2}: expected 512 finite logits, got`);
    await rejects(answer(changed(/embed_tokens/, infinite)), NotFiniteError, expected);
  });

  test('weights that cannot be quantised are refused as they load, and named', async () => {
    const at = (place: number, wrong: number) => (value: number, index: number) => (index === place ? wrong : value);
    const refuses = (name: RegExp, place: number, wrong: number, message: RegExp) =>
      rejects(answer(changed(name, at(place, wrong)), { quantize: {} }), CheckpointError, message);
    const hint = 'choose another format for it$';
    await refuses(
      /layers.1.mlp.gate_up/,
      20000,
      Number.NaN,
      new RegExp(`layers.1.mlp.gate_up_proj.weight: expected weights from -65504 to 65504 for q4, got NaN; ${hint}`),
    );
    await refuses(/lm_head/, 65535, 66048, new RegExp(`lm_head.weight: expected .* for q8, got 66048; ${hint}`));
    await refuses(/embed_tokens/, 0, Number.NEGATIVE_INFINITY, /got -Infinity/);
  });

  test('the host draws no token from logits that are not finite', () => {
    for (const stray of STRAYS)
      assert.throws(
        () => sampleHost(Float32Array.of(0, 1, stray), sampling, 0.5),
        (e: Error) => e instanceof NotFiniteError && e.message.includes(`got ${stray}`),
      );
  });
}

test.run();
