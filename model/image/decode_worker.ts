// The worker thread of readImage: decodes the one picture it is given and posts it.
import { parentPort, workerData } from 'node:worker_threads';
import { decodePicture } from './read_image.ts';

const image = decodePicture(workerData);
parentPort!.postMessage(image, [image.data.buffer as ArrayBuffer]);
