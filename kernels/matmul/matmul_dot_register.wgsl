// y[r, n] = act(sum_k x[r, k] w[n, k] + bias[n]) + residual[r, n], for x of 8-bit integers; see lib/matmul.wgsl for act
// x [rows, 8 blocks] int8 in 16-byte words read; x_scales [rows, blocks] of (scale, scaled sum) f32 read; w [outs, inner] q4
// or q8 in 16-byte words read; bias [all outs] f32 read; residual [rows, width] f32 read; scales [outs, groups] f16 in pairs
// read; y [rows, width] out_elem written from column `first` on
// Grid: x over tiles of ROWS rows (neighbours share the weights in cache), y over tiles of 4 LANES columns.
// Workgroup memory: none. For adapters that run on the CPU: a lane owns 4 columns, whose unpacked weights serve ROWS rows.
// Sums are integers within a block of 32 columns of x and f32 across.
// Source: own. Versions: GMAC/s per 2 cores of CPU time on lavapipe (Mesa 25.0), 64 x 5120 x 2048 q4, group 64
//   4 rows  14.9 to 15.3 (SwiftShader 1.0 at 16 x 1024 x 512)
//   8 rows  17.5 to 18.1 (kept)
alias out_elem = f32;
// FORMAT of w: 3 q4, 4 q8. GROUP: columns that share a scale. ACTIVATION: 0 none, 1 gelu_tanh, 2 gelu_erf, 3 silu_gate.
const FORMAT: u32 = 3u;
const GROUP: u32 = 32u;
const ACTIVATION: u32 = 0u;
const BIAS: bool = false;
const RESIDUAL: bool = false;
const LANES: u32 = 8u;
const ROWS: u32 = 8u;
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
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x * ROWS;
  let col = (group.y * LANES + lane) * 4u;
  let cols = columns(col);
  let blocks = params.words / WORDS;
  var sums: array<vec4f, ROWS>;
  for (var b = 0u; b < blocks; b++) {
    let p = weights(cols.x, b);
    let q = weights(cols.y, b);
    let r = weights(cols.z, b);
    let s = weights(cols.w, b);
    let by = scale(cols, b * WORDS);
    for (var i = 0u; i < ROWS; i++) {
      let at = min(row + i, params.rows - 1u) * blocks + b;
      let v = activations(at);
      let dots = vec4f(vec4i(dot_bytes(v, p), dot_bytes(v, q), dot_bytes(v, r), dot_bytes(v, s)));
      sums[i] += (dots * x_scales[at].x - OFFSET * x_scales[at].y) * by;
    }
  }
  for (var i = 0u; i < ROWS; i++) {
    finish(row + i, col, sums[i]);
  }
}
