import type { Random } from '../../kernels/spec.ts';
import { DaybreakError, type Device, openDevice } from '../../runtime/index.ts';

/**
 * Runs one case and returns what became of it in a word; a defect is thrown. `note` describes the case before anything
 * can go wrong in it.
 */
export type RunCase = (random: Random, note: (what: string) => void) => Promise<string>;

/** 'ok', or the kind of the DaybreakError that the body ended with; other errors, and unfit messages, are thrown. */
export async function outcome(body: () => unknown): Promise<string> {
  try {
    await body();
    return 'ok';
  } catch (error) {
    if (!(error instanceof DaybreakError)) throw error;
    if (error.message.startsWith('device: ')) throw error;
    if (/\p{Cc}/u.test(error.message) || error.message.length > 4000) {
      throw new Error(`unfit message: ${JSON.stringify(error.message.slice(0, 4000))}`, { cause: error });
    }
    return error.name;
  }
}

/** One of some things. */
export function pick<T>(random: Random, things: readonly T[]): T {
  return things[random.below(things.length)]!;
}

/** Cases for one device, which keeps every pipeline that it has compiled. */
export const CASES_PER_DEVICE = 100;

/** Gives a device for each case, now and then a new one. */
export function devices(): () => Promise<Device> {
  let device: Device | undefined;
  let cases = 0;
  return async () => {
    if (cases++ % CASES_PER_DEVICE === 0) {
      device?.dispose();
      device = await openDevice();
    }
    return device!;
  };
}
