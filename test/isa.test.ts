// tier: null
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { showCase } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { chooseTarget, type DispatchIsa, isaOf } from '../tools/isa/compile.ts';
import { type Counts, type Loop, readIsa } from '../tools/isa/count.ts';
import { parseCase } from '../tools/op/case_text.ts';
import { caseJob, compiledOrSkipped, vectors } from './fixtures/compiled.ts';

const SAMPLE = `Compute Shader
disasm:
BB0:
	s_load_b128 s[4:7], s[0:1], null                            ; f4080100 f8000000
	s_waitcnt lgkmcnt(0)                                        ; bf89fc07
	v_mov_b32_e32 v1, 0                                         ; 7e020280
	v_mov_b32_e32 v1, 0                                         ; 7e020280
	(then repeated 2 times)
BB1:
	buffer_load_b128 v[2:5], v1, s[4:7], 0 offen                ; e05c0000 80410201
	(invalid instruction)                                       ; 7e523987
BB2:
	ds_load_b128 v[6:9], v1                                     ; dbfc0000 06000001
	v_wmma_f32_16x16x16_f16 v[10:17], v[2:9], v[2:9], v[10:17]  ; cc40400a 1c2a0502
	v_dual_mov_b32 v3, v4 :: v_dual_fmac_f32 v5, v6, v7         ; ca000104 03040f06
	v_mad_u32_u24 v1, v2, v3, v4                                ; d5230001 04120702
	s_cbranch_scc1 BB2                                          ; bfa2fff0
BB3:
	s_barrier                                                   ; bfbd0000
	v_dot4_i32_iu8 v1, v2, v3, v1                               ; cc164001 1c060702
	s_cbranch_vccnz BB5                                         ; bfa40003
BB4:
	s_add_i32 s0, s0, 1                                         ; 81008100
	s_branch BB1                                                ; bfa0ffe0
BB5:
	v_fma_f32 v1, v2, v3, v4                                    ; d6130001 04120702
	s_cbranch_scc0 BB5                                          ; bfa1fff0
	s_endpgm                                                    ; bfb00000

*** SHADER STATS ***
SGPRs: 128
VGPRs: 24
Spilled SGPRs: 1
Spilled VGPRs: 2
LDS size: 512
Scratch size: 256
Subgroups per SIMD: 16
Instructions: 19
`;

const NONE: Counts = {
  ...{
    matrix: 0,
    dot: 0,
    fma: 0,
    vector: 0,
    scalar: 0,
    memory: 0,
    workgroup: 0,
    scalarLoads: 0,
    barriers: 0,
    wideLoads: 0,
  },
};

test('reads registers, spills, occupancy, and what stands in each loop', () => {
  const inner = { ...NONE, workgroup: 1, matrix: 1, fma: 1, vector: 1, scalar: 1 };
  const outer = { ...inner, memory: 1, wideLoads: 1, vector: 2, barriers: 1, dot: 1, scalar: 4 };
  const last = { ...NONE, fma: 1, scalar: 1 };
  assert.equal(readIsa(SAMPLE), {
    registers: { vector: 24, scalar: 128 },
    spilled: { vector: 2, scalar: 1 },
    scratchBytes: 256,
    workgroupBytes: 512,
    subgroupsPerSimd: 16,
    instructions: 19,
    counts: { ...outer, scalarLoads: 1, vector: 6, fma: 2, scalar: 5 },
    loops: [
      { place: '1', counts: outer },
      { place: '1.1', counts: inner },
      { place: '2', counts: last },
    ],
  });
  assert.is(readIsa(SAMPLE.replace('VGPRs: 24\n', '')), undefined, 'without statistics');
  assert.is(readIsa(SAMPLE.replaceAll(/^BB.*$/gm, '')), undefined, 'without machine code');
});

/** A bound on the main loop of a kernel: the innermost of those with the most instructions of one kind. */
interface Bound {
  variant: string;
  /** As on the command line of `npm run op`. */
  text: string;
  per: keyof Counts;
  /** What the loop is to be measured in. */
  measure(counts: Counts): number;
  most: number;
  /** Branches that the turns which are counted do not take: see IsaJob. */
  never?: readonly string[];
}

/** At most so many vector and memory instructions for each product of matrices. */
const perProduct = (variant: string, text: string, most: number): Bound => ({
  ...{ variant, text, most, per: 'matrix' },
  measure: (counts) => (vectors(counts) + counts.memory + counts.workgroup) / counts.matrix,
});

