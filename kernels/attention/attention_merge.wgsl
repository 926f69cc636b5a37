// y[0, h, :] = sum_b 2^(top_b - top) part_b / sum_b 2^(top_b - top) weight_b, top = max_b top_b, over the blocks b of
// attention_decode.wgsl that hold a key: keys are as there.
// parts [blocks, heads, QUADS * 4] f32 read; stats [blocks, heads, 2] f32 (top, weight) read; position [1] u32 read where CAUSAL;
// y [1, heads, QUADS * 4] elem written.
// Grid: one invocation per 4 elements of y. Workgroup memory: none. Source: as attention_decode.wgsl.
alias elem = f32;
const QUADS: u32 = 32u;
const CAUSAL: bool = true;
const BLOCK_KEYS: u32 = 128u;
const WG: u32 = 64u;
struct Params {
  len: u32,
  heads: u32,
}
@group(0) @binding(0) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> position: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<elem>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.heads * QUADS) {
    return;
  }
  let head = id.x / QUADS;
  var len = params.len;
  if (CAUSAL) {
    len = min(len, position[0] + 1u);
  }
  let blocks = (len + BLOCK_KEYS - 1u) / BLOCK_KEYS;
  var top = -1e30f;
  for (var b = 0u; b < blocks; b++) {
    top = max(top, stats[b * params.heads + head].x);
  }
  var sum = vec4f(0.0);
  var weight = 0.0;
  for (var b = 0u; b < blocks; b++) {
    let at = b * params.heads + head;
    let scale = exp2(stats[at].x - top);
    sum += scale * parts[b * params.heads * QUADS + id.x];
    weight += scale * stats[at].y;
  }
  y[id.x] = vec4<elem>(sum / weight);
}
