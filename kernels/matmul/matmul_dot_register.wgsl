// finish(r, n, sum_k x[r, k] w[n, k]) for x of 8-bit integers, see lib/finish*.wgsl
// x [rows, 8 blocks] int8 in 16-byte words read, see lib/x_int8.wgsl; w [outs, inner] q4 or q8 in 16-byte words read; scales
// [outs, groups] f16 in pairs read
// Grid: x over tiles of ROWS rows (neighbours share the weights in cache), y over tiles of 4 LANES columns.
// Workgroup memory: none. For adapters that run on the CPU: a lane owns 4 columns, whose unpacked weights serve ROWS rows.
// Sums are integers within a block of 32 columns of x and f32 across.
// Source: own. Versions: GMAC/s per 2 cores of CPU time on lavapipe (Mesa 25.0), 64 x 5120 x 2048 q4, group 64
//   4 rows  14.9 to 15.3 (SwiftShader 1.0 at 16 x 1024 x 512)
//   8 rows  17.5 to 18.1 (kept)
// FORMAT of w: 3 q4, 4 q8. GROUP: columns that share a scale.
const FORMAT: u32 = 3u;
const GROUP: u32 = 32u;
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
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> scales: array<u32>;
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
    let by = scale(cols, b * WORDS) * QUANTUM;
    for (var i = 0u; i < ROWS; i++) {
      let line = min(row + i, params.rows - 1u);
      let v = activations(line, b, blocks);
      let dots = vec4f(vec4i(dot_bytes(v, p), dot_bytes(v, q), dot_bytes(v, r), dot_bytes(v, s)));
      sums[i] += dots * x_scales[line * blocks + b] * by;
    }
  }
  for (var i = 0u; i < ROWS; i++) {
    finish(row + i, col, sums[i]);
  }
}
