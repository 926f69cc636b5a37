// tier: null
// What RDNA3's compiler makes of the kernels that decode, without a card: instructions of their main loops, and registers.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { specs } from '../kernels/specs.ts';
import { CapabilityError } from '../runtime/index.ts';
import { chooseTarget, compileIsa } from '../tools/isa/compile.ts';
import type { Counts } from '../tools/isa/count.ts';
import { parseCase } from '../tools/op/case_text.ts';

const MATMUL = 'rows=1,inner=5120,outs=7680,group=64,activation=none,bias=false,residual=false,split=0,as=f32';
const ATTENTION =
  'tokens=1,keys=4096,sequences=1,mixed=false,causal=true,heads=40,kvHeads=10,headDim=128,as=f16,kv=f16';
const SILU = MATMUL.replace('7680', '35840').replace('none', 'silu_gate');
const QKV = 'rows=1,inner=5120,group=64,keys=1001,sequences=1,heads=40,kvHeads=10,headDim=128,as=f16,cache=f16,show=q';
const vectors = ({ vector, fma, dot }: Counts) => vector + fma + dot;
const all = (counts: Counts) => vectors(counts) + counts.memory + counts.workgroup;

/** A kernel's busiest loops, the busiest first: what they come to per weight or element, at most; registers at most. */
const BOUNDS = [
  ['matmul/gemv_dot_subgroup', `${MATMUL},weights=q4,from=i8`, [(c: Counts) => vectors(c) / (4 * c.dot)], [0.85], 128],
  ['matmul/gemv_dot_subgroup', `${MATMUL},weights=q8,from=i8`, [(c: Counts) => vectors(c) / (4 * c.dot)], [1.2], 128],
  ...(['q4', 'q8'] as const).map(
    (weights) =>
      [
        'matmul/gemv_dot_subgroup_normed',
        `${MATMUL},weights=${weights},from=i8,norm=true`,
        [(c: Counts) => vectors(c) / (4 * c.dot)],
        [weights === 'q4' ? 0.85 : 1.2],
        128,
      ] as const,
  ),
  ...(['matmul/gemv_dot_subgroup_int8', 'matmul/gemv_dot_subgroup_normed_int8'] as const).map(
    (variant) =>
      [
        variant,
        `${SILU},weights=q4,from=i8,norm=${variant.includes('normed')},show=quants`,
        [(c: Counts) => vectors(c) / (4 * c.dot)],
        [0.85],
        128,
      ] as const,
  ),
  [
    'qkv/gemv_dot_subgroup_normed',
    `${QKV},weights=q4,from=i8,norm=true`,
    [(c: Counts) => vectors(c) / (4 * c.dot)],
    [0.85],
    128,
  ],
  ['matmul/gemv_half', `${MATMUL},weights=q4,from=f16`, [(c: Counts) => vectors(c) / 256], [3.2], 128],
  [
    'attention/attention_decode_subgroup',
    `${ATTENTION},scale=1`,
    [(c: Counts) => all(c) / 128, (c: Counts) => all(c) / 32],
    [5.5, 5.5],
    96,
  ],
] as const;

const jobs = BOUNDS.map(([variant, text]) => {
  const spec = specs.find(({ name }) => name === variant.split('/')[0])!;
  return { op: spec.name, case: parseCase(spec, text), variant };
});
const results = await chooseTarget('navi31')
  .then((target) => compileIsa(jobs, target))
  .catch((error) => {
    if (!(error instanceof CapabilityError)) throw error;
    console.log(`SKIP ${error.message}`);
  });
for (const [i, [variant, text, measures, most, registers]] of BOUNDS.entries()) {
  if (!results) break;
  test(`${variant} ${text}: at most ${most.join(' and ')} instructions, ${registers} registers`, () => {
    const { isa } = results[i]!.find(({ kernel }) => kernel === variant)!;
    const busiest = isa.loops.map(({ counts }) => counts).sort((a, b) => vectors(b) - vectors(a));
    for (const [n, measure] of measures.entries()) {
      const got = measure(busiest[n]!);
      assert.ok(got > 0 && got <= most[n]!, `got ${got}: ${JSON.stringify(busiest[n])}`);
    }
    assert.ok(isa.registers.vector <= registers && isa.subgroupsPerSimd >= 12, JSON.stringify(isa.registers));
    assert.equal([isa.spilled.vector, isa.scratchBytes], [0, 0]);
    const blocks = 5120 / 32; // of x, where the workgroup prepares it, beside some sums
    const bytes = (variant.includes('_normed') ? 36 * blocks + 256 : 0) + (variant.endsWith('_int8') ? 512 : 0);
    if (!variant.startsWith('attention')) assert.ok(isa.workgroupBytes <= bytes, `${isa.workgroupBytes} bytes`);
  });
}

if (results) {
  test('norm and quantising before a product are less than a quarter of its instructions', () => {
    const isaOf = (variant: string) => {
      const at = BOUNDS.findIndex(([name, text]) => name === variant && text.includes('weights=q4'));
      return results[at]!.find(({ kernel }) => kernel === variant)!.isa;
    };
    const [normed, plain] = [isaOf('matmul/gemv_dot_subgroup_normed'), isaOf('matmul/gemv_dot_subgroup')];
    const [loop] = plain.loops.map(({ counts }) => counts).sort((a, b) => vectors(b) - vectors(a));
    const product = (vectors(loop!) / (4 * loop!.dot)) * ((64 * 5120) / 256); // of a lane of 256 with 64 columns
    const before = vectors(normed.counts) - vectors(plain.counts);
    assert.ok(before > 0 && before <= product / 4, `${before} before ${product}`);
  });
}

test.run();
