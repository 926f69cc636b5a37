// y[r, i] = w[i] * x[s, i] / sqrt(mean_i(x[s, i]^2) + EPS), s = start + r
// x [start + rows, COLS] f32 read; w [COLS] f32 read; y [rows, COLS] elem written
// Grid: one workgroup per row, folded over x and y. Workgroup memory: WG * 4 bytes.
// Source: Zhang and Sennrich 2019, arXiv 1910.07467.
alias elem = f32;
const COLS: u32 = 128u;
const EPS: f32 = 1e-5f;
const WG: u32 = 64u;
struct Params {
  rows: u32,
  start: u32,
}
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<elem>;
@group(0) @binding(31) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) {
    return;
  }
  let source = (params.start + row) * COLS;
  let base = row * COLS;
  var sum = 0.0;
  for (var i = lane; i < COLS; i += WG) {
    let v = x[source + i];
    sum += v * v;
  }
  let scale = inverseSqrt(sum_lanes(lane, sum) / f32(COLS) + EPS);
  for (var i = lane; i < COLS; i += WG) {
    y[base + i] = elem(w[i] * (x[source + i] * scale));
  }
}
