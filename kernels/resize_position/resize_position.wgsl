// y[t, k] = sum_ij weights[cells[t].x, i] weights[cells[t].y, j] table[i * grid + j, k]
// table [grid^2, COLS] f32 read; weights [lines, grid] f32 read; cells [tokens] (line of the row, line of the column) u32
// read; y [tokens, COLS] f32 written
// Most weights are zero (a triangle of width 2 on an axis that grows), and their terms are skipped.
// The grid is a parameter: unrolled loops over a constant one of 16 crash Mesa 26.1's lavapipe where COLS is 4.
// Grid: one workgroup per row of y, folded over x and y. Workgroup memory: none. Source: bilinear resizing with antialiasing, as PyTorch does it.
const COLS: u32 = 128u;
const WG: u32 = 64u;
struct Params {
  tokens: u32,
  grid: u32,
}
@group(0) @binding(0) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> cells: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(31) var<uniform> params: Params;

const CHUNKS = COLS / 4u; // vec4s in a row

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let patch_index = group.x + group.y * groups.x;
  if (patch_index >= params.tokens) {
    return;
  }
  let row = cells[patch_index].x * params.grid;
  let column = cells[patch_index].y * params.grid;
  for (var chunk = lane; chunk < CHUNKS; chunk += WG) {
    var sum = vec4f();
    for (var i = 0u; i < params.grid; i++) {
      let row_weight = weights[row + i];
      if (row_weight == 0.0) {
        continue;
      }
      for (var j = 0u; j < params.grid; j++) {
        let weight = row_weight * weights[column + j];
        if (weight != 0.0) {
          sum += weight * table[(i * params.grid + j) * CHUNKS + chunk];
        }
      }
    }
    y[patch_index * CHUNKS + chunk] = sum;
  }
}
