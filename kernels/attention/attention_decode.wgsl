// Each query row over one block of BLOCK_KEYS keys: top = max_j s_j, weight = sum_j 2^(s_j - top), part = sum_j 2^(s_j - top) v[j, :],
// s_j = q . k[j, :] SCALE, for all GROUP query heads of a kv head at once; attention_merge.wgsl joins the blocks.
// Which keys a row sees is as in attention.wgsl; where CAUSAL a page is a block. Blocks past them return at once.
// q, k, v, places, tables as in attention.wgsl; parts [rows, blocks, heads, QUADS * 4] f32 and stats [rows, blocks, heads]
// (top, weight) f32 written. Grid: x blocks, y kv heads, z rows.
// Workgroup memory: GROUP * (16 * QUADS + 4 * BLOCK_KEYS + 20 * WG) bytes (9 KiB at 4 x 128).
// A lane has every WG-th key of the block for the scores, then one quad of every SLICES-th value row.
// Source: Dao et al. 2023, "Flash-Decoding for long-context inference".
// Measured on lavapipe (Mesa 25.0, 2 busy cores), heads 40 over 10 x 128, 4096 f16 keys, contiguous: 37 ms; attention.wgsl
// 410 ms. Through a page table: 1.1 times the CPU time (medians of 9 in turns).
alias q_elem = f32;
alias k_elem = f32;
alias v_elem = f32;
const GROUP: u32 = 4u;
const QUADS: u32 = 32u;
const CAUSAL: bool = true;
const SCALE: f32 = 0.12751743f;
const BLOCK_KEYS: u32 = 128u;
const PAGE: u32 = BLOCK_KEYS;
const WG: u32 = 64u;
const SLICES: u32 = WG / QUADS;
const HIDDEN: f32 = -1e30f;
struct Params {
  len: u32,
  quads: u32,
  q_offset: u32,
  q_head: u32,
  q_row: u32,
  k_offset: u32,
  k_head: u32,
  k_row: u32,
  v_offset: u32,
  v_head: u32,
  v_row: u32,
  page: u32,
  pages: u32,
  blocks: u32,
}
@group(0) @binding(0) var<storage, read> q: array<vec4<q_elem>>;
@group(0) @binding(1) var<storage, read> k: array<vec4<k_elem>>;
@group(0) @binding(2) var<storage, read> v: array<vec4<v_elem>>;
@group(0) @binding(3) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> parts: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> query: array<vec4f, GROUP * QUADS>;
var<workgroup> probs: array<f32, GROUP * BLOCK_KEYS>;
var<workgroup> scalars: array<f32, GROUP * WG>;
var<workgroup> sums: array<vec4f, GROUP * WG>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let len = visible(group.z);
  let first = group.x * BLOCK_KEYS;
  if (first >= len) {
    return;
  }
  let count = min(BLOCK_KEYS, len - first);
  let head = group.y * GROUP;
  let origin = block_at(group.z, first);
  let k_base = params.k_offset + group.y * params.k_head + origin.x;
  let v_base = params.v_offset + group.y * params.v_head + origin.y;
  load_query(lane, group.z, head);
  var top: array<f32, GROUP>;
  for (var g = 0u; g < GROUP; g++) {
    top[g] = HIDDEN;
  }
  for (var key = lane; key < count; key += WG) {
    var score = array<f32, GROUP>();
    for (var d = 0u; d < params.quads; d++) {
      let row = vec4f(k[k_base + key * params.k_row + d]);
      for (var g = 0u; g < GROUP; g++) {
        score[g] += dot(query[g * QUADS + d], row);
      }
    }
    for (var g = 0u; g < GROUP; g++) {
      probs[g * BLOCK_KEYS + key] = score[g];
      top[g] = max(top[g], score[g]);
    }
  }
  for (var g = 0u; g < GROUP; g++) {
    scalars[g * WG + lane] = top[g];
  }
  for (var step = WG / 2u; step > 0u; step /= 2u) {
    workgroupBarrier();
    for (var i = lane; i < GROUP * step; i += WG) {
      let at = i / step * WG + i % step;
      scalars[at] = max(scalars[at], scalars[at + step]);
    }
  }
  workgroupBarrier();
  for (var g = 0u; g < GROUP; g++) {
    top[g] = scalars[g * WG];
  }
  attend(lane, count, v_base, (group.z * params.blocks + group.x) * groups.y * GROUP + head, top);
}
