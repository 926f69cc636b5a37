// y[n] = act(sum_k x[k] w[n, k] + bias[n]) + residual[n], for one row; see lib/matmul.wgsl for act
// x [1, inner] elem read; w [outs, inner] of any format in 16-byte words read; bias [all outs] f32 read; residual [1, width]
// f32 read; scales [outs, groups] f16 in pairs read, of quantised w; y [1, width] out_elem written from column `first` on
// Grid: one workgroup per 8 columns, folded over x and y. Workgroup memory: none.
// For GPUs: the lanes of a subgroup read neighbouring words of four columns, two steps at once (8 loads of 16 bytes under
// way a lane), and add up at the end: no barrier. All subgroups of the grid take turns at the groups of four columns, the
// first ones of all workgroups before the second ones: of 32 lanes one group each, of 64 lanes two; smaller ones may find
// none left. 5120 columns on 132 processors are 640 small workgroups, all resident at once, at most 5 and 40 KiB under way
// on each. Source: own. Versions: not yet timed on a GPU; 3.0 Gelem/s on lavapipe (gemv 2.6, gemv_register 4.3), 0.57 on
// SwiftShader (0.15, 0.78); q4 3.5, SwiftShader 0.66.
enable subgroups;
alias elem = f32;
alias out_elem = f32;
// FORMAT of w: 0 f32, 1 bf16, 2 f16, 3 q4, 4 q8. GROUP: columns that share a scale. PADDED: words of quants reach behind
// a row of x. ACTIVATION: 0 none, 1 gelu_tanh, 2 gelu_erf, 3 silu_gate.
const FORMAT: u32 = 1u;
const GROUP: u32 = 32u;
const PADDED: bool = false;
const ACTIVATION: u32 = 0u;
const BIAS: bool = false;
const RESIDUAL: bool = false;
const LANES: u32 = 64u;
struct Params {
  rows: u32,
  words: u32,
  quads: u32,
  outs: u32,
  first: u32,
  width: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<elem>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read> scales: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<out_elem>;
@group(0) @binding(31) var<uniform> params: Params;

/// The product of word k of x, zero behind its end, and of four columns.
fn product(k: u32, block: Block) -> vec4f {
  var sums = vec4f();
  for (var q = 0u; q < QUADS; q++) {
    let at = k * QUADS + q;
    sums += select(vec4f(), vec4f(x[min(at, params.quads - 1u)]), at < params.quads) * quad(block, q);
  }
  return sums;
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let count = groups.x * groups.y;
  let turn = group.x + group.y * groups.x + subgroup * count;
  let last = params.words - 1u;
  let step = LANES / subgroups; // subgroup_size may be more than what runs, where a driver chooses it per pipeline
  for (var col = turn * 4u; col < params.outs; col += subgroups * count * 4u) {
    let cols = columns(col);
    var sums = vec4f();
    for (var k = lane; k - lane < params.words; k += 2u * step) {
      let near = load(cols, min(k, last));
      let far = load(cols, min(k + step, last));
      sums += product(k, near) + product(k + step, far);
    }
    let total = subgroupAdd(sums);
    if (lane == 0u) {
      finish(0u, col, total);
    }
  }
}
