// tier: any
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Phi4Vision, PromptPicture, processImage, readImage } from '../model/index.ts';
import type { HostTensor } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { quick, testDevice } from './gpu.ts';

/** Largest difference over the largest value. */
const BOUNDS = { f32: 1e-5, f16: 2e-2 };
/** How large pictures are, where not as the model has them. */
const PATCHES = quick ? { minPatches: 16, maxPatches: 100 } : {};

if (quick) console.log('quick: pictures of 100 patches at most');
const device = await testDevice();
if (device) {
  for (const dtype of ['f32', 'f16'] as const) {
    if (dtype === 'f16' && !device.features.has('shader-f16')) continue;

    test(`${dtype}: several pictures in one pass are as each alone, in any order and any number of passes`, async () => {
      const model = await Phi4Vision.load(device, TINY, { dtype, context: 128, reuse: false });
      const { image, vision } = model.config;
      const patches = await Promise.all(
        [0, 1, 2, 3].map(async (i) => {
          const picture = await readImage(join(TINY, `images/img${i}.png`));
          return processImage(picture, { ...image, ...PATCHES, patch: vision.patch });
        }),
      );
      const contents = async (pictures: readonly PromptPicture[]) => {
        await model.encodeImages(pictures);
        const all = await Promise.all(pictures.map(({ features }) => device.download(features!)));
        for (const picture of pictures) picture.dispose();
        return all;
      };
      const alone: HostTensor[] = [];
      for (const each of patches) alone.push(...(await contents([new PromptPicture(each)])));
      for (const order of [
        [0, 1, 2, 3],
        [3, 1, 2, 0],
        [2, 2, 0, 2, 1, 3, 2],
      ]) {
        const packed = await contents(order.map((i) => new PromptPicture(patches[i]!)));
        packed.forEach(({ data }, at) => {
          const expected = alone[order[at]!]!.data as Float32Array;
          const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
          const error = expected.reduce((most, x, i) => Math.max(most, Math.abs(x - (data[i] as number))), 0);
          assert.ok(largest > 0 && error <= BOUNDS[dtype] * largest, `${order}: picture ${at}: ${error} of ${largest}`);
        });
      }
      model.dispose();
    });
  }
}

test.run();
