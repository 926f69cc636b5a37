import { type Device, openDevice } from '../runtime/index.ts';
import { deviceLine } from './report.ts';

/** Opens the adapter of a bench, and says which it is and why. */
export async function openAdapter(adapter: string | undefined): Promise<Device> {
  const device = await openDevice({ adapter });
  console.log(deviceLine(device));
  return device;
}
