// y[t, h, :] = sum_j p_j v[j, g, :], p = softmax over keys j of (q[t, h, :] . k[j, g, :] SCALE / log2(e)), g = floor(h / GROUP)
// Keys, q, k, v, places, tables and y as in attention.wgsl, which reads each key and value row once per 4 query rows; this one reads
// them once per ROWS of them, neighbouring lanes neighbouring elements, into a tile of workgroup memory.
// Grid: x strips of ROWS rows, y heads. Workgroup memory: 16 * TILE + 4 * ROWS * KEYS bytes (16 KiB).
// COLS lanes stand side by side and share 4 rows. A lane has 4 neighbouring keys of each block of KEYS, then every COLS-th quad
// of the result; all products are of 4x4 matrices, whose columns are rows of q, k, v or p.
// Exclusive ors in the indices of workgroup memory spread lanes that read or write together over its banks.
// K_QUADS quads of the keys, then V_KEYS rows of the values stand in the tile at a time, as f32: widened once, whatever they are.
// Loop bounds that could be constants are parameters, as in attention.wgsl. QUADS is at most TILE / 4; 32 fit in registers.
// Source: as attention.wgsl.
// CPU time over that of attention.wgsl, lavapipe (Mesa 25.0, 8 lanes): 3600 x 24 bidirectional 1.15 to 1.2; 1200 x 4 x 72
// 1.1 to 1.2; causal 512 x 4 x 128 at position 3000, f16 keys 1.0 to 1.1. SwiftShader: 300 x 2 x 72 1.1, causal 128 x 4 x 128
// 0.9, but compiles in 4 s instead of 2.5 s. Meant for GPUs: there attention.wgsl reads 16 key rows apart per load and each row
// 2 to 4 times as often; not measured on one.
alias q_elem = f32;
alias k_elem = f32;
alias v_elem = f32;
alias elem = f32;
const GROUP: u32 = 1u;
const QUADS: u32 = 32u;
const CAUSAL: bool = true;
const SCALE: f32 = 0.12751743f;
const WG: u32 = 128u;
const COLS: u32 = 8u;
const ROWS: u32 = WG / COLS * 4u;
const KEYS: u32 = COLS * 4u;
const TILE: u32 = 512u;
const K_QUADS: u32 = TILE / KEYS;
const V_KEYS: u32 = min(KEYS, TILE / QUADS / 4u * 4u);
const DIM_MATS: u32 = (QUADS + COLS - 1u) / COLS;
const PAGE: u32 = 128u;
const HIDDEN: f32 = -1e30f;
const_assert PAGE % KEYS == 0u;
struct Params {
  tokens: u32,
  len: u32,
  quads: u32,
  cols: u32,
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
}
@group(0) @binding(0) var<storage, read> q: array<vec4<q_elem>>;
@group(0) @binding(1) var<storage, read> k: array<vec4<k_elem>>;
@group(0) @binding(2) var<storage, read> v: array<vec4<v_elem>>;
@group(0) @binding(3) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<elem>>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> tile: array<vec4f, TILE>;
var<workgroup> probs: array<vec4f, ROWS * KEYS / 4u>;

fn load_q(at: vec4u) -> mat4x4f {
  return mat4x4f(vec4f(q[at.x]), vec4f(q[at.y]), vec4f(q[at.z]), vec4f(q[at.w]));
}

