// Each query row over one block of BLOCK_KEYS keys, as in attention_decode_subgroup.wgsl; attention_merge.wgsl joins the blocks.
// q, k, v, places, tables as in attention.wgsl, k and v in 16-byte words; parts [rows, blocks, heads, QUADS * 4] f32 and stats
// [rows, blocks, heads] (top, weight) f32 written. Grid: x blocks, y kv heads, z rows. Workgroup memory: 4 * GROUP * BLOCK_KEYS bytes
// (2 KiB at 4 x 128).
// For adapters that run on the CPU, where a load costs each lane some ten instructions for every 4 bytes: a workgroup is one
// subgroup of LANES lanes. A lane scores KEYS keys at once; quads of the queries are loaded by different lanes and shuffled. Then
// a lane has one 16-byte word of the value rows, and shuffles the weights that the lanes hold.
// Source: Dao et al. 2023, "Flash-Decoding for long-context inference".
// Versions: ms of CPU time on lavapipe (Mesa 25.0), heads 40 over 10 x 128, 4096 keys in f16 and f32
//   queries and weights in workgroup memory, lanes with 8-byte loads of their own keys  27, 28
//   this  15, 28
enable subgroups;
alias q_elem = f32;
// Whether k and v are f16 or f32.
const K_HALVES: bool = false;
const V_HALVES: bool = false;
const GROUP: u32 = 4u;
const QUADS: u32 = 32u;
const CAUSAL: bool = true;
const SCALE: f32 = 0.12751743f;
const BLOCK_KEYS: u32 = 128u;
const PAGE: u32 = 128u;
const LANES: u32 = 4u;
const KEYS: u32 = 4u;
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
@group(0) @binding(1) var<storage, read> k: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> v: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> parts: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(31) var<uniform> params: Params;
// Quads of the queries that meet one word of a key, and how many of them a lane holds.
const MEETING = GROUP * K_QUADS;
const PARTS = (MEETING + LANES - 1u) / LANES;
const_assert BLOCK_KEYS % (LANES * KEYS) == 0u;
var<workgroup> scores: array<f32, GROUP * BLOCK_KEYS>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let len = visible(group.z);
  let first = group.x * BLOCK_KEYS;
  if (first >= len) {
    return;
  }
  let count = min(BLOCK_KEYS, len - first);
  let head = group.y * GROUP;
  let origin = block_at(group.z, first);
  let k_base = (params.k_offset + group.y * params.k_head + origin.x) / K_QUADS;
  let v_base = (params.v_offset + group.y * params.v_head + origin.y) / V_QUADS;
  let q_base = params.q_offset + group.z * params.q_row + head * params.q_head;
  var top: array<f32, GROUP>;
  for (var g = 0u; g < GROUP; g++) {
    top[g] = HIDDEN;
  }
  for (var base = 0u; base < count; base += LANES * KEYS) {
    score_keys(&top, lane, base + lane, count, k_base, q_base);
  }
  for (var g = 0u; g < GROUP; g++) {
    top[g] = subgroupMax(top[g]);
  }
  workgroupBarrier();
  let part = (group.z * params.blocks + group.x) * groups.y * GROUP + head;
  for (var word = 0u; word < V_WORDS; word += LANES) {
    sum_values(&top, lane, word + lane, count, v_base, part);
  }
}

/// The scores of keys first, first + LANES, ..., of all queries, whose quads the lanes hold by turns.
fn score_keys(top: ptr<function, array<f32, GROUP>>, lane: u32, first: u32, count: u32, k_base: u32, q_base: u32) {
  var score: array<array<f32, KEYS>, GROUP>;
  var rows: array<u32, KEYS>;
  for (var u = 0u; u < KEYS; u++) {
    rows[u] = k_base + min(first + u * LANES, count - 1u) * (params.k_row / K_QUADS);
  }
  for (var d = 0u; d < params.quads; d += K_QUADS) {
    var words = array<vec4u, KEYS>();
    for (var u = 0u; u < KEYS; u++) {
      words[u] = k[rows[u] + d / K_QUADS];
    }
    var queries = array<vec4f, PARTS>();
    for (var i = 0u; i < PARTS; i++) {
      let mine = min(i * LANES + lane, MEETING - 1u);
      queries[i] = vec4f(q[q_base + mine / K_QUADS * params.q_head + d + mine % K_QUADS]);
    }
    for (var n = 0u; n < MEETING; n++) {
      let query = subgroupShuffle(queries[n / LANES], n % LANES);
      for (var u = 0u; u < KEYS; u++) {
        score[n / K_QUADS][u] += dot(query, quad(K_HALVES, words[u], n % K_QUADS));
      }
    }
  }
  for (var u = 0u; u < KEYS; u++) {
    for (var g = 0u; g < GROUP; g++) {
      let s = score[g][u] * SCALE;
      scores[(first + u * LANES) * GROUP + g] = s;
      (*top)[g] = max((*top)[g], s);
    }
  }
}

/// Stores the weighted sums of one word of the value rows and, of the first word, top and weight.
fn sum_values(top: ptr<function, array<f32, GROUP>>, lane: u32, word: u32, count: u32, v_base: u32, part: u32) {
  let at = v_base + min(word, V_WORDS - 1u);
  var sum: array<array<vec4f, V_QUADS>, GROUP>;
  var weight: array<f32, GROUP>;
  for (var base = 0u; base < count; base += LANES) {
    var probs = array<f32, GROUP>();
    for (var g = 0u; g < GROUP; g++) {
      let p = exp2(scores[(base + lane) * GROUP + g] - (*top)[g]);
      probs[g] = select(0.0, p, base + lane < count);
      weight[g] += probs[g];
    }
    add_value(&sum, &probs, at, base, 0u, count);
    add_value(&sum, &probs, at, base, 1u, count);
    add_value(&sum, &probs, at, base, 2u, count);
    add_value(&sum, &probs, at, base, 3u, count);
    if (LANES == 8u) {
      add_value(&sum, &probs, at, base, 4u, count);
      add_value(&sum, &probs, at, base, 5u, count);
      add_value(&sum, &probs, at, base, 6u, count);
      add_value(&sum, &probs, at, base, 7u, count);
    }
  }
  for (var g = 0u; g < GROUP; g++) {
    let all = subgroupAdd(weight[g]);
    if (word == 0u) {
      stats[part + g] = vec2f((*top)[g], all);
    }
    for (var i = 0u; i < V_QUADS && word < V_WORDS; i++) {
      parts[(part + g) * QUADS + word * V_QUADS + i] = sum[g][i];
    }
  }
}

/// Adds the row of key base + j, whose weights lane j holds; j is a literal: a shuffle by a variable is slow.
fn add_value(
  sum: ptr<function, array<array<vec4f, V_QUADS>, GROUP>>,
  probs: ptr<function, array<f32, GROUP>>,
  at: u32,
  base: u32,
  j: u32,
  count: u32,
) {
  let row = v[at + min(base + j, count - 1u) * (params.v_row / V_QUADS)];
  for (var g = 0u; g < GROUP; g++) {
    let p = subgroupShuffle((*probs)[g], j);
    for (var i = 0u; i < V_QUADS; i++) {
      (*sum)[g][i] += p * quad(V_HALVES, row, i);
    }
  }
}
