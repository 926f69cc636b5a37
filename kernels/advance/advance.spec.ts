import { type HostTensor, widen } from '../../runtime/index.ts';
import type { OpSpec } from '../spec.ts';
import { advance, variants } from './advance.ts';

type AdvanceCase = {
  capacity: number;
  step: number;
  forcedCount: number;
  /** The tensor that is compared. */
  show: 'history' | 'token' | 'position' | 'step';
  quick?: boolean;
};

const shown = ['history', 'token', 'position', 'step'] as const;
const POSITION = 11;

/** The tail of the decode loop against the same steps on the host. */
export const spec: OpSpec<AdvanceCase> = {
  name: 'advance',
  formula: 'history[s] = choice; token = s < forcedCount ? forced[s] : choice[0]; step = s + 1; position += 1',
  variants,
  cases: [
    ...shown.map((show) => ({ capacity: 7, step: 3, forcedCount: 3, show, quick: true })),
    { capacity: 7, step: 2, forcedCount: 3, show: 'token', quick: true },
    { capacity: 7, step: 7, forcedCount: 7, show: 'history', quick: true },
    ...[0, 6, 7, 9].flatMap((step) =>
      [0, 1, 7].flatMap((forcedCount) => shown.map((show) => ({ capacity: 7, step, forcedCount, show }))),
    ),
    ...shown.map((show) => ({ capacity: 1, step: 0, forcedCount: 1, show })),
    { capacity: 7, step: 7, forcedCount: 8, show: 'token' },
    { capacity: 8, step: 8, forcedCount: 0, show: 'history' },
    { capacity: 4096, step: 4095, forcedCount: 0, show: 'history' },
  ],
  bench: [{ capacity: 4096, step: 0, forcedCount: 0, show: 'token' }],
  inputs: ({ capacity, step, forcedCount }, random) => ({
    choice: random.integers([2], 100352),
    forced: random.integers([capacity], 100352),
    forcedCount: scalar(forcedCount),
    history: random.integers([capacity, 2], 100352),
    token: scalar(5),
    position: scalar(POSITION),
    step: scalar(step),
  }),
  record(g, { choice, forced, forcedCount, history, token, position, step }, { show }) {
    const state = { history: history!, token: token!, position: position!, step: step! };
    advance(g, { choice: choice!, forced: forced!, forcedCount: forcedCount!, ...state });
    return state[show];
  },
  reference({ choice, forced, history }, { capacity, step, forcedCount, show }) {
    const chosen = choice!.data[0]!;
    if (show === 'position') return Float64Array.of(POSITION + 1);
    if (show === 'step') return Float64Array.of(step + 1);
    if (show === 'token') return Float64Array.of(step < Math.min(forcedCount, capacity) ? forced!.data[step]! : chosen);
    const kept = Float64Array.from(widen('u32', history!.data));
    if (step < capacity) kept.set(choice!.data, 2 * step);
    return kept;
  },
  tolerance: () => ({ atol: 0, rtol: 0 }),
};

function scalar(value: number): HostTensor {
  return { shape: [1], dtype: 'u32', data: Uint32Array.of(value) };
}
