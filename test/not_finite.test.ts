// tier: gpu
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
  type Session,
  type SessionOptions,
  sampleHost,
} from '../model/index.ts';
import { CheckpointError, f32ToF16, type HostTensor, NotFiniteError, widen } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { testDevice } from './gpu.ts';

const STRAYS = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
/** Ops that choose, whose specs say what they do, and quantize_weights, whose reference refuses. */
const APART = ['advance', 'argmax', 'sample', 'quantize_weights'];

/** Puts a value that is not finite at a random place of a float tensor. */
function damage({ dtype, data }: HostTensor, value: number, random: Random): void {
  const upper = new Uint32Array(Float32Array.of(value).buffer)[0]! >>> 16;
  data[random.below(data.length)] = dtype === 'f32' ? value : dtype === 'f16' ? f32ToF16(value) : upper;
}

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
      for (const c of spec.cases.filter(({ quick, show }) => quick && show !== 'quants')) {
        for (const { name } of runnable(device, spec, c)) {
          const random = new Random(5);
          // The host makes the weights of resize_position; other floats come from files and products.
          const names = Object.entries(spec.inputs(c, random)).filter(([input, { dtype }]) => /f/.test(dtype) && !input.endsWith('Weights'));
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
}

test.run();
