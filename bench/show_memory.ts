import type { MemoryPlan } from '../model/index.ts';
import { mebibytes } from './report.ts';

/** A plan as lines of text: parts with their MiB and formats, then the most that is in use at once. */
export function showMemoryPlan(plan: MemoryPlan): string {
  const { adapter, positions, patches, available, peaks, peak } = plan;
  const rows = [...plan.weights, ...plan.encoder, ...plan.decoder].map(({ part, bytes, formats }) => {
    const largest = Object.entries(formats).sort(([, a], [, b]) => b - a);
    return [part, bytes, largest.map(([format]) => format).join(', ')] as const;
  });
  const phase = Object.entries(peaks).find(([, bytes]) => bytes === peak)![0];
  const room = available === undefined ? 'WebGPU does not say what the GPU has' : `of ${mebibytes(available)} free`;
  const all = [...rows, ['at most', peak, `${room}, while ${phase}`] as const];
  const lines = all.map(([part, bytes, note]) => `  ${part.padEnd(14)}  ${`${mebibytes(bytes)}`.padStart(6)}  ${note}`);
  return [`memory on ${adapter} for ${positions} positions and ${patches} patches, in MiB`, ...lines].join('\n');
}
