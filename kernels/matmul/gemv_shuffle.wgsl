// y[n] = act(sum_k x[k] w[n, k] + bias[n]) + residual[n], for one row and quantised w; see lib/matmul.wgsl for act
// x [1, inner] elem read; w [outs, inner] q4 or q8 in 16-byte words read; bias [all outs] f32 read; residual [1, width] f32
// read; scales [outs, groups] f16 in pairs read; y [1, width] out_elem written from column `first` on
// Grid: one workgroup per 4 LANES columns, folded over x and y. Workgroup memory: none.
// For adapters that run on the CPU: gemv_register, but each of four lanes loads another of four neighbouring vec4 of x and the
// subgroup shuffles them. Four lanes are the smallest subgroup there is; in larger ones each four load the same.
// Source: own. Versions: Gelem/s of weights per 2 cores of CPU time on lavapipe (Mesa 25.0), 1 x 5120 x 7680 q4, group 64
//   gemv_register  4.3 to 4.8; with 8 columns  4.8 to 5.4
//   8 lanes split the words of 16 columns, sums in workgroup memory  5.4 to 7.2, compiles in 3 s
//   index of the shuffle in a loop  4.4 (too long to be unrolled, and a shuffle by a variable is slow)
//   index of the shuffle a literal  7.0 to 8.4 (kept; 7.1 at 1 x 5120 x 35840 and 1 x 17920 x 5120, q8 5.2; SwiftShader 0.78)
//   scales loaded once a group and not once a word  the same
//   8 columns a lane  7.4 to 8.9; shared by 8 lanes  8.4 to 10, wrong in subgroups of 4
enable subgroups;
alias elem = f32;
alias out_elem = f32;
// FORMAT of w: 3 q4, 4 q8. GROUP: columns that share a scale. PADDED: words of quants reach behind a row of x.
// ACTIVATION: 0 none, 1 gelu_tanh, 2 gelu_erf, 3 silu_gate.
const FORMAT: u32 = 3u;
const GROUP: u32 = 32u;
const PADDED: bool = false;
const ACTIVATION: u32 = 0u;
const BIAS: bool = false;
const RESIDUAL: bool = false;
const LANES: u32 = 8u;
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

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_invocation_id) place: u32,
) {
  let col = ((group.x + group.y * groups.x) * LANES + lane) * 4u;
  let cols = columns(col);
  var sums = vec4f();
  for (var k = 0u; k < params.words; k++) {
    let block = load(cols, k);
    for (var q = 0u; q < QUADS; q += 4u) {
      let mine = input(0u, k * QUADS + q + place % 4u);
      sums += subgroupShuffle(mine, 0u) * quad(block, q);
      sums += subgroupShuffle(mine, 1u) * quad(block, q + 1u);
      sums += subgroupShuffle(mine, 2u) * quad(block, q + 2u);
      sums += subgroupShuffle(mine, 3u) * quad(block, q + 3u);
    }
  }
  finish(0u, col, sums);
}
