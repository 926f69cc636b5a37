// y[n] = act(sum_k x[k] w[n, k] + bias[n]) + residual[n], for one row of 8-bit integers; see lib/matmul.wgsl for act
// x [1, 8 blocks] int8 in 16-byte words read; x_scales [1, blocks] of (scale, scaled sum) f32 read; w [outs, inner] q4 or q8
// in 16-byte words read; bias [all outs] f32 read; residual [1, width] f32 read; scales [outs, groups] f16 in pairs read;
// y [1, width] out_elem written from column `first` on
// Grid: one workgroup per 8 columns, folded over x and y. Workgroup memory: none.
// For GPUs: gemv_subgroup with sums that are integers within a block of 32 columns of x and f32 across.
// Source: own. Versions: not yet timed on a GPU; 4.9 to 5.6 Gelem/s of q4 on lavapipe (gemv_dot 5.8), 0.50 on SwiftShader (0.76).
enable subgroups;
alias out_elem = f32;
// FORMAT of w: 3 q4, 4 q8. GROUP: columns that share a scale. ACTIVATION: 0 none, 1 gelu_tanh, 2 gelu_erf, 3 silu_gate.
const FORMAT: u32 = 3u;
const GROUP: u32 = 32u;
const ACTIVATION: u32 = 0u;
const BIAS: bool = false;
const RESIDUAL: bool = false;
const LANES: u32 = 64u;
struct Params {
  rows: u32,
  words: u32,
  outs: u32,
  first: u32,
  width: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x_scales: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read> scales: array<u32>;
@group(0) @binding(6) var<storage, read_write> y: array<out_elem>;
@group(0) @binding(31) var<uniform> params: Params;

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
  let blocks = params.words / WORDS;
  let step = LANES / subgroups; // subgroup_size may be more than what runs, where a driver chooses it per pipeline
  for (var col = turn * 4u; col < params.outs; col += subgroups * count * 4u) {
    let cols = columns(col);
    var sums = vec4f();
    for (var b = lane; b - lane < blocks; b += 2u * step) {
      sums += product(b, cols, blocks) + product(b + step, cols, blocks);
    }
    let total = subgroupAdd(sums);
    if (lane == 0u) {
      finish(0u, col, total);
    }
  }
}

/// The product of block b of x, zero behind its end, and of four columns.
fn product(b: u32, cols: vec4u, blocks: u32) -> vec4f {
  let at = min(b, blocks - 1u);
  return select(vec4f(), products(activations(at), x_scales[at], cols, at), b < blocks);
}
