import {
  type DecodedToken,
  decode,
  expandImages,
  type ImageFeatures,
  type Patches,
  type Phi4Vision,
  processImage,
  readImage,
  type Session,
} from '../../model/index.ts';
import type { ExpectedPrompt, ExpectedRun } from '../expected.ts';
import type { PromptSet } from './prompts.ts';

/** Steps where nobody says which tokens to feed. */
const FREE_STEPS = 16;

/** A prompt as the model takes it: its pictures processed, its ids with them expanded. */
export interface PromptInputs {
  patches: readonly Patches[];
  ids: Uint32Array;
}

/** Reads the pictures of a prompt and expands its ids. */
export async function preparePrompt(
  { config }: Phi4Vision,
  { ids, images }: ExpectedPrompt,
  picture: PromptSet['picture'],
): Promise<PromptInputs> {
  const options = { ...config.image, patch: config.vision.patch };
  const patches = await Promise.all(
    images.map(async (index) => processImage(await readImage(picture(index)), options)),
  );
  const counts = patches.map(({ grid }) => grid.rows * grid.cols);
  return { patches, ids: expandImages(ids, counts, config.decoder.vocab) };
}

/** Positions of a prompt and of the longest of its continuations. */
export function capacityOf({ ids }: PromptInputs, { runs }: ExpectedPrompt): number {
  return ids.length + Math.max(...runs.map(stepsOf));
}

/** Steps of a continuation. */
function stepsOf({ tokens }: ExpectedRun): number {
  return tokens.length || FREE_STEPS;
}

/** The features of pictures, encoded one after the other; the caller disposes them. */
export async function encodeAll(model: Phi4Vision, pictures: readonly Patches[]): Promise<ImageFeatures[]> {
  const encoded: ImageFeatures[] = [];
  for (const patches of pictures) encoded.push(await model.encodeImage(patches));
  return encoded;
}

/** Feeds a continuation token by token; where they are to be kept, with the logits of every step, f32 [steps, vocab]. */
export async function feed(session: Session, run: ExpectedRun, keep: boolean, onToken: () => void = () => {}) {
  const { device, vocab } = session;
  const steps = stepsOf(run);
  const logits = keep ? device.tensor('step_logits', [steps, vocab], 'f32') : undefined;
  const decoded: DecodedToken[] = [];
  for await (const token of decode(session, { steps, forced: run.tokens, ...(logits && { logits }) })) {
    decoded.push(token);
    onToken();
  }
  if (!logits) return { decoded };
  const { data } = await device.download(logits);
  device.free(logits.storage);
  return { decoded, logits: data as Float32Array };
}
