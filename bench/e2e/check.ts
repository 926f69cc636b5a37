import { type ImageFeatures, joinFeatures, type Patches, type Phi4Vision, type Taps } from '../../model/index.ts';
import { widen } from '../../runtime/index.ts';
import type { Expected, ExpectedPrompt } from '../expected.ts';
import { type Bounds, compareStage, type StageError } from '../verify.ts';
import type { PromptInputs } from './inputs.ts';
import type { PromptSet } from './prompts.ts';

/** Values of stages by name. */
type Stages = Record<string, Float32Array>;

/** Compares every stage of a prompt that the reference has, in passes of their own: taps cost time. */
export async function checkStages(
  model: Phi4Vision,
  prompt: ExpectedPrompt,
  { patches, ids }: PromptInputs,
  images: readonly ImageFeatures[],
  { expected, bounds }: NonNullable<PromptSet['check']>,
): Promise<StageError[]> {
  const stages: StageError[] = [];
  for (const [i, index] of prompt.images.entries()) {
    stages.push(...(await checkPicture(model, index, patches[i]!, images[i]!, expected, bounds)));
  }
  stages.push({ stage: 'positions', relative: Math.abs(ids.length - prompt.length), ok: ids.length === prompt.length });
  const rows: Stages = {};
  const taps = tapsOf(prompt.name, expected, (name, values) => {
    rows[name] = values.subarray(-model.config.decoder.hidden);
  });
  const session = await model.session({ capacity: ids.length });
  await session.prefill(ids, joinFeatures(images), taps);
  session.dispose();
  stages.push(...compareStages(prompt.name, rows, expected, bounds));
  return stages;
}

/** Compares a picture's stages; pixel values must be equal bit for bit. The encoder's come from a second pass, with taps. */
async function checkPicture(
  model: Phi4Vision,
  index: number,
  patches: Patches,
  image: ImageFeatures,
  expected: Expected,
  bounds: Bounds,
): Promise<StageError[]> {
  const prefix = `img${index}`;
  const encoder: Stages = {};
  const taps = tapsOf(prefix, expected, (name, values) => {
    encoder[name] = values;
  });
  (await model.encodeImage(patches, taps)).dispose();
  const { data } = await model.device.download(image.features);
  return [
    ...compareStages(prefix, { pixel_values: patches.pixels.data as Float32Array }, expected, { stage: 0 }),
    ...compareStages(prefix, { ...encoder, proj: data as Float32Array }, expected, bounds),
  ];
}

/** Taps of what the reference has under a prefix, `vision.` left out of their names. */
function tapsOf(prefix: string, expected: Expected, take: (name: string, values: Float32Array) => void): Taps {
  const short = (name: string) => name.replace('vision.', '');
  return {
    wants: (name) => expected.hasStage(`${prefix}.${short(name)}`),
    take: (name, { dtype, data }) => take(short(name), widen(dtype, data)),
  };
}

/** Compares those of the stages that the reference has as `prefix.stage`, in their order. */
function compareStages(
  prefix: string,
  stages: Stages,
  expected: Expected,
  { stage: bound }: Pick<Bounds, 'stage'>,
): StageError[] {
  return Object.entries(stages).flatMap(([stage, got]) => {
    const ref = expected.stage(`${prefix}.${stage}`);
    return ref ? [compareStage(`${prefix}.${stage}`, got, ref, bound)] : [];
  });
}
