import { decode, Phi4Vision } from '../../model/index.ts';
import { lazy } from '../../model/lazy.ts';
import type { Device } from '../../runtime/index.ts';
import { encodeAll, preparePrompt } from '../e2e/inputs.ts';
import { choosePrompts, type PromptSet, TINY } from '../e2e/prompts.ts';
import { summarise } from '../e2e/result.ts';
import { type Phase, runPrompt } from '../e2e/run.ts';
import type { ExpectedPrompt } from '../expected.ts';
import { timed } from '../measure.ts';
import type { Prepared, Unit } from './units.ts';

/** Vision, prefill and a decode step of prompts of the tiny checkpoint, on the wall clock; no names mean all prompts. */
export function promptUnits(device: Device, names: readonly string[]): Unit[] {
  const set = choosePrompts({ folder: TINY, dtype: 'f32' });
  const load = lazy(() => Phi4Vision.load(device, TINY, { dtype: 'f32' }));
  const chosen = set.prompts.filter(({ name }) => names.length === 0 || names.includes(name));
  return chosen.flatMap((prompt) => {
    const check = lazy(async () => checkPrompt(await load(), prompt, set));
    const phases: Phase[] = prompt.images.length > 0 ? ['vision', 'prefill', 'decode'] : ['prefill', 'decode'];
    return phases.map((phase) => ({
      name: phase,
      shape: `prompt=${prompt.name}`,
      clock: 'wall' as const,
      check,
      prepare: async () => preparePhase(await load(), phase, prompt, set),
    }));
  });
}

async function checkPrompt(model: Phi4Vision, prompt: ExpectedPrompt, { picture, check }: PromptSet): Promise<string> {
  const { ok, divergedAt } = summarise(prompt, [await runPrompt(model, prompt, picture, { check, profile: false })]);
  return ok ? '' : `prompt ${prompt.name} diverges from ${divergedAt}`;
}

async function preparePhase(
  model: Phi4Vision,
  phase: Phase,
  prompt: ExpectedPrompt,
  { picture }: PromptSet,
): Promise<Prepared> {
  const { patches, ids } = await preparePrompt(model, prompt, picture);
  const images = await encodeAll(model, patches);
  const { tokens } = prompt.runs[0]!;
  const open = async () => {
    const session = await model.session({ capacity: ids.length + tokens.length });
    const { millis } = await timed(() => session.prefill(ids, { images }));
    return { session, millis };
  };
  const { session } = await open();
  const run: Record<Phase, () => Promise<number>> = {
    async vision() {
      const { result, millis } = await timed(() => encodeAll(model, patches));
      for (const image of result) image.dispose();
      return millis * 1e3;
    },
    async prefill() {
      const { session, millis } = await open();
      session.dispose();
      return millis * 1e3;
    },
    async decode() {
      const arrivals: number[] = [];
      for await (const { at } of decode(session, { steps: tokens.length, forced: tokens })) arrivals.push(at);
      return ((arrivals.at(-1)! - arrivals[0]!) / (arrivals.length - 1)) * 1e3;
    },
  };
  return {
    kernel: phase,
    run: run[phase],
    dispose() {
      session.dispose();
      for (const image of images) image.dispose();
    },
  };
}
