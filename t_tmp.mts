import { specs } from './kernels/specs.ts';
import { runnable, verifyCase } from './kernels/verify.ts';
import { openDevice } from './runtime/index.ts';
import { showCase } from './kernels/spec.ts';
const device = await openDevice();
const spec = specs.find((s) => s.name === 'matmul')!;
for (const c of [...spec.cases]) for (const k of runnable(device, spec, c)) if (k.matrix) {
  const t=performance.now();
  try { const v = await verifyCase(device, spec, c, k.name); console.log(k.name, showCase(c), v.ok, v.maxError.toExponential(2), v.relativeError.toExponential(2), v.problem, (performance.now()-t).toFixed(0)); } catch (e) { console.log(k.name, showCase(c), String(e).slice(0,500)); }
}
process.exit(0);
