// npx tsx /tmp/ab/bench.mts [--check] CASE VARIANTS(comma) [reps]
import { pathToFileURL } from 'node:url';
const root = process.cwd();
const from = (p: string) => import(pathToFileURL(`${root}/${p}`).href);
const { specs } = await from('kernels/specs.ts');
const { Random, showCase } = await from('kernels/spec.ts');
const { planCase, verifyCase } = await from('kernels/verify.ts');
const { openDevice } = await from('runtime/index.ts');
const [text = '', names = '', reps = '9'] = process.argv.slice(2);
const spec = specs.find((s: any) => s.name === 'attention');
const given = Object.fromEntries(text.split(',').filter(Boolean).map((f) => f.split('=')).map(([k, v]) => [k, Number.isNaN(Number(v)) ? (v === 'true' ? true : v === 'false' ? false : v) : Number(v)]));
const base = { tokens: 1, keys: 1, sequences: 1, mixed: false, causal: false, heads: 2, kvHeads: 2, headDim: 24, as: 'f32', kv: 'f32', scale: 1 };
const c = { ...base, ...given };
const device = await openDevice(process.env.ROBUST ? { robustness: process.env.ROBUST === '1' } : {});
const runs: any[] = [];
for (const name of names.split(',')) {
  const [variant, consts = ''] = name.split(':');
  const constants = Object.fromEntries(consts.split(';').filter(Boolean).map((f) => f.split('=')).map(([k, v]) => [k, v === 'true' ? true : v === 'false' ? false : Number(v)]));
  const full = `attention/${variant}`;
  try {
  if (!process.env.NOCHECK) {
    const verdict = await verifyCase(device, spec, c, full, 1, constants);
    if (!verdict.ok) console.log('WRONG', name, verdict.problem, verdict.relativeError);
    else console.log('ok', name, verdict.relativeError.toExponential(2));
  }
  const inputs = spec.inputs(c, new Random(1));
  const t0 = performance.now(); const u0 = process.cpuUsage();
  const { plan } = await planCase(device, spec, c, full, inputs, { constants });
  await device.download(plan.run().result);
  runs.push({ name, plan, first: (() => { const d = process.cpuUsage(u0); return (d.user + d.system) / 1000; })(), cpu: [], wall: [] });
  } catch (e: any) { console.log('FAIL', name, e.message.slice(0, 1500)); }
}
for (let i = 0; i < Number(reps); i++) for (const r of runs) {
  const u = process.cpuUsage(); const t = performance.now();
  r.plan.run(); await device.idle();

  const d = process.cpuUsage(u);
  r.cpu.push((d.user + d.system) / 1000); r.wall.push(performance.now() - t);
}
const med = (a: number[]) => [...a].sort((x, y) => x - y)[a.length >> 1]!;
const flops = spec.flops(c);
console.log(showCase(c));
for (const r of runs) console.log(r.name.padEnd(40), 'cpu ms', med(r.cpu).toFixed(1), 'min', Math.min(...r.cpu).toFixed(1), 'wall', med(r.wall).toFixed(1), 'min', Math.min(...r.wall).toFixed(1), 'GFLOP/cpu s', (flops / med(r.cpu) / 1e6).toFixed(1), 'first', r.first.toFixed(0));
process.exit(0);