/**
 * Of flash attention what a step takes whose keys all rows see, and none of which is so large that sums are rescaled: a first step or two
 * of each run, and of causal rows the last ones, take more.
 */
const perAttentionProduct = (text: string, most: number): Bound => ({
  ...perProduct('attention/attention_matrix', text, most),
  never: ['atomicLoad(&stale) == block', 'base + KEYS > strip_least'],
});

/** At most so many vector and memory instructions for each multiply and add. */
const perFma = (variant: string, text: string, most: number): Bound => ({
  ...{ variant, text, most, per: 'fma' },
  measure: (counts) => (vectors(counts) + counts.memory + counts.workgroup) / counts.fma,
});

/** What is reached, exactly: RDNA3, Mesa 25.0. */
const BOUNDS: Bound[] = [
  perProduct('matmul/matmul_matrix', 'rows=1024,from=f16,weights=half', 68 / 16),
  perProduct('matmul/matmul_matrix', 'rows=1024,from=f16,weights=bf16', 92 / 16),
  perProduct('matmul/matmul_matrix', 'rows=1024,from=f16,weights=q4,group=64', 114 / 16),
  perProduct('matmul/matmul_matrix', 'rows=1024,from=f16,weights=q8,group=64', 119 / 16),
  perProduct('matmul/matmul_matrix:DOWN=2,ACROSS=2', 'rows=64,from=f16,weights=half', 58 / 8),
  perAttentionProduct('tokens=1024,keys=4096,heads=40,kvHeads=10,causal=true,headDim=128,as=f16,kv=f16', 173 / 16),
  perAttentionProduct('tokens=3600,keys=3600,heads=16,kvHeads=16,headDim=72,as=f16', 277 / 20),
  ...Object.entries({ half: 68, bf16: 92, q4: 114, q8: 119 }).map(([weights, count]) =>
    perProduct('qkv/matmul_matrix', `rows=1024,from=f16,as=f16,cache=f16,weights=${weights}`, count / 16),
  ),
  perFma('matmul/matmul_tile', 'rows=1024,from=f16,weights=bf16', 339 / 260),
  perFma('matmul/matmul_tile', 'rows=1024,from=f16,weights=q4,group=64', 374 / 264),
];

const ROPE = specs.find(({ name }) => name === 'rope')!.bench[0]!;

/** Subgroups per SIMD of a kernel for matrix units, to hide the latency of memory. */
const LEAST_SUBGROUPS = 8;

delete process.env.DAYBREAK_ROBUSTNESS; // what a GPU gets by default is counted

function mainLoop(loops: readonly Loop[], per: keyof Counts): Loop | undefined {
  const most = Math.max(...loops.map(({ counts }) => counts[per]));
  return loops.findLast(({ counts }) => counts[per] === most);
}

const bounded = BOUNDS.map(({ variant, text, never }) => ({ ...caseJob(variant, text), never }));
/** Cases that ask for every format of weights and rows, at the sizes of the model, each with all that follows a product. */
const FORMATS = specs
  .filter(({ name }) => name === 'matmul')
  .flatMap((spec) =>
    ['f32', 'bf16', 'half', 'q4', 'q8'].flatMap((weights) =>
      ['f32', 'f16', 'i8']
        .filter((from) => from !== 'i8' || /^q/.test(weights))
        .flatMap((from) =>
          [1, 5, 64].map((rows, i) => {
            const after = ['activation=silu_gate', 'activation=gelu_erf', 'activation=gelu_tanh'][i];
            const text = `rows=${rows},inner=5120,outs=7680,group=64,weights=${weights},from=${from},as=f16,bias=true,residual=true,${after}`;
            return { op: spec.name, case: parseCase(spec, text) };
          }),
        ),
    ),
  );
const HEADS = specs
  .filter(({ name }) => name === 'attention')
  .flatMap((spec) =>
    ['f32', 'f16'].flatMap((as) =>
      ['f32', 'f16'].flatMap((kv) =>
        [
          'causal=true,tokens=1,keys=4096,heads=40,kvHeads=10,headDim=128',
          'causal=true,tokens=64,keys=4096,heads=40,kvHeads=10,headDim=128',
          'causal=false,tokens=3600,keys=3600,heads=16,kvHeads=16,headDim=72',
          'causal=false,tokens=64,keys=64,heads=2,kvHeads=2,headDim=512',
        ].map((text) => ({ op: spec.name, case: parseCase(spec, `${text},as=${as},kv=${kv}`) })),
      ),
    ),
  );
