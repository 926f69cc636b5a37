// y[t, h, :] = sum_b 2^(top_b - top) part_b / sum_b 2^(top_b - top) weight_b, top = max_b top_b, over the blocks b of
// attention_decode.wgsl that hold a key: keys are as there.
// parts [rows, blocks, heads, QUADS * 4] f32 read; stats [rows, blocks, heads] (top, weight) f32 read; places [rows] 2
// u32 read; y [rows, heads, QUADS * 4] elem written.
// Grid: x one invocation per 4 elements of a row of y, y rows. Workgroup memory: none. Source: as attention_decode.wgsl.
alias elem = f32;
const QUADS: u32 = 32u;
const CAUSAL: bool = true;
const BLOCK_KEYS: u32 = 128u;
const WG: u32 = 64u;
struct Params {
  len: u32,
  heads: u32,
  blocks: u32,
}
@group(0) @binding(0) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<elem>>;
@group(0) @binding(31) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.heads * QUADS) {
    return;
  }
  let head = id.x / QUADS;
  let place = places[id.y];
  let len = min(params.len, select(place.y - place.x, place.x + 1u, CAUSAL));
  let blocks = (len + BLOCK_KEYS - 1u) / BLOCK_KEYS;
  let first = id.y * params.blocks;
  var top = -1e30f;
  for (var b = first; b < first + blocks; b++) {
    top = max(top, stats[b * params.heads + head].x);
  }
  var sum = vec4f(0.0);
  var weight = 0.0;
  for (var b = first; b < first + blocks; b++) {
    let at = b * params.heads + head;
    let scale = exp2(stats[at].x - top);
    sum += scale * parts[b * params.heads * QUADS + id.x];
    weight += scale * stats[at].y;
  }
  y[id.y * params.heads * QUADS + id.x] = vec4<elem>(sum / weight);
}
