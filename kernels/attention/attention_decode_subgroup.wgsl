// Each query row over one block of BLOCK_KEYS keys: top = max_j s_j, weight = sum_j 2^(s_j - top), part = sum_j 2^(s_j - top) v[j, :],
// s_j = q . k[j, :] SCALE, for all GROUP query heads of a kv head at once; attention_merge.wgsl joins the blocks.
// Which keys a row sees is as in attention.wgsl; where CAUSAL a block lies within a page. Blocks past them return at once.
// q, k, v, places, tables as in attention.wgsl, k and v in 16-byte words; parts [rows, blocks, heads, QUADS * 4] f32 and stats
// [rows, blocks, heads] (top, weight) f32 written. Grid: x blocks, y kv heads, z rows.
// Workgroup memory: 16 * max(QUERY_QUADS, SLICES * QUADS) + GROUP * (4 * BLOCK_KEYS + 2 * WG) bytes (7 KiB at 4 x 128).
// For GPUs: SHARE lanes read a key side by side and hold KEYS keys at once, so that a query read from workgroup memory serves all
// of them; they add up by shuffles. After the softmax a lane has 16 bytes of every SLICES-th value row, KEYS rows at once, for all
// GROUP heads; the slices add up HEADS heads at a time, which keeps workgroup memory small and the registers many.
// Right for full subgroups of any size that is a multiple of SHARE: the size is taken from how many there are, since drivers
// that choose it per pipeline may report a larger one as subgroup_size.
// Source: Dao et al. 2023, "Flash-Decoding for long-context inference". Versions: vector and memory instructions for a key element
// and for a value element, registers, subgroups per SIMD of RDNA3's compiler (Mesa 25.0), 4 query heads of 128, f16 keys
//   one key and one value row at a time, loads of 8 bytes, bounds in parameters  8.75, 10.25, 192, 8
//   this  5.19, 4.62, 84, 18 (the products alone are 4 of each; 4 to 8 loads of 16 bytes under way)
//   16 KiB of workgroup memory for the slices  5.04, 4.41, 252, 6
// Not yet timed on a GPU; on lavapipe 2.5 times the time of attention_decode_shuffle.
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
const WG: u32 = 128u;
const SLICES: u32 = 4u;
const SHARE: u32 = 4u;
const KEYS: u32 = 4u;
const HEADS: u32 = 2u;
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
// Words of a key that a lane has, quads of the queries with zeros up to these, and keys side by side.
const TURNS = (K_WORDS + SHARE - 1u) / SHARE;
const QUERY_QUADS = GROUP * TURNS * SHARE * K_QUADS;
const STRIDE = WG / SHARE;
const LEAST_SUBGROUP = 4u;
const_assert BLOCK_KEYS % (STRIDE * KEYS) == 0u;
// The queries, word after word of all heads; once they are used, the sums of HEADS heads of all slices but some.
var<workgroup> scratch: array<vec4f, max(QUERY_QUADS, SLICES / 2u * HEADS * QUADS)>;
var<workgroup> probs: array<f32, GROUP * BLOCK_KEYS>;
var<workgroup> tops: array<f32, GROUP * WG / LEAST_SUBGROUP>;
var<workgroup> weights: array<f32, GROUP * WG / LEAST_SUBGROUP>;

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
  let k_base = (params.k_offset + group.y * params.k_head + origin.x) / K_QUADS;
  let v_base = (params.v_offset + group.y * params.v_head + origin.y) / V_QUADS;
  load_query(lane, params.q_offset + group.z * params.q_row + head * params.q_head);
  // Lanes in order of subgroups: those that share a key lie in the same one.
  let role = subgroup * (WG / subgroups) + place;
  for (var base = 0u; base < count; base += STRIDE * KEYS) {
    score_keys(base + role / SHARE, role % SHARE, count, k_base);
  }
  workgroupBarrier();

  var top: array<f32, GROUP>;
  for (var g = 0u; g < GROUP; g++) {
    top[g] = HIDDEN;
    for (var key = role; key < count; key += WG) {
      top[g] = max(top[g], probs[key * GROUP + g]);
    }
    top[g] = subgroupMax(top[g]);
    if (place == 0u) {
      tops[subgroup * GROUP + g] = top[g];
    }
  }
  workgroupBarrier();
  for (var g = 0u; g < GROUP; g++) {
    for (var i = 0u; i < subgroups; i++) {
      top[g] = max(top[g], tops[i * GROUP + g]);
    }
    var weight = 0.0;
    for (var key = role; key < count; key += WG) {
      let p = exp2(probs[key * GROUP + g] - top[g]);
      probs[key * GROUP + g] = p;
      weight += p;
    }
    weight = subgroupAdd(weight);
    if (place == 0u) {
      weights[subgroup * GROUP + g] = weight;
    }
  }
  workgroupBarrier();

  let part = (group.z * params.blocks + group.x) * groups.y * GROUP + head;
  if (lane < GROUP) {
    var weight = weights[lane];
    var most = tops[lane];
    for (var i = 1u; i < subgroups; i++) {
      weight += weights[i * GROUP + lane];
      most = max(most, tops[i * GROUP + lane]);
    }
    stats[part + lane] = vec2f(most, weight);
  }
  sum_values(lane / V_WORDS, lane % V_WORDS, count, v_base, part);
}

