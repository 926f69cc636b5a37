import {
  type Constants,
  canRun,
  type Decision,
  type Device,
  type DispatchStep,
  Graph,
  type HostArray,
  type HostTensor,
  Plan,
  type Storage,
  type Tensor,
  type Variant,
  WgslError,
  widen,
} from '../runtime/index.ts';
import { type Case, type OpSpec, Random, showCase } from './spec.ts';

/** A NaN that no kernel computes. */
const NAN_WORD = 0x7fc0dead;

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
export function runnable(device: Device, spec: OpSpec, c: Case): Variant[] {
  if (lacksF16(device, spec, c)) return [];
  return spec.variants.filter((variant) => canRun(device, variant.kernel) && (spec.applies?.(variant, c) ?? true));
}

/** Whether a case needs shader-f16 and the device has none. */
export function lacksF16(device: Device, spec: OpSpec, c: Case): boolean {
  const needed = spec.needsF16?.(c) ?? Object.values(c).includes('f16');
  return needed && !device.features.has('shader-f16');
}

/** How to plan a case. */
export interface CaseOptions {
  /** See PlanOptions. */
  guardBytes?: number;
  /** Values that replace what the op gives the variant's constants; the grid stays what the op makes it. */
  constants?: Constants;
  /** Tensors on the device to read in place of inputs of their names, and where to write the result. */
  given?: Record<string, Tensor>;
  result?: Storage;
}

/** Records a case, with one variant where it is forced by name; `tensors` makes the tensors that the op reads. */
function record(
  device: Device,
  spec: OpSpec,
  c: Case,
  variant: string | undefined,
  tensors: (g: Graph) => Record<string, Tensor>,
  { constants = {}, result }: CaseOptions = {},
): { graph: Graph; dispatches: DispatchStep[] } {
  const graph = new Graph(device, { variants: variant ? { [spec.name]: variant } : {} });
  graph.output('result', spec.record(graph, tensors(graph), c), result);
  const chosen = graph.decisions.find(({ op }) => op === spec.name)?.variant;
  if (variant && chosen && chosen.name !== variant)
    throw new WgslError(`${spec.name}: variant: expected one that can compute ${showCase(c)}, got '${variant}'`);
  const dispatches = graph.steps.filter((step) => step.kind === 'dispatch');
  const kernel = spec.variants.find(({ name }) => name === variant)?.kernel;
  for (const step of dispatches) if (step.kernel === kernel) step.constants = { ...step.constants, ...constants };
  return { graph, dispatches };
}

/** The dispatches of one case, with one variant where it is forced by name, without any device memory. */
export function recordCase(
  device: Device,
  spec: OpSpec,
  c: Case,
  variant: string | undefined,
  inputs: Record<string, HostTensor>,
  constants: Constants = {},
): DispatchStep[] {
  return record(device, spec, c, variant, inputsOf(inputs), { constants }).dispatches;
}

/** The inputs as a graph's own, which its plan places. */
function inputsOf(inputs: Record<string, HostTensor>) {
  return (g: Graph): Record<string, Tensor> =>
    Object.fromEntries(Object.entries(inputs).map(([name, { shape, dtype }]) => [name, g.input(name, shape, dtype)]));
}

/** What an op decides in a case, with one variant where it is forced by name; undefined for an op without a choice. */
export function decisionOf(
  device: Device,
  spec: OpSpec,
  c: Case,
  variant: string | undefined,
  inputs: Record<string, HostTensor>,
): Decision | undefined {
  return record(device, spec, c, variant, inputsOf(inputs)).graph.decisions.find(({ op }) => op === spec.name);
}

/** The variant that an op uses in a case where none is forced. */
export function chosenVariant(
  device: Device,
  spec: OpSpec,
  c: Case,
  inputs: Record<string, HostTensor>,
): Variant | undefined {
  const { graph, dispatches } = record(device, spec, c, undefined, inputsOf(inputs));
  const used = dispatches.map(({ kernel }) => kernel);
  const decided = graph.decisions.find(({ op }) => op === spec.name)?.variant;
  return decided ?? spec.variants.find(({ kernel }) => used.includes(kernel));
}

