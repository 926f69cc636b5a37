import { showCase } from '/work/wt/pages/kernels/spec.ts';
import { specs } from '/work/wt/pages/kernels/specs.ts';
import { runnable, verifyCase } from '/work/wt/pages/kernels/verify.ts';
import { openDevice } from '/work/wt/pages/runtime/index.ts';

const device = await openDevice({ adapter: process.argv[2] ?? 'llvmpipe' });
let n = 0,
  bad = 0;
for (const spec of specs.filter((s) => process.argv[3]!.split(',').includes(s.name)))
  for (const c of spec.cases)
    for (const k of runnable(device, spec, c)) {
      try {
        const v = await verifyCase(device, spec, c, k.name);
        n++;
        if (!v.ok) {
          bad++;
          console.log(k.name, showCase(c), v.problem);
        }
      } catch (e) {
        bad++;
        console.log(k.name, showCase(c), String(e).slice(0, 300));
      }
    }
console.log(n, bad);
