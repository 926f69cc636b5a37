// y[n] = act(sum_k x[k] w[n, k] + bias[n]) + residual[n], for one row; see lib/matmul.wgsl for act
// x [1, inner] elem read; w [outs, inner] of any format in 16-byte words read; bias [all outs] f32 read; residual [1, width]
// f32 read; scales [outs, groups] f16 in pairs read, of quantised w; y [1, width] out_elem written from column `first` on
// Grid: one workgroup per 4 columns, folded over x and y. Workgroup memory: LANES * 16 bytes = 1 KiB.
// For GPUs: the lanes read 16 LANES consecutive bytes of each of four columns at a time and add up at the end.
// Source: own. Versions: not yet timed on a GPU; 2.8 Gelem/s on lavapipe where gemv_register reaches 4.6; q4
// the same.
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
  for (var k = lane; k < params.words; k += LANES) {
    let block = load(cols, k);
    for (var q = 0u; q < QUADS; q++) {
      sums += input(0u, k * QUADS + q) * quad(block, q);
    }
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
