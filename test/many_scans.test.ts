// tier: host
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encode } from 'jpeg-js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readImage } from '../model/image/read_image.ts';
import { holdUp } from './hold_up.ts';

const SCANS = 60_000;
/** A quarter of what the decoder takes on this thread. */
const LONGEST_MILLIS = 1000;

/** A small JPEG whose only scan comes again and again. */
function repeatedScan(): Buffer {
  const { data } = encode({ width: 96, height: 96, data: Buffer.alloc(96 * 96 * 4, 77) });
  const scan = data.subarray(data.indexOf(Buffer.of(0xff, 0xda)), -2);
  return Buffer.concat([data.subarray(0, -2), ...Array(SCANS).fill(scan), data.subarray(-2)]);
}

test('a small JPEG of 60,000 scans does not hold up the caller', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'daybreak-'));
  const path = join(folder, 'scans.jpg');
  writeFileSync(path, repeatedScan());
  const { longest, total } = await holdUp(() => readImage(path).catch(() => undefined)); // a decoder may refuse it
  rmSync(folder, { recursive: true });
  assert.ok(longest < LONGEST_MILLIS, `${longest} ms of ${total} ms`);
});

test.run();
