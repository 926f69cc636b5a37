// tier: any
// alone
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decode, expandImages, Phi4Vision, processImage, readImage } from '../model/index.ts';
import { collectGarbage } from '../runtime/bind_groups.ts';
import { TINY } from './bench.ts';
import { quick, testDevice } from './gpu.ts';

const GENERATIONS = quick ? 80 : 200;
/** Then the drivers and V8 are warm. */
const SETTLED = GENERATIONS / 4;

const device = await testDevice();
if (quick) console.log(`quick: ${GENERATIONS} generations instead of 200`);
if (device) {
  test('memory stays flat over many generations with a picture', async () => {
    // A pool that a few generations fill: a software adapter takes memory when a page is first written.
    const model = await Phi4Vision.load(device, TINY, { context: 1024 });
    const { patch } = model.config.vision;
    const patches = processImage(await readImage(join(TINY, 'images/img1.png')), { ...model.config.image, patch });
    const resident: number[] = [];
    const inUse: number[] = [];
    for (let i = 0; i < GENERATIONS; i++) {
      const image = await model.encodeImage(patches);
      const ids = expandImages(
        Int32Array.of(1, -200, 2 + i, 3),
        [image.features.shape[0]!],
        model.config.decoder.vocab,
      );
      const session = await model.session({ capacity: ids.length + 8 });
      await session.prefill(ids, { images: [image] });
      for await (const _ of decode(session, { steps: 8 }));
      session.dispose();
      image.dispose();
      if ((i + 1) % SETTLED === 0) await collectGarbage(); // else what shows is how long it is put off
      resident.push(process.memoryUsage.rss());
      inUse.push(device.memory.current);
    }
    const [early, late] = [resident[SETTLED - 1]!, resident[GENERATIONS - 1]!];
    console.log(
      `resident MiB after ${SETTLED}: ${Math.round(early / 2 ** 20)}, after ${GENERATIONS}: ${Math.round(late / 2 ** 20)}`,
    );
    assert.is(inUse[GENERATIONS - 1], inUse[0]);
    assert.ok(late <= early * 1.05, `expected at most ${early * 1.05} bytes, got ${late}`);
  });
}

test.run();
