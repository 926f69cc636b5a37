// tier: null
// What RDNA3's compiler makes of the kernels that decode, without a card: instructions and loads of their main loops, and registers.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Counts, Isa } from '../tools/isa/count.ts';
import { caseJob, compiledOrSkipped, vectors } from './fixtures/compiled.ts';

const MATMUL = 'rows=1,inner=5120,outs=7680,group=64,activation=none,bias=false,residual=false,split=0,as=f32';
const ATTENTION =
  'tokens=1,keys=4096,sequences=1,mixed=false,causal=true,heads=40,kvHeads=10,headDim=128,as=f16,kv=f16,scale=1';
const SILU = MATMUL.replace('7680', '35840').replace('none', 'silu_gate');
const QKV = 'rows=1,inner=5120,group=64,keys=1001,sequences=1,heads=40,kvHeads=10,headDim=128,as=f16,cache=f16,show=q';

/** Vector instructions for each weight of a kernel of dot products of four. */
const perDot = (counts: Counts) => vectors(counts) / (4 * counts.dot);
/** Vector instructions for each of so many weights. */
const perWeight = (weights: number) => (counts: Counts) => vectors(counts) / weights;
/** Instructions for each of so many elements, those of memory too. */
const perElement = (elements: number) => (counts: Counts) =>
  (vectors(counts) + counts.memory + counts.workgroup) / elements;

/** What a loop comes to at most, and how many loads of 16 bytes a turn of it has in flight at least. */
interface LoopBound {
  measure(counts: Counts): number;
  most: number;
  wideLoads: number;
}

/** The busiest loops of a kernel, the busiest first, and its vector registers at most. */
interface Bound {
  variant: string;
  text: string;
  loops: LoopBound[];
  registers: number;
}

const product = (
  variant: string,
  text: string,
  measure: LoopBound['measure'],
  most: number,
  wideLoads: number,
): Bound => ({
  ...{ variant, text, loops: [{ measure, most, wideLoads }], registers: 128 },
});

/** What is reached, exactly: RDNA3, Mesa 25.0. */
const BOUNDS: Bound[] = [
  product('matmul/gemv_dot_subgroup', `${MATMUL},weights=q4,from=i8`, perDot, 206 / 256, 12),
  product('matmul/gemv_dot_subgroup', `${MATMUL},weights=q8,from=i8`, perDot, 108 / 256, 20),
  product('matmul/gemv_dot_subgroup_normed', `${MATMUL},weights=q4,from=i8,norm=true`, perDot, 205 / 256, 8),
  product('matmul/gemv_dot_subgroup_normed', `${MATMUL},weights=q8,from=i8,norm=true`, perDot, 107 / 256, 16),
  product('matmul/gemv_dot_subgroup_int8', `${SILU},weights=q4,from=i8,norm=false,show=quants`, perDot, 206 / 256, 12),
  product(
    'matmul/gemv_dot_subgroup_normed_int8',
    `${SILU},weights=q4,from=i8,norm=true,show=quants`,
    perDot,
    205 / 256,
    8,
  ),
  product('qkv/gemv_dot_subgroup_normed', `${QKV},weights=q4,from=i8,norm=true`, perDot, 205 / 256, 8),
  product('matmul/gemv_half', `${MATMUL},weights=q4,from=f16`, perWeight(256), 602 / 256, 16),
  product('matmul/gemv_half_normed', `${MATMUL},weights=q4,from=f16,norm=true`, perWeight(256), 820 / 256, 40),
  product('matmul/gemv_subgroup_normed', `${MATMUL},weights=bf16,from=f32,norm=true`, perWeight(64), 192 / 64, 16),
  product('matmul/gemv_subgroup_normed', `${MATMUL},weights=q4,from=f32,norm=true`, perWeight(256), 992 / 256, 40),
  {
    variant: 'attention/attention_decode_subgroup',
    text: ATTENTION,
    loops: [
      { measure: perElement(128), most: 663 / 128, wideLoads: 16 },
      { measure: perElement(32), most: 148 / 32, wideLoads: 4 },
    ],
    registers: 96,
  },
];

const busiest = ({ loops }: Isa) => loops.map(({ counts }) => counts).sort((a, b) => vectors(b) - vectors(a));

delete process.env.DAYBREAK_ROBUSTNESS; // what a GPU gets by default is counted
const results = await compiledOrSkipped(BOUNDS.map(({ variant, text }) => caseJob(variant, text)));
for (const [i, { variant, text, loops, registers }] of BOUNDS.entries()) {
  if (!results) break;
  const most = loops.map((bound) => bound.most).join(' and ');
  test(`${variant} ${text}: at most ${most} instructions, ${registers} registers`, () => {
    const { isa } = results[i]!.find(({ kernel }) => kernel === variant)!;
    for (const [n, { measure, most, wideLoads }] of loops.entries()) {
      const counts = busiest(isa)[n]!;
      const got = measure(counts);
      assert.ok(got > 0 && got <= most, `got ${got}: ${JSON.stringify(counts)}`);
      assert.ok(counts.wideLoads >= wideLoads, `loads of 16 bytes: ${counts.wideLoads}`);
    }
    assert.ok(isa.registers.vector <= registers && isa.subgroupsPerSimd >= 12, JSON.stringify(isa.registers));
    assert.equal([isa.spilled.vector, isa.scratchBytes], [0, 0]);
    const prepared = variant.includes('dot_subgroup_normed') ? 36 * (5120 / 32) + 4 * 32 : 0; // x, and a sum of each subgroup
    const outputs = variant.endsWith('_int8') ? 4 * 32 : 0;
    const bytes = 512 * Math.ceil((prepared + outputs) / 512); // as the card gives it
    if (!variant.startsWith('attention')) assert.ok(isa.workgroupBytes <= bytes, `${isa.workgroupBytes} bytes`);
  });
}

if (results) {
  test('norm and quantising before a product are less than a quarter of its instructions', () => {
    const isaOf = (variant: string) => {
      const at = BOUNDS.findIndex((each) => each.variant === variant && each.text.includes('weights=q4'));
      return results[at]!.find(({ kernel }) => kernel === variant)!.isa;
    };
    const [normed, plain] = [isaOf('matmul/gemv_dot_subgroup_normed'), isaOf('matmul/gemv_dot_subgroup')];
    const product = perDot(busiest(plain)[0]!) * ((64 * 5120) / 256); // of a lane of 256 with 64 columns
    const before = vectors(normed.counts) - vectors(plain.counts);
    assert.ok(before > 0 && before <= product / 4, `${before} before ${product}`);
  });
}

test.run();
