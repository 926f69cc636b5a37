// y[r, i] = w[i] * x[s, i] / sqrt(mean_i(x[s, i]^2) + EPS), s = start + r; all 4 elements at a time, COLS a multiple of 4
// x [start + rows, COLS] f32 read; w [COLS] f32 read; y [rows, COLS] elem written
// Grid: one workgroup per row, folded over x and y. Workgroup memory: WG * 4 bytes.
// Source: Zhang and Sennrich 2019, arXiv 1910.07467.
// Versions, 512 x 5120, time over that of rms_norm.wgsl, lavapipe (Mesa 25.0, 8 lanes) | SwiftShader (4 lanes), CPU time alike:
//   WG 32: 0.52 | 0.46; WG 64 (this): 0.59 | 0.62; WG 256: 0.85 | 2.8
// One row: WG 32: 0.80 | 0.58, WG 256: 1.15 | 1.8, all below 0.3 ms. Few long rows have 256 lanes all the same, for GPUs, where
// one row is a matter of latency: 5 loads one after another and not 20. Not measured on a GPU.
enable subgroups;
alias elem = f32;
const COLS: u32 = 128u;
const EPS: f32 = 1e-5f;
const WG: u32 = 64u;
struct Params {
  rows: u32,
  start: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<elem>>;
@group(0) @binding(31) var<uniform> params: Params;

const QUADS = COLS / 4u;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_invocation_id) place: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) {
    return;
  }
  let source = (params.start + row) * QUADS;
  var sum = 0.0;
  for (var i = lane; i < QUADS; i += WG) {
    let v = x[source + i];
    sum += dot(v, v);
  }
  let scale = inverseSqrt(sum_lanes(place, subgroup, subgroups, sum) / f32(COLS) + EPS);
  for (var i = lane; i < QUADS; i += WG) {
    y[row * QUADS + i] = vec4<elem>(w[i] * (x[source + i] * scale));
  }
}