const benched = specs.flatMap(({ name, bench }) => bench.map((c) => ({ op: name, case: c })));
const shapes = [...benched, ...FORMATS, ...HEADS].map((shape) => ({ ...shape, variant: 'all' }));
const results = await compiledOrSkipped([...bounded, ...shapes]);
if (results) {
  const folder = mkdtempSync(join(tmpdir(), 'daybreak-isa-test-'));
  test.after(() => rmSync(folder, { recursive: true }));
  const compiled = results.slice(bounded.length).flatMap((dispatches, i) => {
    const shown = showCase(shapes[i]!.case);
    return dispatches.map((dispatch) => ({ ...dispatch, shown }));
  });

  test('the command prints a table and writes rows', () => {
    const json = join(folder, 'rows.jsonl');
    const tool = fileURLToPath(new URL('../tools/op.ts', import.meta.url));
    const args = ['--import', 'tsx', tool, 'matmul/matmul_tile', 'rows=64,weights=half,from=f16', '--isa', 'navi31'];
    const { stdout, stderr } = spawnSync(process.execPath, [...args, '--json', json], { encoding: 'utf8' });
    const [row] = readFileSync(json, 'utf8').trim().split('\n');
    const { kernel, isa } = JSON.parse(row!) as DispatchIsa;
    assert.is(kernel, 'matmul/matmul_tile', stderr);
    assert.match(stdout, new RegExp(`^ +registers ${isa.registers.vector} vector, .*; ${isa.instructions} inst`, 'm'));
    const { matrix, dot, fma, vector } = isa.loops[0]!.counts;
    assert.match(stdout, new RegExp(`^ +loop 1 +${matrix} +${dot} +${fma} +${vector} `, 'm'));
  });

  test('robustness costs scalar instructions in every loop', async () => {
    const [spec] = specs.filter(({ name }) => name === 'rms_norm');
    const of = async () => (await isaOf('rms_norm', spec!.bench[0]!, 'rms_norm/rms_norm', 'navi31'))[0]!.isa;
    const without = await of();
    process.env.DAYBREAK_ROBUSTNESS = 'on';
    const guarded = await of();
    delete process.env.DAYBREAK_ROBUSTNESS;
    assert.ok(guarded.loops[0]!.counts.scalar > without.loops[0]!.counts.scalar);
  });

  test('what is missing is said', async () => {
    const refusal = (promise: Promise<unknown>) => promise.then(() => 'nothing', String);
    assert.match(await refusal(isaOf('rope', ROPE, 'rope/rope', 'foo')), /'foo' without a card.*choose navi31/);
    assert.match(await refusal(isaOf('rope', { ...ROPE, headDim: 7 }, 'rope/rope', 'navi31')), /rope: .*expected/);
    const env = { ...process.env };
    Object.assign(process.env, { PATH: '', XDG_CACHE_HOME: folder });
    assert.match(await refusal(chooseTarget('navi31')), /expected cc to build layer.c, got: .*install .*gcc/);
    process.env = env;
  });

  for (const [i, { variant, text, per, measure, most }] of BOUNDS.entries()) {
    test(`${variant} ${text}: at most ${most} instructions in the main loop for each ${per}`, () => {
      const dispatch = results[i]!.find(({ kernel }) => kernel === variant.split(':')[0]);
      assert.ok(dispatch, `expected a variant that takes the case`);
      const loop = mainLoop(dispatch.isa.loops, per);
      const got = measure(loop!.counts);
      assert.ok(loop!.counts[per] > 0 && got <= most, `got ${got}: ${JSON.stringify(loop)}`);
    });
  }

  for (const { name, variants } of specs) {
    for (const {
      name: variant,
      kernel: { matrix },
    } of variants) {
      const own = compiled.filter((dispatch) => dispatch.variant === variant);
      if (own.length === 0) continue;
      test(`${variant} spills no register at the shapes of ${name}`, () => {
        for (const { kernel, shown, isa } of own) {
          assert.equal([isa.spilled, isa.scratchBytes], [{ vector: 0, scalar: 0 }, 0], `${kernel} ${shown}`);
          assert.ok(!matrix || isa.subgroupsPerSimd >= LEAST_SUBGROUPS, `${isa.subgroupsPerSimd}: ${kernel} ${shown}`);
        }
      });
    }
  }
}

test.run();
