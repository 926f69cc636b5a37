import { Checkpoint, decode, type ImageFeatures, type Phi4Vision } from '../../model/index.ts';
import { type HostTensor, widen } from '../../runtime/index.ts';
import { decoderLayer, logits, rowsOf } from '../full/host_layers.ts';
import { HostWeights } from '../full/host_weights.ts';
import { progressBar } from '../progress.ts';
import { BOUNDS, compareStage, type StageError } from '../verify.ts';
import type { PromptInputs } from './inputs.ts';
import type { PromptSet } from './prompts.ts';

/** Positions of a prompt that are evaluated again on the host. */
const POSITIONS = 64;

/** What each stage of the decoder puts out for all positions, [positions, width]. */
type Stages = Map<string, Float64Array[]>;

/**
 * The first decoder layer, or lm_head, whose values differ from float64 of the same inputs, over a prompt's first positions:
 * the last but one as prefill computes it, the last as a step of decoding does. Empty where none differs.
 */
export async function findLayer(
  model: Phi4Vision,
  inputs: PromptInputs,
  images: readonly ImageFeatures[],
  { folder }: NonNullable<PromptSet['check']>,
): Promise<StageError[]> {
  const stages = await runDecoder(model, inputs.ids.subarray(0, POSITIONS), images);
  const checkpoint = Checkpoint.open(folder);
  const bar = progressBar('float64 on the host');
  try {
    const weights = new HostWeights(checkpoint, model.config);
    const { layers } = model.config.decoder;
    const bound = BOUNDS[model.dtype].stage;
    const last = stages.get('embed')!.length - 1;
    const rows = { prefill: Math.max(last - 1, 0), decode: last };
    for (let layer = 0; layer < layers; layer++) {
      bar.update(layer, layers);
      const x = stages.get(layer === 0 ? 'embed' : `layers.${layer - 1}`)!;
      const y = stages.get(`layers.${layer}`)!;
      const ref = decoderLayer(weights, model.config, layer, x, Object.values(rows));
      for (const [i, [phase, row]] of Object.entries(rows).entries()) {
        const error = compareStage(`layers.${layer} (${phase})`, y[row]!, ref[i]!, bound);
        if (!error.ok) return [error];
      }
    }
    const x = stages.get(`layers.${layers - 1}`)![last]!;
    const head = compareStage('lm_head', stages.get('logits')![0]!, logits(weights, model.config, x), bound);
    return head.ok ? [] : [head];
  } finally {
    bar.stop();
    checkpoint.close();
  }
}

/** Runs all positions but the last at once and the last alone, as a step does; logits are of the last. */
async function runDecoder(model: Phi4Vision, ids: Uint32Array, images: readonly ImageFeatures[]): Promise<Stages> {
  const stages: Stages = new Map();
  const take = (name: string, { shape, dtype, data }: HostTensor) => {
    stages.set(name, [...(stages.get(name) ?? []), ...rowsOf(widen(dtype, data), shape.at(-1)!)]);
  };
  const taps = { wants: () => true, take };
  const session = await model.session();
  try {
    if (ids.length > 1) await session.prefill(ids.subarray(0, -1), { images, taps });
    await session.prefill(ids.subarray(-1), { images, taps });
    const { device, vocab } = model.engine;
    const logits = device.tensor('logits', [1, vocab], 'f32');
    for await (const _ of decode(session, { steps: 1, logits }));
    take('logits', await device.download(logits));
    device.free(logits.storage);
    return stages;
  } finally {
    session.dispose();
  }
}
