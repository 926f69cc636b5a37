// finish(r, n, sum_k x[r, k] w[n, k]) for one row, see lib/finish*.wgsl
// x [1, inner] elem read; w [outs, inner] of any format in 16-byte words read; scales [outs, groups] f16 in pairs read,
// of quantised w
// Grid: one workgroup per 4 LANES columns, folded over x and y. Workgroup memory: none.
// For adapters that run on the CPU: a lane owns 4 columns, so that every element of x it loads serves four.
// Source: own.
// Versions: Gelem/s of weights per 2 cores of CPU time on lavapipe (Mesa 25.0), 1 x 5120 x 7680 bf16
//   1 column  2.6
//   2 columns  3.7; workgroups of 32 or 64 lanes  3.6
//   4 columns  4.2 to 4.8 (kept; 5.0 at 1 x 5120 x 35840, 5.2 at 1 x 17920 x 5120; SwiftShader 1.0)
//   8 columns  3.0 to 4.0
//   4 columns, x in workgroup memory  2.5
//   q4, 4 columns  4.3 to 4.8; q8  3.6. Of the time, loads of x take 60 %, words of w 30, scales 15, arithmetic 6 (with overlap)
alias elem = f32;
// FORMAT of w: 0 f32, 1 bf16, 2 f16, 3 q4, 4 q8. GROUP: columns that share a scale. PADDED: words of quants reach behind
// a row of x.
const FORMAT: u32 = 1u;
const GROUP: u32 = 32u;
const PADDED: bool = false;
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
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(31) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let col = ((group.x + group.y * groups.x) * LANES + lane) * 4u;
  if (col >= params.outs) {
    return;
  }
  let cols = columns(col);
  var sums = vec4f();
  for (var k = 0u; k < params.words; k++) {
    let block = load(cols, k);
    for (var q = 0u; q < QUADS; q++) {
      sums += input(0u, k * QUADS + q) * quad(block, q);
    }
  }
  finish(0u, col, sums);
}
