import { PromptError, type Storage, type Tensor } from '../runtime/index.ts';
import type { Session } from './session.ts';

/** Steps submitted before the token of the first of them is awaited. */
const STEPS_AHEAD = 3;

/** How to decode; a forced token replaces the model's choice as the input of the next step. */
export interface DecodeOptions {
  /** Tokens to decode at most. */
  steps: number;
  forced?: Uint32Array;
  /** Logits of every step are copied here, f32 [steps, vocab], where given. */
  logits?: Tensor;
}

/** The model's choice at one step, and when it reached the host (milliseconds of performance.now). */
export interface DecodedToken {
  token: number;
  at: number;
}

/**
 * Decodes after a prefill, a few steps ahead of the tokens it yields; the caller stops by leaving the loop.
 * Throws PromptError where prompt and steps pass the session's capacity, DeviceLostError when the device goes away.
 */
export async function* decode(
  session: Session,
  { steps, forced, logits }: DecodeOptions,
): AsyncGenerator<DecodedToken> {
  const { device, capacity, promptLength } = session;
  if (promptLength + steps - 1 > capacity) {
    throw new PromptError(
      `decode: expected at most ${capacity} positions, got ${promptLength} of prompt and ${steps} steps; allow a longer context`,
    );
  }
  const ring = Array.from({ length: STEPS_AHEAD }, () => device.readbackBuffer(16, 'token'));
  const pending: Promise<DecodedToken>[] = [];
  try {
    for (let step = 0; step < steps; step++) {
      if (pending.length === STEPS_AHEAD) yield await pending.shift()!;
      const encoder = step === 0 ? session.start(forced) : session.step();
      const staging = ring[step % STEPS_AHEAD]!;
      encoder.copyBufferToBuffer(session.history.storage.buffer, step * 4, staging, 0, 4);
      if (logits) copyRow(encoder, session, logits.storage!, step);
      device.guard('decode', () => device.gpu.queue.submit([encoder.finish()]));
      pending.push(readToken(session, staging));
    }
    while (pending.length > 0) yield await pending.shift()!;
  } finally {
    await Promise.allSettled(pending);
    for (const buffer of ring) device.free(buffer);
  }
}

function copyRow(encoder: GPUCommandEncoder, { logits, vocab }: Session, target: Storage, step: number): void {
  encoder.copyBufferToBuffer(logits.storage.buffer, 0, target.buffer, target.offset + step * vocab * 4, vocab * 4);
}

async function readToken({ device }: Session, staging: GPUBuffer): Promise<DecodedToken> {
  const bytes = await device.map(staging);
  const token = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  staging.unmap();
  return { token, at: performance.now() };
}
