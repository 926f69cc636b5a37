// y[t, h, :] = sum_b 2^(top_b - top) part_b / sum_b 2^(top_b - top) weight_b, top = max_b top_b, over the blocks b of
// attention_decode.wgsl that hold a key: keys are as there.
// parts [rows, blocks, heads, QUADS * 4] f32 read; stats [rows, blocks, heads] (top, weight) f32 read; places [rows] 2
// u32 read; y as lib/merge_rows.wgsl or lib/merge_int8.wgsl has it, written.
// Grid: x heads, y rows. Workgroup memory: 24 SLICES * QUADS bytes (6 KiB at most).
// A lane joins one quad of every SLICES-th block to what it has, scaling that to the larger top; then the slices are joined.
// Source: as attention_decode.wgsl. Versions: one lane a quad of all blocks, one after the other: 32 to 128 steps at 4k to 16k keys.
const QUADS: u32 = 32u;
const CAUSAL: bool = true;
const BLOCK_KEYS: u32 = 128u;
const SLICES: u32 = 8u;
struct Params {
  len: u32,
  heads: u32,
  blocks: u32,
}
@group(0) @binding(0) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> sums: array<vec4f, SLICES * QUADS>;
var<workgroup> scalars: array<vec2f, SLICES * QUADS>;

/// The sum of some blocks: (top, weight), and the weighted values times 2^-top.
struct Joined {
  stats: vec2f,
  sum: vec4f,
}

fn join(a: Joined, b: Joined) -> Joined {
  let top = max(a.stats.x, b.stats.x);
  let scale = exp2(vec2f(a.stats.x, b.stats.x) - top);
  return Joined(vec2f(top, dot(scale, vec2f(a.stats.y, b.stats.y))), scale.x * a.sum + scale.y * b.sum);
}

@compute @workgroup_size(QUADS, SLICES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) id: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let place = places[group.y];
  let len = min(params.len, select(place.y - place.x, place.x + 1u, CAUSAL));
  let blocks = (len + BLOCK_KEYS - 1u) / BLOCK_KEYS;
  var all = Joined(vec2f(-1e30f, 0.0), vec4f());
  for (var b = id.y; b < blocks; b += SLICES) {
    let at = (group.y * params.blocks + b) * params.heads + group.x;
    all = join(all, Joined(stats[at], parts[at * QUADS + id.x]));
  }
  sums[lane] = all.sum;
  scalars[lane] = all.stats;
  workgroupBarrier();
  let has_one = id.y == 0u;
  for (var slice = 1u; has_one && slice < SLICES; slice++) {
    let at = slice * QUADS + lane;
    all = join(all, Joined(scalars[at], sums[at]));
  }
  finish(group.y, group.x, id.x, has_one, all.sum / all.stats.y);
}