/** A plan of one case with one variant forced by name, the device tensors that it reads, and its dispatches. */
export async function planCase(
  device: Device,
  spec: OpSpec,
  c: Case,
  variant: string,
  inputs: Record<string, HostTensor>,
  options: CaseOptions = {},
): Promise<{ plan: Plan; tensors: Record<string, Tensor>; dispatches: DispatchStep[] }> {
  const { guardBytes = 0, given = {} } = options;
  const placed = Object.entries(inputs).map(([name, host]) => [name, given[name] ?? device.upload(host, name)]);
  const tensors: Record<string, Tensor> = Object.fromEntries(placed);
  const { graph, dispatches } = record(device, spec, c, variant, () => tensors, options);
  return { plan: await Plan.create(graph, { guardBytes }), tensors, dispatches };
}

/**
 * Runs a plan of planCase over these tensors whose result is filled with NaN; what is wrong where elements were not written, else empty.
 * An op that writes into one of the tensors, as into a cache, may leave some.
 */
export async function findUnwritten(device: Device, plan: Plan, given: Record<string, Tensor>): Promise<string> {
  const result = plan.outputs.result!;
  if (Object.values(given).some(({ storage }) => storage === result.storage)) return '';
  const words = new Uint32Array(result.storage!.bytes >> 2).fill(NAN_WORD);
  device.write(result.storage!, words);
  const { data } = await device.download(plan.run().result!);
  const left = new Uint32Array(data.buffer, 0, data.byteLength >> 2).reduce(
    (n, word) => n + Number(word === NAN_WORD),
    0,
  );
  return left === 0 ? '' : `${left} of ${words.length} words of the result not written`;
}

/** Runs one case with one variant, buffers filled with NaN and guarded, and compares with the float64 reference. */
export async function verifyCase(
  device: Device,
  spec: OpSpec,
  c: Case,
  variant: string,
  seed = 1,
  constants: Constants = {},
): Promise<Verdict> {
  const inputs = spec.inputs(c, new Random(seed));
  const { graph } = record(device, spec, c, variant, inputsOf(inputs), { constants });
  const plan = await Plan.create(graph, { guardBytes: 256 });
  const { result } = plan.run(inputs);
  const got = await device.download(result!);
  const damaged = await plan.damage();
  plan.dispose();
  const values = got.dtype === 'u32' ? got.data : widen(got.dtype, got.data);
  const difference = compare(values, spec.reference(inputs, c, variant), spec.tolerance(c, variant));
  const problem = damaged.length ? `wrote behind ${damaged.join(', ')}` : difference.problem;
  return { op: spec.name, variant, case: showCase(c), ok: problem === '', ...difference, problem };
}

/**
 * Verdicts of the quick cases that a variant takes part in, or of all its cases where none of them is quick, up to the
 * first that is wrong.
 */
export async function verifyQuick(device: Device, spec: OpSpec, variant: Variant, seed = 1): Promise<Verdict[]> {
  const cases = spec.cases.filter((c) => runnable(device, spec, c).includes(variant));
  const quick = cases.filter((c) => c.quick);
  const verdicts: Verdict[] = [];
  for (const c of quick.length > 0 ? quick : cases) {
    verdicts.push(await verifyCase(device, spec, c, variant.name, seed));
    if (!verdicts.at(-1)!.ok) break;
  }
  return verdicts;
}

function compare(got: HostArray, ref: Float64Array, { atol, rtol }: { atol: number; rtol: number }) {
  let [maxError, maxRef, squares, refSquares, problem] = [0, 0, 0, 0, ''];
  if (got.length !== ref.length) problem = `expected ${ref.length} elements, got ${got.length}`;
  ref.forEach((r, i) => {
    const error = got[i] === r ? 0 : Math.abs(got[i]! - r); // infinities are equal
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
