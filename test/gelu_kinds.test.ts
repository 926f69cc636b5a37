// tier: gpu
// nopt
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../kernels/spec.ts';
import { Checkpoint, loadConfig, Phi4Vision, processImage, type TensorSource } from '../model/index.ts';
import { narrow, widen } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { testDevice } from './gpu.ts';

const device = await testDevice();

const FC1 = 'model.vision_tower.vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight';
const FIRST = 'model.mm_projector.0.weight';
const SECOND = 'model.mm_projector.2.weight';
/** So many times larger weights spread what GELU takes over its whole curve. */
const SCALE = 30;

/** The least values of both GELUs, near -0.75, where they differ by 7e-5. */
const LEAST = { tanh: -0.1700408, erf: -0.1699712 };

/** The tiny checkpoint with the elements of some tensors changed, given their shape. */
function edited(
  edits: Record<string, (value: number, index: number, shape: readonly number[]) => number>,
): TensorSource {
  const checkpoint = Checkpoint.open(TINY);
  const changed = new Map(
    Object.entries(edits).map(([name, edit]) => {
      const { dtype, shape, data } = checkpoint.read(name);
      const values = widen(dtype, data).map((value, i) => edit(value, i, shape));
      return [name, new Uint8Array(narrow(dtype as 'bf16', values).buffer)];
    }),
  );
  const readInto: TensorSource['readInto'] = (info, byteOffset, target) => {
    const bytes = changed.get(info.name);
    if (bytes) target.set(bytes.subarray(byteOffset, byteOffset + target.byteLength));
    else checkpoint.readInto(info, byteOffset, target);
  };
  return Object.assign(Object.create(checkpoint), { readInto });
}

if (device) {
  test('the encoder has GELU by tanh, the projector GELU by erf', async () => {
    const source = edited({
      [FC1]: (value) => value * SCALE,
      [FIRST]: (value) => value * SCALE,
      [SECOND]: (_, i, shape) => Number(i % (shape[1]! + 1) === 0), // hands the first one's result on
      [SECOND.replace('weight', 'bias')]: () => 0,
    });
    const model = await Phi4Vision.fromSource(device, loadConfig(TINY), source);
    const { patch } = model.config.vision;
    const data = Uint8Array.from(new Random(1).tensor([320 * 320 * 3]).data, (value) => 128 + 40 * value);
    const patches = processImage({ width: 320, height: 320, data }, { ...model.config.image, patch });
    let wide = new Float32Array();
    const image = await model.encodeImage(patches, {
      wants: (name) => name === 'vision.layers.0.fc1',
      take: (_, values) => {
        wide = values.data as Float32Array<ArrayBuffer>;
      },
    });
    const projected = (await device.download(image.features)).data as Float32Array;
    const least = (values: Float32Array) => values.reduce((a, b) => Math.min(a, b));
    assert.ok(Math.abs(least(wide) - LEAST.tanh) < 1e-5, `${least(wide)}`);
    assert.ok(Math.abs(least(projected) - LEAST.erf) < 1e-5, `${least(projected)}`);
    image.dispose();
    model.dispose();
    source.close();
  });
}

test.run();