/// Puts the scaled queries into `scratch`, zero behind the words of a row; ends with a barrier.
fn load_query(lane: u32, base: u32) {
  for (var i = lane; i < QUERY_QUADS; i += WG) {
    let quad = i / (GROUP * K_QUADS) * K_QUADS + i % K_QUADS;
    let at = base + i / K_QUADS % GROUP * params.q_head + min(quad, QUADS - 1u);
    scratch[i] = select(vec4f(), vec4f(q[at]) * SCALE, quad < QUADS);
  }
  workgroupBarrier();
}

/// The scores of keys first, first + STRIDE, ...: SHARE lanes each have every SHARE-th word of them from word `share` on.
fn score_keys(first: u32, share: u32, count: u32, k_base: u32) {
  var score: array<array<f32, GROUP>, KEYS>;
  var rows: array<u32, KEYS>;
  for (var u = 0u; u < KEYS; u++) {
    rows[u] = k_base + min(first + u * STRIDE, count - 1u) * (params.k_row / K_QUADS) + share;
  }
  for (var turn = 0u; turn < TURNS; turn++) {
    var words: array<vec4u, KEYS>;
    for (var u = 0u; u < KEYS; u++) {
      words[u] = k[rows[u] + within(turn * SHARE, share)];
    }
    for (var i = 0u; i < K_QUADS; i++) {
      for (var g = 0u; g < GROUP; g++) {
        let query = scratch[((turn * SHARE + share) * GROUP + g) * K_QUADS + i];
        for (var u = 0u; u < KEYS; u++) {
          score[u][g] = add_products(score[u][g], query, quad(K_HALVES, words[u], i));
        }
      }
    }
  }
  for (var u = 0u; u < KEYS; u++) {
    for (var g = 0u; g < GROUP; g++) {
      score[u][g] += subgroupShuffleXor(score[u][g], 1u);
      score[u][g] += subgroupShuffleXor(score[u][g], 2u);
    }
    if (share == u % SHARE) {
      for (var g = 0u; g < GROUP; g++) {
        probs[(first + u * STRIDE) * GROUP + g] = score[u][g];
      }
    }
  }
}

/// Words to skip from word `share` of a key on; behind its end none more than there are.
fn within(skip: u32, share: u32) -> u32 {
  return select(skip, min(skip, K_WORDS - 1u - share), K_WORDS % SHARE != 0u);
}

/// Stores the weighted sums of the value rows: a lane has word `word` of every SLICES-th row.
fn sum_values(slice: u32, word: u32, count: u32, v_base: u32, part: u32) {
  let row = params.v_row / V_QUADS;
  let whole = count / (SLICES * KEYS) * (SLICES * KEYS);
  var sum: array<array<vec4f, V_QUADS>, GROUP>;
  if (slice < SLICES) {
    let at = v_base + slice * row + word;
    var key = slice;
    for (; key < whole; key += SLICES * KEYS) {
      var words: array<vec4u, KEYS>;
      for (var u = 0u; u < KEYS; u++) {
        words[u] = v[at + (key - slice) * row + u * SLICES * row];
      }
      for (var u = 0u; u < KEYS; u++) {
        add_value(&sum, words[u], key + u * SLICES);
      }
    }
    for (; key < count; key += SLICES) {
      add_value(&sum, v[at + (key - slice) * row], key);
    }
  }
  for (var g = 0u; g < GROUP; g += HEADS) {
    add_slices(&sum, slice, word, g, min(HEADS, GROUP - g));
  }
  for (var g = 0u; g < GROUP && slice == 0u; g++) {
    for (var i = 0u; i < V_QUADS; i++) {
      parts[(part + g) * QUADS + word * V_QUADS + i] = sum[g][i];
    }
  }
}

fn add_value(sum: ptr<function, array<array<vec4f, V_QUADS>, GROUP>>, word: vec4u, key: u32) {
  for (var g = 0u; g < GROUP; g++) {
    let p = vec4f(probs[key * GROUP + g]);
    for (var i = 0u; i < V_QUADS; i++) {
      (*sum)[g][i] = fma(p, quad(V_HALVES, word, i), (*sum)[g][i]);
    }
  }
}

/// Adds the sums of all slices to those of the first, for `heads` heads from `first` on.
fn add_slices(sum: ptr<function, array<array<vec4f, V_QUADS>, GROUP>>, slice: u32, word: u32, first: u32, heads: u32) {
  for (var half = SLICES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    for (var g = 0u; g < heads && slice >= half && slice < 2u * half; g++) {
      for (var i = 0u; i < V_QUADS; i++) {
        scratch[((slice - half) * HEADS + g) * QUADS + word * V_QUADS + i] = (*sum)[first + g][i];
      }
    }
    workgroupBarrier();
    for (var g = 0u; g < heads && slice < half; g++) {
      for (var i = 0u; i < V_QUADS; i++) {
        (*sum)[first + g][i] += scratch[(slice * HEADS + g) * QUADS + word * V_QUADS + i];
      }
    }
  }
}

/// The sum and the products of two vectors, added one after the other.
fn add_products(sum: f32, a: vec4f, b: vec4f) -> f32 {
  return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}
