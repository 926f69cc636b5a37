import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Random } from '../../kernels/spec.ts';
import { generate, Phi4Vision, Processor, readImage } from '../../model/index.ts';
import { openDevice } from '../../runtime/index.ts';
import { TINY } from '../bench.ts';
import { mutateBytes, mutateJson } from './mutate.ts';
import { outcome, pick, type RunCase } from './target.ts';

const LENGTH_BYTES = 8;
const CONTEXT = 1024;

/** Mutated model folders, from the files to an answer of two tokens about a picture. */
export async function models(): Promise<RunCase> {
  const device = await openDevice();
  const dir = mkdtempSync(join(tmpdir(), 'daybreak-fuzz-'));
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
  const names = readdirSync(TINY).filter((name) => statSync(join(TINY, name)).isFile() && !name.startsWith('expected'));
  const originals = new Map(names.map((name) => [name, readFileSync(join(TINY, name))]));
  for (const [name, bytes] of originals) writeFileSync(join(dir, name), bytes);
  const picture = await readImage(join(TINY, 'images/img1.png'));
  const messages = [{ role: 'user', content: 'What is <image> this?' }] as const;

  const answer = async () => {
    const processor = Processor.load(dir);
    const prompt = await processor.prepare(messages, [picture], { context: CONTEXT });
    const model = await Phi4Vision.load(device, dir);
    try {
      await generate(model, processor, prompt, { maxTokens: 2 });
    } finally {
      model.dispose();
    }
  };

  return async (random, note) => {
    const changed = new Set([pick(random, names), ...(random.below(5) ? [] : [pick(random, names)])]);
    note([...changed].join(', '));
    for (const name of changed) changeFile(join(dir, name), originals.get(name)!, random);
    const before = device.memory.current;
    try {
      const result = await outcome(answer);
      device.guard('after the case', () => {});
      if (device.memory.current !== before) throw new Error(`${device.memory.current - before} device bytes are lost`);
      return result;
    } finally {
      for (const name of changed) writeFileSync(join(dir, name), originals.get(name)!);
    }
  };
}

function changeFile(path: string, bytes: Buffer, random: Random): void {
  if (random.below(50) === 0) rmSync(path);
  else if (path.endsWith('.safetensors')) writeFileSync(path, changeShard(bytes, random));
  else if (path.endsWith('.json') && random.below(4) > 0) writeFileSync(path, mutateJson(`${bytes}`, random));
  else writeFileSync(path, mutateBytes(bytes, random));
}

/** A shard with another header of the right length, another one of the wrong length, other weights, or any other bytes. */
function changeShard(bytes: Buffer, random: Random): Buffer {
  const start = LENGTH_BYTES + Number(bytes.readBigUInt64LE());
  const header = bytes.subarray(LENGTH_BYTES, start);
  const body = bytes.subarray(start);
  const withHeader = (text: Uint8Array) => {
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeBigUInt64LE(BigInt(text.length));
    return Buffer.concat([length, text, body]);
  };
  switch (random.below(4)) {
    case 0:
      return withHeader(Buffer.from(mutateJson(`${header}`, random)));
    case 1:
      return random.below(2) ? withHeader(mutateBytes(header, random)) : mutateBytes(bytes, random);
    case 2:
      return Buffer.concat([mutateBytes(bytes.subarray(0, start), random), body]);
    default: {
      const changed = mutateBytes(body, random).subarray(0, body.length);
      return Buffer.concat([bytes.subarray(0, start), changed, body.subarray(changed.length)]);
    }
  }
}
