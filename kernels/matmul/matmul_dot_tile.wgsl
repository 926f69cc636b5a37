// finish(r, n, sum_k x[r, k] w[n, k]) for x of 8-bit integers, see lib/finish*.wgsl
// x [rows, 8 blocks] int8 in 16-byte words read, see lib/x_int8.wgsl; w [outs, inner] q4 or q8 in 16-byte words read; scales
// [outs, groups] f16 in pairs read
// Grid: x over tiles of 64 rows, y over tiles of 64 columns. Workgroup memory: 64 * (4 * 16 + 4 + 4) = 4608 bytes.
// For GPUs: 16 x 16 lanes, each 4 rows x 4 neighbouring columns, step 32 along inner. Sums are integers within a step and f32
// across. Column 4 t + j lies in slot 16 j + t, so that lanes side by side read different banks.
// Source: own. Versions: not yet timed on a GPU; a quarter of matmul_dot_register's speed on lavapipe.
// FORMAT of w: 3 q4, 4 q8. GROUP: columns that share a scale.
const FORMAT: u32 = 3u;
const GROUP: u32 = 32u;
const TILE: u32 = 64u;
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
var<workgroup> x_near_tile: array<vec4u, TILE>;
var<workgroup> x_far_tile: array<vec4u, TILE>;
var<workgroup> x_scale_tile: array<f32, TILE>;
var<workgroup> near_tile: array<vec4u, TILE>;
var<workgroup> far_tile: array<vec4u, TILE>;
var<workgroup> scale_tile: array<f32, TILE>;

/// Copies block b of the tiles at (row, col); the first TILE lanes take x, the next w.
fn fill(row: u32, col: u32, b: u32, lane: u32) {
  if (lane < TILE) {
    let blocks = params.words / WORDS;
    let r = min(row + lane, params.rows - 1u);
    let v = activations(r, b, blocks);
    x_near_tile[lane] = v.near;
    x_far_tile[lane] = v.far;
    x_scale_tile[lane] = x_scales[r * blocks + b];
  } else if (lane < 2u * TILE) {
    let line = lane - TILE;
    let column = min(col + line, params.outs - 1u);
    let slot = line % 4u * 16u + line / 4u;
    let v = weights(column, b);
    near_tile[slot] = v.near;
    far_tile[slot] = v.far;
    scale_tile[slot] = scale(vec4u(column), b * WORDS).x * QUANTUM;
  }
}

@compute @workgroup_size(16, 16)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) id: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.x * TILE;
  let col = group.y * TILE;
  var sums: array<vec4f, 4>;
  for (var b = 0u; b < params.words / WORDS; b++) {
    fill(row, col, b, lane);
    workgroupBarrier();
    for (var j = 0u; j < 4u; j++) {
      let slot = 16u * j + id.x;
      let v = Bytes(near_tile[slot], far_tile[slot]);
      for (var i = 0u; i < 4u; i++) {
        let line = id.y * 4u + i;
        let dots = f32(dot_bytes(Bytes(x_near_tile[line], x_far_tile[line]), v));
        sums[i][j] += dots * x_scale_tile[line] * scale_tile[slot];
      }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < 4u; i++) {
    finish(row + id.y * 4u + i, col + id.x * 4u, sums[i]);
  }
}
