// Per head, i < HEAD_DIM / 2, p = places[t].x: y[t, i] = x[t, i] cos[p, i] - x[t, i + HEAD_DIM/2] sin[p, i]
//                                               y[t, i + HEAD_DIM/2] = x[t, i + HEAD_DIM/2] cos[p, i] + x[t, i] sin[p, i]
// x [tokens, COLS] elem read, its first HEADS * HEAD_DIM columns; table [capacity, HEAD_DIM] f32 read, cos then sin;
// places [tokens] (position, sequence) u32 read; y [tokens, HEADS * HEAD_DIM] out_elem written
// Grid: one invocation per 4 pairs, folded over x and y. Workgroup memory: none.
// Source: Su et al. 2021, arXiv 2104.09864, with the halves of a head as pairs instead of neighbours.
alias elem = f32;
alias out_elem = f32;
const COLS: u32 = 128u;
const HEADS: u32 = 1u;
const HEAD_DIM: u32 = 128u;
const WG: u32 = 64u;
struct Params {
  tokens: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<elem>>;
@group(0) @binding(1) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<out_elem>>;
@group(0) @binding(31) var<uniform> params: Params;

const HALF = HEAD_DIM / 8u; // vec4s in half a head

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = (group.x + group.y * groups.x) * WG + lane;
  let token = index / (HEADS * HALF);
  if (token >= params.tokens) {
    return;
  }
  let pair = index % HALF;
  let column = index / HALF % HEADS * 2u * HALF + pair;
  let angles = places[token].x * 2u * HALF + pair;
  let cosine = table[angles];
  let sine = table[angles + HALF];
  let source = token * (COLS / 4u) + column;
  let a = vec4f(x[source]);
  let b = vec4f(x[source + HALF]);
  let result = token * HEADS * 2u * HALF + column;
  y[result] = vec4<out_elem>(a * cosine - b * sine);
  y[result + HALF] = vec4<out_elem>(b * cosine + a * sine);
}
