// y[r, i] = w[i] * (x[r, i] - mean) / sqrt(var + EPS) + b[i], mean and biased variance of row r
// x [rows, COLS] f32 read; w [COLS] f32 read; b [COLS] f32 read; y [rows, COLS] elem written; all 4 elements at a time
// Two passes, mean then variance, over differences from the row's first element: those are exact where |mean| >> std.
// Grid: one workgroup per row, folded over x and y. Workgroup memory: WG * 4 bytes.
// Source: Ba, Kiros and Hinton 2016, arXiv 1607.06450.
// Versions, 256 x 1152 on lavapipe (Mesa 25.0.7, 2 cores), median ms of 25 alternating runs, WG 16 / 32 / 64 / 128:
//   one element at a time          2.8 / 2.8 / 5.3 / 8.3
//   four elements at a time (this) 1.4 / 1.7 / 3.1 / 5.8
//   the same, row in registers     1.9 / 3.2 / 8.1 / 12.0
// WG 32 and not 16 for GPUs whose subgroups have 32 lanes: 1152 columns are 9 steps of 4 * 32.
alias elem = f32;
const COLS: u32 = 128u;
const EPS: f32 = 1e-6f;
const WG: u32 = 32u;
struct Params {
  rows: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<elem>>;
@group(0) @binding(31) var<uniform> params: Params;

const CHUNKS = COLS / 4u; // vec4s in a row

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
  let base = row * CHUNKS;
  let shift = x[base].x;
  var sum = vec4f();
  for (var i = lane; i < CHUNKS; i += WG) {
    sum += x[base + i] - shift;
  }
  let mean = sum_lanes(lane, dot(sum, vec4f(1.0))) / f32(COLS);
  var squares = vec4f();
  for (var i = lane; i < CHUNKS; i += WG) {
    let v = x[base + i] - shift - mean;
    squares += v * v;
  }
  let scale = inverseSqrt(sum_lanes(lane, dot(squares, vec4f(1.0))) / f32(COLS) + EPS);
  for (var i = lane; i < CHUNKS; i += WG) {
    y[base + i] = vec4<elem>(w[i] * ((x[base + i] - shift - mean) * scale) + b[i]);
  }
}
