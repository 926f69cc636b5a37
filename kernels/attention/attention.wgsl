// y[t, h, :] = sum_j p_j v[j, g, :], p = softmax over keys j of (q[t, h, :] . k[j, g, :] SCALE / log2(e)), g = floor(h / GROUP)
// Row t sees keys places[t].x to places[t].y - 1 or, where CAUSAL, those of its sequence, places[t].y, up to its position, places[t].x.
// Online softmax: no score matrix in memory.
// q [tokens] rows q_elem read; k, v rows k_elem, v_elem read; places [tokens] 2 u32 read; where CAUSAL tables [sequences, pages]
// u32 read: which page of k and v holds each PAGE keys of a sequence.
// y [tokens, heads, QUADS * 4] elem written. Element [h, row, quad] of q, k and v, in vec4s: offset + h * head + row * row, in a page
// behind page * number. A workgroup goes through its rows in runs of one sequence, or of the same keys; rows of other runs are masked.
// Grid: x strips of ROWS rows, y heads. Workgroup memory: 16 * WG + 4 * ROWS * KEYS bytes (9 KiB at WG 64).
// COLS lanes stand side by side and share 4 rows. A lane has 4 KEY_MATS neighbouring keys of each block of KEYS, then every
// COLS-th quad of the result; all products are of 4x4 matrices, whose columns are rows of q, k, v or p.
// Loop bounds that could be constants are parameters, since compilers unroll constant ones: up to four times the compile time.
// `score` is zeroed in words: Dawn zeroes a `var` of a loop body without initialiser only once.
// Source: Dao et al. 2022, arXiv 2205.14135; Milakov and Gimelshein 2018, arXiv 1805.02867 (online softmax).
// Versions, GFLOP per CPU second and first run on lavapipe (Mesa 25.0, 8 lanes, 2 busy cores), tokens x heads x headDim:
//   bidirectional 900 x 4 x 24 | bidirectional 300 x 16 x 72 | causal 128 x 4 x 128 at position 512
//   one lane per row, q and sum in registers, all lanes read the same key: 0.6 | 0.9 | 0.7 GFLOP per second, 8 to 40 s to
//     compile; not faster where compilers see that a load is uniform only outside of loops
//   4x4 tiles, 4 keys per lane, 8 columns, constant loop bounds: 1.8 | 3.0 | 4.1, 3 to 6 s
//   loop bounds as parameters: 2.4 | 2.8 | 4.1, 1 to 3 s; with 16 columns: 1.5 | 2.6 | 4.5, 1 to 2 s
//   8 keys per lane, 16 columns at headDim above 96: 2.9 | 3.4 | 4.3, 1 to 3 s
//   runs of rows, keys through page tables (this one), CPU time over that of the version before, medians of 9 in turns:
//     bidirectional 3600 x 1 x 24: 0.93; 1200 x 4 x 72: 1.02; causal 512 x 4 x 128 at position 3000: 1.00
alias q_elem = f32;
alias k_elem = f32;
alias v_elem = f32;
alias elem = f32;
const GROUP: u32 = 1u;
const QUADS: u32 = 32u;
const CAUSAL: bool = true;
const SCALE: f32 = 0.12751743f;
const COLS: u32 = 16u;
const WG: u32 = 64u;
const KEY_MATS: u32 = 2u;
const KEYS: u32 = COLS * 4u * KEY_MATS;
const ROWS: u32 = WG / COLS * 4u;
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
var<workgroup> exchange: array<vec4f, WG>;
var<workgroup> probs: array<vec4f, ROWS * KEYS / 4u>;

fn load_q(at: vec4u) -> mat4x4f {
  return mat4x4f(vec4f(q[at.x]), vec4f(q[at.y]), vec4f(q[at.z]), vec4f(q[at.w]));
}

fn load_k(at: vec4u) -> mat4x4f {
  return mat4x4f(vec4f(k[at.x]), vec4f(k[at.y]), vec4f(k[at.z]), vec4f(k[at.w]));
}

fn load_v(at: vec4u) -> mat4x4f {
  return mat4x4f(vec4f(v[at.x]), vec4f(v[at.y]), vec4f(v[at.z]), vec4f(v[at.w]));
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
      let key = col * 4u * KEY_MATS + steps;
      var score = array<mat4x4f, KEY_MATS>();
      for (var d = 0u; d < params.quads; d++) {
        let rows = load_q(q_at + d);
        for (var m = 0u; m < KEY_MATS; m++) {
          let k_at = k_head + origin.x + min(key + 4u * m, vec4u(count - 1u)) * params.k_row;
          score[m] += transpose(load_k(k_at + d)) * rows;
        }
      }
      var new_top = top;
      for (var m = 0u; m < KEY_MATS; m++) {
        for (var r = 0u; r < 4u; r++) {
          let s = select(vec4f(HIDDEN), score[m][r] * SCALE, base + key + 4u * m < vec4u(seen[r]));
          score[m][r] = s;
          new_top[r] = max(new_top[r], max(max(s.x, s.y), max(s.z, s.w)));
        }
      }
      exchange[lane] = new_top;
      workgroupBarrier();
      for (var c = 0u; c < params.cols; c++) {
        new_top = max(new_top, exchange[strip * COLS + c]);
      }
      let scale = exp2(top - new_top);
      top = new_top;
      weight *= scale;
      for (var m = 0u; m < KEY_MATS; m++) {
        for (var r = 0u; r < 4u; r++) {
          let p = select(vec4f(0.0), exp2(score[m][r] - top[r]), seen[r] > 0u);
          weight[r] += dot(p, vec4f(1.0));
          probs[(strip * 4u + r) * (KEYS / 4u) + col * KEY_MATS + m] = p;
        }
      }
      workgroupBarrier();
      for (var i = 0u; i < DIM_MATS; i++) {
        for (var r = 0u; r < 4u; r++) {
          sum[i][r] *= scale[r];
        }
      }
      for (var j = 0u; j < count; j += 4u) {
        let at = strip * KEYS + j / 4u + steps * (KEYS / 4u);
        let p = mat4x4f(probs[at.x], probs[at.y], probs[at.z], probs[at.w]);
        let v_at = v_head + origin.y + min(j + steps, vec4u(count - 1u)) * params.v_row;
        for (var i = 0u; i < DIM_MATS; i++) {
          sum[i] += load_v(v_at + min(col + i * COLS, QUADS - 1u)) * p;
        }
      }
    }
    start = stop;
  }
  exchange[lane] = weight;
  workgroupBarrier();
  var total = vec4f(0.0);
  for (var c = 0u; c < params.cols; c++) {
    total += exchange[strip * COLS + c];
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
