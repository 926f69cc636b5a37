import { type Device, openDevice } from '../runtime/index.ts';
import { waitGently } from './gentle.ts';
import { printDevice } from './report.ts';

/** Opens the adapter of a bench, says which it is and why, and waits gently where it runs on the CPU. */
export async function openAdapter(adapter: string | undefined): Promise<Device> {
  const device = await openDevice({ adapter });
  printDevice(device);
  waitGently(device);
  return device;
}
