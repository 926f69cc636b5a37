// finish(r, n, sum_k x[r, k] w[n, k]), see lib/finish*.wgsl
// x [rows, inner] elem read; w [outs, inner] of any format in 16-byte words read; scales [outs, groups] f16 in pairs
// read, of quantised w
// Grid: x over tiles of ROWS rows (neighbours share the weights in cache), y over tiles of 8 LANES columns.
// Workgroup memory: none. For adapters that run on the CPU: a lane owns 8 columns, so every widened word of w serves ROWS
// rows and every element of x 8 columns; four columns are one vec4f, their four words a matrix, four products one v * M.
// There a load costs much more than the arithmetic on it, and workgroup memory costs as much as a load.
// Source: own.
// Versions: GMAC/s per 2 cores of CPU time on lavapipe (Mesa 25.0), 64 x 1024 x 1024 bf16; SwiftShader 64 x 512 x 512
//   8 rows, 4 scalar columns  7.2; 0.7 (indexing of private scalars)
//   8 rows, x tile in workgroup memory  5.7
//   8 rows, 4 columns, v * M  6.3; 1.7
//   16 rows, 4 columns, v * M  3.8 (spills, and compiles twice as long)
//   8 rows, 8 columns, v * M  7.3, compiles twice as long
//   4 rows, 8 columns, v * M  7.9 to 9.5; 1.3 (kept: 16 loads for 2048 products instead of 20); 10.5 at 300 x 1152 x 4304 and
//     at 300 x 5120 x 7680, 6 at 512 x 128 x 640 f32; compiles in 0.4 to 1 s; q4 10.1 to 11.7, q8 8.5
alias elem = f32;
// FORMAT of w: 0 f32, 1 bf16, 2 f16, 3 q4, 4 q8. GROUP: columns that share a scale. PADDED: words of quants reach behind
// a row of x.
const FORMAT: u32 = 1u;
const GROUP: u32 = 32u;
const PADDED: bool = false;
const LANES: u32 = 8u;
const ROWS: u32 = 4u;
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
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x * ROWS;
  let col = (group.y * LANES + lane) * 8u;
  let left_cols = columns(col);
  let right_cols = columns(col + 4u);
  var left: array<vec4f, ROWS>;
  var right: array<vec4f, ROWS>;
  for (var k = 0u; k < params.words; k++) {
    let a = load(left_cols, k);
    let b = load(right_cols, k);
    for (var q = 0u; q < QUADS; q += 2u) {
      let a_low = quad(a, q);
      let b_low = quad(b, q);
      let a_high = quad(a, q + 1u);
      let b_high = quad(b, q + 1u);
      for (var i = 0u; i < ROWS; i++) {
        let line = min(row + i, params.rows - 1u) * params.quads;
        let v = input(line, k * QUADS + q);
        left[i] += v * a_low;
        right[i] += v * b_low;
        if (QUADS > 1u) {
          let u = input(line, k * QUADS + q + 1u);
          left[i] += u * a_high;
          right[i] += u * b_high;
        }
      }
    }
  }
  for (var i = 0u; i < ROWS; i++) {
    finish(row + i, col, left[i]);
    finish(row + i, col + 4u, right[i]);
  }
}
