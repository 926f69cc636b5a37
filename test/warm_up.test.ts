// tier: gpu
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { warmUp } from '../bench/e2e.ts';
import { decode, joinFeatures, openSynthetic, Phi4Vision, type SyntheticFormat } from '../model/index.ts';
import { type Constants, type Device, DryRunDevice, type Kernel } from '../runtime/index.ts';
import { testDevice } from './gpu.ts';

/** A dry run that notes which pipelines were asked for. */
class Noting extends DryRunDevice {
  readonly compiled = new Set<string>();

  override pipeline(kernel: Kernel, constants?: Constants): ReturnType<Device['pipeline']> {
    this.compiled.add(`${kernel.name} ${JSON.stringify(constants)}`);
    return super.pipeline(kernel);
  }
}

const device = await testDevice();
if (device) {
  for (const onCpu of [true, false]) {
    for (const format of ['bf16', 'int4'] as SyntheticFormat[]) {
      test(`a prompt of the 15B model in ${format} compiles nothing that the warm-up has not, ${onCpu ? 'CPU' : 'GPU'}`, async () => {
        const { config, source } = openSynthetic('15b', format, 1);
        const noting = Object.assign(new Noting(device), { onCpu });
        const model = await Phi4Vision.fromSource(noting, config, source);
        await warmUp(model);
        const warm = new Set(noting.compiled);
        const shape = [1200, config.vision.patch ** 2 * config.vision.channels];
        const pixels = { shape, dtype: 'f32', data: new Float32Array(shape[0]! * shape[1]!) } as const;
        const image = await model.encodeImage({ grid: { rows: 30, cols: 40 }, pixels });
        for (const positions of [1, 70, 1025, 1090]) {
          const session = await model.session({ capacity: 2000 });
          await session.prefill(new Uint32Array(positions), joinFeatures([image]));
          for await (const _ of decode(session, { steps: 2 }));
          session.dispose();
        }
        assert.equal(
          [...noting.compiled].filter((pipeline) => !warm.has(pipeline)),
          [],
        );
      });
    }
  }
}

test.run();
