// Per head, i < HEAD_DIM / 2, p = places[t].x: y[t, 2 i] = x[t, 2 i] cos[p, i] - x[t, 2 i + 1] sin[p, i]
//                                               y[t, 2 i + 1] = x[t, 2 i + 1] cos[p, i] + x[t, 2 i] sin[p, i]
// x [tokens, COLS] elem read, its HEADS * HEAD_DIM columns from COLUMN on; table [capacity, HEAD_DIM] f32 read, cos then sin;
// places [tokens] (position, sequence) u32 read; y [tokens, HEADS * HEAD_DIM] out_elem written
// Grid: one invocation per 2 pairs, folded over x and y. Workgroup memory: none.
// Source: Su et al. 2021, arXiv 2104.09864: neighbours are pairs.
alias elem = f32;
alias out_elem = f32;
const COLS: u32 = 128u;
const COLUMN: u32 = 0u;
const HEADS: u32 = 1u;
const HEAD_DIM: u32 = 128u;
const WG: u32 = 64u;
struct Params {
  tokens: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<elem>>;
@group(0) @binding(1) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<out_elem>>;
@group(0) @binding(31) var<uniform> params: Params;

const QUADS = HEAD_DIM / 4u;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = (group.x + group.y * groups.x) * WG + lane;
  let token = index / (HEADS * QUADS);
  if (token >= params.tokens) {
    return;
  }
  let v = vec4f(x[(token * COLS + COLUMN) / 4u + index % (HEADS * QUADS)]);
  y[index] = vec4<out_elem>(rotated(places[token].x, index % QUADS * 4u, v));
}
