import type { Device, HostTensor, Plan } from '../runtime/index.ts';

/** Who looks at stages inside the model: which, by name, and what to do with each as it was computed. */
export interface Taps {
  /** Whether to keep a copy of this stage. */
  wants(name: string): boolean;
  /** Is told the values of a stage that it wants. */
  take(name: string, values: HostTensor): void;
}

/** Hands the stages that a plan kept copies of to who wants them. */
export async function takeTaps(device: Device, plan: Plan, taps: Taps | undefined): Promise<void> {
  for (const [name, tensor] of Object.entries(plan.taps)) taps?.take(name, await device.download(tensor));
}
