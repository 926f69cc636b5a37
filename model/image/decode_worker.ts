// The worker thread of readImage: decodes the one picture it is given and posts it.
import { parentPort, workerData } from 'node:worker_threads';
import { decodeInThread } from './read_image.ts';

const image = await decodeInThread(workerData);
parentPort!.postMessage(image, [image.data.buffer as ArrayBuffer]);
