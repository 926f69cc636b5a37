// Each query row over one block of BLOCK_KEYS keys: top = max_j s_j, weight = sum_j 2^(s_j - top), part = sum_j 2^(s_j - top) v[j, :],
// s_j = q . k[j, :] SCALE, for all GROUP query heads of a kv head at once; attention_merge.wgsl joins the blocks.
// Which keys a row sees is as in attention.wgsl; where CAUSAL a page is a block. Blocks past them return at once.
// q, k, v, places, tables as in attention.wgsl; parts [rows, blocks, heads, QUADS * 4] f32 and stats [rows, blocks, heads]
// (top, weight) f32 written. Grid: x blocks, y kv heads, z rows.
// Workgroup memory: GROUP * (16 * QUADS + 4 * BLOCK_KEYS + 20 * WG) bytes (9 KiB at 4 x 128).
// SHARE lanes read each key row side by side, in whole 32-byte sectors, and add up their parts of the score by shuffles; the
// largest score takes one step across subgroups. Then a lane has one quad of every SLICES-th value row.
// Right for full subgroups of any size that is a multiple of SHARE: the size is taken from how many there are, since drivers
// that choose it per pipeline may report a larger one as subgroup_size.
// Source: Dao et al. 2023, "Flash-Decoding for long-context inference".
// Versions, heads 40 over 10 x 128, 4096 keys, CPU time over that of attention_decode.wgsl, lavapipe (Mesa 25.0, 8 lanes, f16
// keys) | SwiftShader (4 lanes, f32 keys): WG 64 (this): 1.0 | 1.0; WG 128: 1.3 | 1.9. Meant for GPUs, where it has 4 barriers
// instead of 10 and reads keys in whole sectors; not measured on one.
enable subgroups;
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
const SHARE: u32 = 4u;
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
  @builtin(subgroup_invocation_id) place: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
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
  // Lanes in order of subgroups: those that share a key lie in the same one.
  let role = subgroup * (WG / subgroups) + place;
  var top: array<f32, GROUP>;
  for (var g = 0u; g < GROUP; g++) {
    top[g] = HIDDEN;
  }
  for (var base = 0u; base < count; base += WG / SHARE) {
    let key = base + role / SHARE;
    let row = k_base + min(key, count - 1u) * params.k_row;
    var score = array<f32, GROUP>();
    for (var d = role % SHARE; d < params.quads; d += SHARE) {
      let four = vec4f(k[row + d]);
      for (var g = 0u; g < GROUP; g++) {
        score[g] += dot(query[g * QUADS + d], four);
      }
    }
    for (var g = 0u; g < GROUP; g++) {
      let pair = score[g] + subgroupShuffleXor(score[g], 1u);
      let s = pair + subgroupShuffleXor(pair, 2u);
      top[g] = max(top[g], s);
      if (role % SHARE == 0u && key < count) {
        probs[g * BLOCK_KEYS + key] = s;
      }
    }
  }
  for (var g = 0u; g < GROUP; g++) {
    let largest = subgroupMax(top[g]);
    if (place == 0u) {
      scalars[g * WG + subgroup] = largest;
    }
  }
  workgroupBarrier();
  for (var g = 0u; g < GROUP; g++) {
    for (var i = 0u; i < subgroups; i++) {
      top[g] = max(top[g], scalars[g * WG + i]);
    }
  }
  attend(lane, count, v_base, (group.z * params.blocks + group.x) * groups.y * GROUP + head, top);
}
