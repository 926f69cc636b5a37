import { DaybreakError, type Device, openDevice } from '../runtime/index.ts';

/** Whether only the cases marked quick run (set by `npm test -- --quick`). */
export const quick = process.env.DAYBREAK_QUICK === '1';

/** Whether every case of the kernels runs with every variant (set by `npm test -- --sweep`). */
export const sweep = process.env.DAYBREAK_SWEEP === '1';

/** A device for a test file, or undefined with a printed SKIP where the machine has none. */
export async function testDevice(): Promise<Device | undefined> {
  try {
    return await openDevice();
  } catch (error) {
    if (!(error instanceof DaybreakError) || process.env.REQUIRE_GPU === '1') throw error;
    console.log(`SKIP ${error.message}`);
    return undefined;
  }
}