fn load_tile(at: u32, step: u32) -> mat4x4f {
  return mat4x4f(tile[at], tile[at + step], tile[at + 2u * step], tile[at + 3u * step]);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let steps = vec4u(0u, 1u, 2u, 3u);
  let head = group.y;
  let col = lane % COLS;
  let strip = lane / COLS;
  let swizzled = col ^ (strip % COLS);
  let first = group.x * ROWS + strip * 4u;
  let row = min(first + steps, vec4u(params.tokens - 1u));
  let end = min((group.x + 1u) * ROWS, params.tokens);
  let q_at = params.q_offset + head * params.q_head + row * params.q_row;
  let k_head = params.k_offset + head / GROUP * params.k_head;
  let v_head = params.v_offset + head / GROUP * params.v_head;
  var sum: array<mat4x4f, DIM_MATS>;
  var top = vec4f(HIDDEN);
  var weight = vec4f(0.0);
  for (var start = group.x * ROWS; start < end;) {
    let place = places[start];
    var len = select(place.y - place.x, place.x + 1u, CAUSAL);
    var stop = start + 1u;
    for (; stop < end && select(places[stop].x == place.x, places[stop].y == place.y, CAUSAL); stop++) {
      len = select(len, max(len, places[stop].x + 1u), CAUSAL);
    }
    len = min(len, params.len);
    let own = (first + steps >= vec4u(start)) & (first + steps < vec4u(stop));
    var seen = vec4u(len);
    if (CAUSAL) {
      seen = vec4u(places[row.x].x, places[row.y].x, places[row.z].x, places[row.w].x) + 1u;
    }
    seen = select(vec4u(0u), seen, own);
    for (var base = 0u; base < len; base += KEYS) {
      let count = min(KEYS, len - base);
      var origin = (place.x + base) * vec2u(params.k_row, params.v_row);
      if (CAUSAL) {
        origin = page_of(place.y, base) * params.page + base % PAGE * vec2u(params.k_row, params.v_row);
      }
      var score = mat4x4f();
      for (var quad = 0u; quad < params.quads; quad += K_QUADS) {
        workgroupBarrier();
        for (var i = lane; i < KEYS * K_QUADS; i += WG) {
          let key = i / K_QUADS;
          let d = i % K_QUADS;
          let at = k_head + origin.x + min(key, count - 1u) * params.k_row;
          tile[d * KEYS + key % 4u * COLS + ((key / 4u) ^ (d % COLS))] = vec4f(k[at + min(quad + d, QUADS - 1u)]);
        }
        workgroupBarrier();
        for (var d = 0u; d < min(K_QUADS, params.quads - quad); d++) {
          score += transpose(load_tile(d * KEYS + (col ^ (d % COLS)), COLS)) * load_q(q_at + quad + d);
        }
      }
      var new_top = top;
      for (var r = 0u; r < 4u; r++) {
        let s = select(vec4f(HIDDEN), score[r] * SCALE, base + col * 4u + steps < vec4u(seen[r]));
        score[r] = s;
        new_top[r] = max(new_top[r], max(max(s.x, s.y), max(s.z, s.w)));
      }
      probs[lane] = new_top;
      workgroupBarrier();
      for (var c = 0u; c < params.cols; c++) {
        new_top = max(new_top, probs[strip * COLS + c]);
      }
      workgroupBarrier();
      let scale = exp2(top - new_top);
      top = new_top;
      weight *= scale;
      for (var r = 0u; r < 4u; r++) {
        let p = select(vec4f(0.0), exp2(score[r] - top[r]), seen[r] > 0u);
        weight[r] += dot(p, vec4f(1.0));
        probs[(strip * 4u + r) * COLS + swizzled] = p;
      }
      for (var i = 0u; i < DIM_MATS; i++) {
        for (var r = 0u; r < 4u; r++) {
          sum[i][r] *= scale[r];
        }
      }
      for (var part = 0u; part < count; part += V_KEYS) {
        for (var i = lane; i < V_KEYS * QUADS; i += WG) {
          let key = min(part + i / QUADS, count - 1u);
          tile[i] = vec4f(v[v_head + origin.y + key * params.v_row + i % QUADS]);
        }
        workgroupBarrier();
        for (var j = 0u; j < min(V_KEYS, count - part); j += 4u) {
          let at = strip * 4u * COLS + (((part + j) / 4u) ^ (strip % COLS));
          let p = mat4x4f(probs[at], probs[at + COLS], probs[at + 2u * COLS], probs[at + 3u * COLS]);
          for (var i = 0u; i < DIM_MATS; i++) {
            sum[i] += load_tile(j * QUADS + min(col + i * COLS, QUADS - 1u), QUADS) * p;
          }
        }
        workgroupBarrier();
      }
    }
    start = stop;
  }
  probs[lane] = weight;
  workgroupBarrier();
  var total = vec4f(0.0);
  for (var c = 0u; c < params.cols; c++) {
    total += probs[strip * COLS + c];
  }
  for (var r = 0u; r < 4u; r++) {
    for (var i = 0u; i < DIM_MATS; i++) {
      let quad = col + i * COLS;
      if (first + r < params.tokens && quad < QUADS) {
        y[((first + r) * groups.y + head) * QUADS + quad] = vec4<elem>(sum[i][r] / total[r]);
      }
    }
  }
}
