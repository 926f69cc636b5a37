// y[n] = act(sum_k x[k] w[n, k] + bias[n]) + residual[n], for one row of 8-bit integers; see lib/matmul.wgsl for act
// x [1, 8 blocks] int8 in 16-byte words read; x_scales [1, blocks] of (scale, scaled sum) f32 read; w [outs, inner] q4 or q8
// in 16-byte words read; bias [all outs] f32 read; residual [1, width] f32 read; scales [outs, groups] f16 in pairs read;
// y [1, width] out_elem written from column `first` on
// Grid: one workgroup per 4 columns, folded over x and y. Workgroup memory: 16 LANES = 1 KiB at most.
// Sums are integers within a block of 32 columns of x and f32 across. The lanes read neighbouring blocks of four columns and
// add up at the end: 64 lanes on GPUs, 8 on adapters that run on the CPU.
// Source: own. Versions: Gelem/s of weights per 2 cores of CPU time on lavapipe (Mesa 25.0), 1 x 5120 x 7680 q4, group 64
//   64 lanes  3.8 to 4.3
//   8 lanes  5.8 to 7.0 (kept; 7.0 at 1 x 17920 x 5120, q8 4.2; SwiftShader 0.76)
//   8 lanes, 16 columns  7.1, compiles in 3 s; a lane owns 4 or 8 columns  6.1
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
var<workgroup> partial: array<vec4f, LANES>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let col = (group.x + group.y * groups.x) * 4u;
  if (col >= params.outs) {
    return;
  }
  let cols = columns(col);
  var sums = vec4f();
  for (var b = lane; b < params.words / WORDS; b += LANES) {
    sums += products(activations(b), x_scales[b], cols, b);
  }
  partial[lane] = sums;
  for (var step = LANES / 2u; step > 0u; step /= 2u) {
    workgroupBarrier();
    if (lane < step) {
      partial[lane] += partial[lane + step];
    }
  }
  if (lane == 0u) {
    finish(0u, col, partial[0]);
  }
}
