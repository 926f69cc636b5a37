// tier: any
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Checkpoint, loadConfig, Phi4Vision, type TensorSource } from '../model/index.ts';
import { CheckpointError } from '../runtime/index.ts';
import { TINY } from './bench.ts';
import { testDevice } from './gpu.ts';
import { rejects } from './rejects.ts';

const device = await testDevice();
const checkpoint = Checkpoint.open(TINY);
test.after(() => checkpoint.close());

/** The tiny checkpoint without some tensors, which counts how often it is read. */
function without(names: RegExp): TensorSource & { reads: number } {
  const tensors = new Map([...checkpoint.tensors].filter(([name]) => !names.test(name)));
  const read = function (this: { reads: number }) {
    this.reads++;
    throw new Error('read');
  };
  return Object.assign(Object.create(checkpoint), { tensors, reads: 0, readInto: read, read });
}

if (device) {
  const refuses = async (names: RegExp, message: RegExp) => {
    const source = without(names);
    const before = device.memory.current;
    await rejects(Phi4Vision.fromSource(device, loadConfig(TINY), source), CheckpointError, message);
    assert.is(source.reads, 0);
    assert.is(device.memory.current, before);
  };

  test('all tensors that are missing are named before one is read', async () => {
    await refuses(/^lm_head/, /lm_head\.weight: expected a tensor, got nothing/);
    await refuses(
      /^lm_head|^model\.norm/,
      /tensors: expected all of \d+, got no model\.norm\.weight, lm_head\.weight;/,
    );
    await refuses(/_proj\.weight$/, /got no (\S+, ){8}\d+ more; is a shard missing\?/);
  });
}

test.run();
