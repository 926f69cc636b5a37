import { writeFileSync } from 'node:fs';
import { type Device, gpuClock, type HostSpan, type ProfileRow, Timeline } from '../runtime/index.ts';
import { assertWritable, environment } from './report.ts';

/** One entry of the Trace Event Format (Chrome, Perfetto); times in microseconds. */
interface TraceEvent {
  name: string;
  ph: 'X' | 'M' | 'b' | 'e';
  pid: number;
  tid: number;
  ts?: number;
  dur?: number;
  id?: number;
  cat?: string;
  args?: object;
}

const HOST = { pid: 1, tid: 1 };
const GPU = { pid: 1, tid: 2 };

/**
 * Runs `body`; with a file, records it and writes a timeline that ui.perfetto.dev and chrome://tracing open: host encode,
 * submits, uploads, read-backs, and every dispatch with its graph scope. Recording slows the run: every dispatch has a
 * pass of its own.
 */
export async function traced<T>(device: Device, file: string | undefined, body: () => Promise<T>): Promise<T> {
  if (!file) return body();
  assertWritable('--trace', file);
  const { result, spans, rows } = await Timeline.record(device, body);
  const { offset, uncertainty } = await gpuClock(device);
  const metadata = { ...environment(device), clockUncertaintyMicros: uncertainty };
  writeFileSync(file, JSON.stringify({ traceEvents: traceEvents(spans, rows, offset), metadata }));
  console.log(
    `trace: ${file}: ${rows.length} dispatches, ${spans.length} host spans; GPU times placed on the host's clock to ` +
      `within ${Math.ceil(uncertainty)} us; open it in ui.perfetto.dev. Times of this run include the recording.`,
  );
  return result;
}

/** The events of a recording; `offset` places GPU times on the host's clock. */
export function traceEvents(spans: readonly HostSpan[], rows: readonly ProfileRow[], offset: number): TraceEvent[] {
  const name = (track: typeof HOST, text: string): TraceEvent => ({
    name: 'thread_name',
    ph: 'M',
    ...track,
    args: { name: text },
  });
  return [
    name(HOST, 'host'),
    name(GPU, 'gpu'),
    ...spans.flatMap((span, id) => (isWait(span) ? waitEvents(span, id) : [hostEvent(span)])),
    ...rows.map((row) => gpuEvent(row, offset)),
  ];
}

/** Waits overlap other spans and each other. */
function isWait({ name }: HostSpan): boolean {
  return name === 'read back' || name === 'idle';
}

function hostEvent({ name, label, start, micros, bytes }: HostSpan): TraceEvent {
  return { name: `${name} ${label}`, ph: 'X', ...HOST, cat: name, ts: start, dur: micros, args: { bytes } };
}

function waitEvents({ name, label, start, micros, bytes }: HostSpan, id: number): TraceEvent[] {
  const event = { name: `${name} ${label}`, ...HOST, cat: name, id };
  return [
    { ...event, ph: 'b', ts: start, args: { bytes } },
    { ...event, ph: 'e', ts: start + micros },
  ];
}

function gpuEvent({ scope, kernel, start, micros, flops, bytes }: ProfileRow, offset: number): TraceEvent {
  const rates = { 'GFLOP/s': flops / micros / 1e3, 'GB/s': bytes / micros / 1e3 };
  return { name: kernel, ph: 'X', ...GPU, ts: start + offset, dur: micros, args: { scope, flops, bytes, ...rates } };
}
