import { type Device, Graph, type HostTensor, type Kernel, Plan, type Tensor, widen } from '../runtime/index.ts';
import { type Case, type OpSpec, Random, showCase } from './spec.ts';

/** How one case of a spec came out on one device with one variant. */
export interface Verdict {
  op: string;
  variant: string;
  case: string;
  ok: boolean;
  /** Largest |got - ref|, and that over the largest |ref|. */
  maxError: number;
  relativeError: number;
  /** What is wrong, in words; empty when ok. */
  problem: string;
}

/** The variants of a spec that a device can run in a case. */
export function runnable(device: Device, spec: OpSpec, c: Case): Kernel[] {
  const able = spec.variants.filter((kernel) => (kernel.needs ?? []).every((f) => device.features.has(f)));
  const needsF16 = spec.needsF16?.(c) ?? Object.values(c).includes('f16');
  return needsF16 && !device.features.has('shader-f16')
    ? []
    : able.filter((kernel) => spec.applies?.(kernel, c) ?? true);
}

/** A plan of one case with one variant forced by name, and the device tensors that it reads. */
export async function planCase(
  device: Device,
  spec: OpSpec,
  c: Case,
  variant: string,
  inputs: Record<string, HostTensor>,
  guardBytes = 0,
): Promise<{ plan: Plan; tensors: Record<string, Tensor> }> {
  const tensors = Object.fromEntries(Object.entries(inputs).map(([name, host]) => [name, device.upload(host, name)]));
  const graph = new Graph(device, { variants: { [spec.name]: variant } });
  graph.output('result', spec.record(graph, tensors, c));
  return { plan: await Plan.create(graph, { guardBytes }), tensors };
}

/** Runs one case with one variant, buffers filled with NaN and guarded, and compares with the float64 reference. */
export async function verifyCase(device: Device, spec: OpSpec, c: Case, variant: string, seed = 1): Promise<Verdict> {
  const inputs = spec.inputs(c, new Random(seed));
  const { plan, tensors } = await planCase(device, spec, c, variant, inputs, 256);
  const { result } = plan.run();
  const got = await device.download(result!);
  const damaged = await plan.damage();
  plan.dispose();
  for (const tensor of Object.values(tensors)) device.free(tensor.storage!);
  const difference = compare(widen(got.dtype, got.data), spec.reference(inputs, c), spec.tolerance(c));
  const problem = damaged.length ? `wrote behind ${damaged.join(', ')}` : difference.problem;
  return { op: spec.name, variant, case: showCase(c), ok: problem === '', ...difference, problem };
}

function compare(got: Float32Array, ref: Float64Array, { atol, rtol }: { atol: number; rtol: number }) {
  let [maxError, maxRef, squares, refSquares, problem] = [0, 0, 0, 0, ''];
  if (got.length !== ref.length) problem = `expected ${ref.length} elements, got ${got.length}`;
  ref.forEach((r, i) => {
    const error = Math.abs(got[i]! - r);
    if (!(error <= atol + rtol * Math.abs(r)) && !problem) problem = `[${i}]: expected ${r}, got ${got[i]}`;
    maxError = Math.max(maxError, error);
    maxRef = Math.max(maxRef, Math.abs(r));
    squares += error * error;
    refSquares += r * r;
  });
  const nmse = squares / Math.max(refSquares, Number.MIN_VALUE);
  if (!problem && nmse > (rtol + atol) ** 2)
    problem = `normalised mean squared error: expected at most ${(rtol + atol) ** 2}, got ${nmse}`;
  return { maxError, relativeError: maxError / Math.max(maxRef, Number.MIN_VALUE), problem };
}
