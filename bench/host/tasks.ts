import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { encode } from 'jpeg-js';
import { patchify, processImage, resizeBilinear, targetSize } from '../../model/image/patches.ts';
import { type Message, type Phi4Vision, type Processor, type RgbImage, readImage } from '../../model/index.ts';
import { type Device, Plan } from '../../runtime/index.ts';

/** Work of the host, and its size in words. */
export interface HostTask {
  what: string;
  run(): unknown;
}

/** Tasks by name, and how to clean up behind them. */
export interface HostTasks {
  tasks: Record<string, HostTask>;
  dispose(): void;
}

/** Names of the tasks of pictureTasks and textTasks, which need no device, and of deviceTasks. */
export const HOST_TASKS = ['tokenise', 'template', 'png', 'jpeg', 'resize', 'patchify', 'photo'] as const;
export const DEVICE_TASKS = ['record', 'plan', 'encode'] as const;

const POSITIONS = 256;
const JPEG_QUALITY = 85;
const PICTURE = fileURLToPath(new URL('../cases/pictures/page.png', import.meta.url));
const TEXT =
  `The ferry left at 07:45, twelve minutes late, and everyone on deck was watching the fog lift off the harbour.
"Third time this week," said the engineer; she had counted. Between 1839 and 1912 the crossing took 2.5 hours, today 55 min.
Für Gäste: Frühstück ab 6 Uhr, naïve café crème 3,80 €. const total = items.reduce((sum, { price }) => sum + price, 0);
`.repeat(6);

/** What happens to text and pictures before the device sees them. */
export async function hostTasks(processor: Processor): Promise<HostTasks> {
  const { tokenizer, template, config } = processor;
  const messages: Message[] = [{ role: 'user', content: `<image>\n${TEXT}` }];
  const picture = await readImage(PICTURE);
  const { width, height } = picture;
  const { patch } = config.vision;
  const size = targetSize(height, width, { ...config.image, patch });
  const resized = resizeBilinear(picture, size.height, size.width);
  const tokens = tokenizer.encode(TEXT).length;
  const folder = mkdtempSync(join(tmpdir(), 'daybreak-host-'));
  const jpeg = join(folder, 'picture.jpg');
  writeFileSync(jpeg, toJpeg(picture));
  const pixels = `${width} x ${height}`;
  const photo = { width: 4000, height: 3000, data: new Uint8Array(4000 * 3000 * 3).fill(77) };
  const tasks: Record<(typeof HOST_TASKS)[number], HostTask> = {
    tokenise: { what: `${TEXT.length} characters to ${tokens} tokens`, run: () => tokenizer.encode(TEXT) },
    template: { what: 'one message to a prompt', run: () => template.render(messages) },
    png: { what: `${bytesOf(PICTURE)} bytes to ${pixels} pixels`, run: () => readImage(PICTURE) },
    jpeg: { what: `${bytesOf(jpeg)} bytes to ${pixels} pixels`, run: () => readImage(jpeg) },
    resize: {
      what: `${pixels} pixels to ${size.width} x ${size.height}`,
      run: () => resizeBilinear(picture, size.height, size.width),
    },
    patchify: {
      what: `${size.width} x ${size.height} pixels to patches of ${patch}`,
      run: () => patchify(resized, patch),
    },
    photo: {
      what: `${photo.width} x ${photo.height} pixels to patches of ${patch} and their digest`,
      run: () => processImage(photo, { ...config.image, patch }),
    },
  };
  return { tasks, dispose: () => rmSync(folder, { recursive: true }) };
}

/** What happens on the host before the device computes; pipelines are compiled beforehand. */
export async function deviceTasks(model: Phi4Vision): Promise<HostTasks> {
  const { device, engine } = model;
  const record = () => engine.recordChunk(POSITIONS);
  const graph = record();
  const plan = async () => {
    (await Plan.create(graph)).dispose();
    device.reclaim();
  };
  await plan();
  const { step } = await engine.decodePlans(false);
  const dispatches = `${graph.steps.length} dispatches`;
  const tasks: Record<(typeof DEVICE_TASKS)[number], HostTask> = {
    record: { what: `a prefill of ${POSITIONS} positions, ${dispatches}`, run: record },
    plan: { what: `memory and bind groups of these ${dispatches}`, run: plan },
    encode: { what: 'the commands of one decode step', run: () => encodeStep(device, step) },
  };
  return { tasks, dispose: () => {} };
}

function encodeStep(device: Device, step: Plan): void {
  const encoder = device.gpu.createCommandEncoder();
  step.setScalars({ keys: POSITIONS });
  step.encode(encoder);
  encoder.finish();
}

function toJpeg({ width, height, data }: RgbImage): Buffer {
  const rgba = Buffer.alloc(width * height * 4, 255);
  for (let from = 0, to = 0; from < data.length; from += 3, to += 4) rgba.set(data.subarray(from, from + 3), to);
  return encode({ width, height, data: rgba }, JPEG_QUALITY).data;
}

function bytesOf(path: string): number {
  return statSync(path).size;
}
