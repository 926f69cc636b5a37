// tier: null
// How products and attention grow with rows and keys, counted: how many workgroups there are, and what each is told. For times see
// kernels/README.md.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Case, type OpSpec, Random } from '../kernels/spec.ts';
import { specs } from '../kernels/specs.ts';
import { recordCase, runnable } from '../kernels/verify.ts';
import { openDevice } from '../runtime/index.ts';

const device = await openDevice({ adapter: 'null' });

/** Workgroups of a case, and what each of them has besides: constants and parameters but those named. */
function dispatched(spec: OpSpec, c: Case, variant: string, sizes: readonly string[]) {
  const [step] = recordCase(device, spec, c, variant, spec.inputs(c, new Random(1)));
  const [x, y = 1, z = 1] = step!.workgroups;
  const { kernel, constants } = step!;
  const params = Object.entries(step!.params ?? {}).filter(([name]) => !sizes.includes(name));
  return { workgroups: x * y * z, same: { kernel: kernel.name, constants, params: Object.fromEntries(params) } };
}

/** Asserts that the longer case has no more workgroups than in proportion, but for one more strip each, and none has more to do. */
function growsInProportion(
  spec: OpSpec,
  [short, long]: [Case, Case],
  rows: string,
  strips: number,
  ...sizes: string[]
) {
  const fitting = runnable(device, spec, long).filter((each) => runnable(device, spec, short).includes(each));
  assert.ok(fitting.length > 1);
  for (const { name } of fitting) {
    const [few, many] = [short, long].map((c) => dispatched(spec, c, name, [rows, ...sizes])) as [
      ReturnType<typeof dispatched>,
      ReturnType<typeof dispatched>,
    ];
    const most = (few.workgroups * Number(long[rows])) / Number(short[rows]) + strips;
    assert.ok(many.workgroups <= most, `${name}: expected at most ${most} workgroups, got ${many.workgroups}`);
    assert.equal(many.same, few.same, name);
  }
}

const specOf = (op: string) => specs.find(({ name }) => name === op)!;

for (const [weights, from] of [
  ['bf16', 'f32'],
  ['half', 'f16'],
  ['q4', 'f16'],
  ['q4', 'i8'],
] as const) {
  test(`a product of ${weights} and rows of ${from} grows with the rows, from 64 to 4096`, () => {
    const spec = specOf('matmul');
    const of = (rows: number): Case => ({ ...spec.bench[0]!, rows, inner: 64, outs: 128, weights, from, group: 64 });
    growsInProportion(spec, [of(64), of(4096)], 'rows', 0);
  });
}

for (const as of ['f32', 'f16'])
  for (const causal of [false, true]) {
    test(`${causal ? 'causal ' : ''}attention in ${as} grows with rows times keys, from 256 to 3600`, () => {
      const spec = specOf('attention');
      const heads = 2;
      const shape = { ...spec.bench.find((c) => c.causal === causal)!, heads, kvHeads: heads, as, kv: as };
      const of = (n: number): Case => ({ ...shape, tokens: n, keys: n });
      // What is left is the loop over keys, `base += KEYS` up to `len` in each kernel; a table of pages has as many as the keys take.
      growsInProportion(spec, [of(256), of(3600)], 'tokens', heads, 'len', 'pages');
    });
  }

test.run();
