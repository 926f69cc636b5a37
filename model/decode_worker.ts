// The worker thread of readImage: decodes the one picture it is given and posts it.
import { parentPort, workerData } from 'node:worker_threads';
import { decodeJpeg } from './jpeg.ts';
import { decodePng } from './png.ts';
import type { DecodeJob } from './read_image.ts';

const { format, bytes, file } = workerData as DecodeJob;
const image = format === 'png' ? decodePng(bytes, file) : decodeJpeg(bytes, file);
parentPort!.postMessage(image, [image.data.buffer as ArrayBuffer]);
